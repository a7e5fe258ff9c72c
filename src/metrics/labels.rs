//! The labels of requests, whose values clients choose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// The maximum number of sets of labels of a metric.
const MAX_SETS: usize = 1000;
/// The maximum of bytes of all values in the sets of labels of a metric. A histogram writes them in 65 lines.
pub(super) const MAX_SET_BYTES: usize = 64 * 1024;
/// The length to which values are cut.
pub(super) const MAX_VALUE_BYTES: usize = 1024;
/// Stands for values beyond a bound.
pub(super) const OTHER: &str = "_other_";

/// Values of the attributes of a meter, `None` where a request has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LabelSet(pub(super) Box<[Option<Arc<str>>]>);

impl LabelSet {
    fn bytes(&self) -> usize {
        self.0.iter().flatten().map(|value| value.len()).sum()
    }
}

/// The number of sets of labels, and the bytes of their values.
#[derive(Debug, Default)]
pub(super) struct Weight {
    sets: AtomicUsize,
    bytes: AtomicUsize,
}

impl Weight {
    /// Adds a set, if there is room for it.
    fn add(&self, bytes: usize) -> bool {
        let sets = self.sets.fetch_add(1, Relaxed);
        let all_bytes = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        let has_room = sets < MAX_SETS && all_bytes <= MAX_SET_BYTES;
        if !has_room {
            self.sets.fetch_sub(1, Relaxed);
            self.bytes.fetch_sub(bytes, Relaxed);
        }
        has_room
    }
}

/// What is counted for each set of labels. All metrics of a kind share a bound.
#[derive(Debug)]
pub(super) struct Sets<T> {
    known: Mutex<HashMap<LabelSet, Arc<T>>>,
    weight: Arc<Weight>,
}

impl<T: Default> Sets<T> {
    pub(super) fn new(weight: &Arc<Weight>) -> Self {
        Self { known: Mutex::default(), weight: Arc::clone(weight) }
    }

    pub(super) fn get(&self, labels: LabelSet) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&labels) {
            return Arc::clone(found);
        }
        // Without values there is one set, which is not the client's.
        let bytes = labels.bytes();
        let labels = if bytes == 0 || self.weight.add(bytes) {
            labels
        } else {
            LabelSet(labels.0.iter().map(|_| Some(OTHER.into())).collect())
        };
        Arc::clone(known.entry(labels).or_default())
    }
}

impl<T> Sets<T> {
    pub(super) fn all(&self) -> Vec<(LabelSet, Arc<T>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            known.iter().map(|(labels, of)| (labels.clone(), Arc::clone(of))).collect();
        drop(known);
        all.sort_by(|(one, _), (other, _)| one.0.cmp(&other.0));
        all
    }
}

/// The method, if RFC 9110 or RFC 5789 has it.
pub(super) fn method(method: &Method) -> &'static str {
    const KNOWN: &[Method] = &[
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    KNOWN.iter().find(|known| *known == method).map_or(OTHER, Method::as_str)
}

pub(super) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_VALUE_BYTES)).unwrap_or(text)
}

/// The first value of a header. Credentials are not shown.
pub(super) fn header_value(headers: &HeaderMap, name: &HeaderName) -> Option<Arc<str>> {
    let value = headers.get(name)?;
    let secret =
        [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::SET_COOKIE];
    if secret.contains(name) {
        return Some("***".into());
    }
    Some(cut(&String::from_utf8_lossy(HeaderValue::as_bytes(value))).into())
}
