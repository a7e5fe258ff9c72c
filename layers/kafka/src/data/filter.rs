use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use bytes::Bytes;
use tailwater_hub::Selector;

use crate::data::record::Record;

/// Selects the records that have a key, if one is given, and all of some headers.
///
/// ```
/// use tailwater_kafka::Filter;
///
/// let filter = Filter::any().key("EURUSD").header("venue", "XETR");
/// # let _ = filter;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Filter {
    key: Option<Bytes>,
    headers: Vec<(Bytes, Bytes)>,
}

impl Filter {
    /// A filter that every record passes.
    pub fn any() -> Self {
        Self::default()
    }

    /// Only records with this key.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only records that have this header with this value. Other headers of the same name do not matter.
    pub fn header(mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn passes(&self, record: &Record) -> bool {
        // The records that are missing might pass.
        if record.is_gap() {
            return true;
        }
        self.key.as_ref().is_none_or(|key| record.key() == Some(key))
            && self.headers.iter().all(|(name, value)| {
                record.headers().any(|header| header == (name.as_ref(), Some(value.as_ref())))
            })
    }

    /// The hash by which the index finds candidates: that of the key, else of an indexed header.
    fn value(&self, index: &Index) -> Option<u64> {
        if let Some(key) = &self.key {
            return Some(index.key(key));
        }
        let header = self
            .headers
            .iter()
            .find(|(name, _)| index.headers.iter().any(|indexed| indexed == name));
        header.map(|(name, value)| index.header(name, value))
    }
}

/// Selects the records that pass any of the filters of a stream. Without filters it selects all records.
/// `invalid_gaps` adds the gaps of rejected records.
pub(crate) fn selector(filters: &[Filter], index: &Index, invalid_gaps: bool) -> Selector<Record> {
    if filters.is_empty() || filters.contains(&Filter::any()) {
        return Selector::All;
    }
    let owned: Vec<_> = filters.to_vec();
    let passes = Arc::new(move |record: &Record| {
        let is_told = invalid_gaps || !record.is_rejected();
        is_told && owned.iter().any(|filter| filter.passes(record))
    });
    match filters.iter().map(|filter| filter.value(index)).collect::<Option<Vec<u64>>>() {
        Some(mut values) => {
            values.push(index.gap());
            values.extend(invalid_gaps.then(|| index.invalid()));
            values.sort_unstable();
            values.dedup();
            Selector::Hashes(values.into(), passes)
        }
        None => Selector::Scan(passes),
    }
}

/// In tests the key is always the same: the order in which cursors are woken depends on the hashes.
#[cfg(not(test))]
type Keyed = std::hash::RandomState;
#[cfg(test)]
type Keyed = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// The values of a record that are indexed, and their keyed hashes: no client can make two values collide.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    hasher: Keyed,
    /// The bits of a hash that are used: all of them, except in tests of collisions.
    mask: u64,
    headers: Arc<[Bytes]>,
}

impl Index {
    /// An index of keys and of the headers of these names.
    pub(crate) fn new(headers: impl Into<Arc<[Bytes]>>) -> Self {
        Self { hasher: Keyed::default(), mask: u64::MAX, headers: headers.into() }
    }

    /// An index in which all values have the same hash.
    #[cfg(test)]
    pub(crate) fn colliding(headers: impl Into<Arc<[Bytes]>>) -> Self {
        Self { mask: 0, ..Self::new(headers) }
    }

    pub(crate) fn values(&self, record: &Record, add: &mut dyn FnMut(u64)) {
        if record.is_rejected() {
            return add(self.invalid());
        }
        if record.is_gap() {
            return add(self.gap());
        }
        if let Some(key) = record.key() {
            add(self.key(key));
        }
        if self.headers.is_empty() {
            return;
        }
        for (name, value) in record.headers() {
            if let Some(value) = value
                && self.headers.iter().any(|indexed| indexed == name)
            {
                add(self.header(name, value));
            }
        }
    }

    /// The hash of gaps, which each stream with a filter looks up, too.
    fn gap(&self) -> u64 {
        self.hash("gap")
    }

    /// The hash of gaps in place of rejected records, which only streams look up that ask for them.
    fn invalid(&self) -> u64 {
        self.hash("invalid")
    }

    fn key(&self, key: &[u8]) -> u64 {
        self.hash(key)
    }

    fn header(&self, name: &[u8], value: &[u8]) -> u64 {
        self.hash((name, value))
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value) & self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    fn record(key: Option<&[u8]>, headers: &[(&'static str, Option<&'static str>)]) -> Record {
        let headers =
            headers.iter().map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes)));
        Record::new((0, 0, None), key, Some(b"v"), headers, &mut BytesMut::new())
    }

    #[test]
    fn key_and_all_headers_must_match_in_any_of_the_filters() {
        let index = Index::colliding([]);
        let filters = [Filter::any().key("a").header("tag", "x"), Filter::any().key("b")];
        let Selector::Hashes(values, passes) = selector(&filters, &index, false) else {
            panic!("keys are indexed")
        };
        assert_eq!(values.len(), 1, "equal hashes are looked up once");
        assert!(passes(&Record::gap(0, (3, 5), crate::data::gap::Reason::Unreadable, None)));
        for (key, headers, passed) in [
            (Some(&b"a"[..]), &[("tag", Some("x"))][..], true),
            (Some(b"a"), &[("tag", Some("y")), ("tag", Some("x"))], true),
            (Some(b"a"), &[("tag", None)], false),
            (Some(b"a"), &[], false),
            (Some(b"b"), &[], true),
            (Some(b"c"), &[("tag", Some("x"))], false),
            (None, &[("tag", Some("x"))], false),
        ] {
            assert_eq!(passes(&record(key, headers)), passed, "{key:?} {headers:?}");
        }
    }

    #[test]
    fn an_empty_filter_wants_everything_and_an_unindexed_header_scans() {
        let index = Index::new([Bytes::from("tag")]);
        assert!(matches!(selector(&[], &index, false), Selector::All));
        assert!(matches!(
            selector(&[Filter::any().key("a"), Filter::any()], &index, false),
            Selector::All
        ));
        assert!(matches!(
            selector(&[Filter::any().header("tag", "x")], &index, false),
            Selector::Hashes(..)
        ));
        assert!(matches!(
            selector(&[Filter::any().header("other", "x")], &index, false),
            Selector::Scan(_)
        ));
    }

    #[test]
    fn an_empty_key_is_not_a_missing_one() {
        assert!(!Filter::any().key("").passes(&record(None, &[])));
        assert!(Filter::any().key("").passes(&record(Some(b""), &[])));
    }
}
