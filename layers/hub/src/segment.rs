use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::Format;

/// Neighbouring records whose positions follow from the first one's.
pub(crate) struct Part<F: Format> {
    pub(crate) first: u64,
    pub(crate) position: F::Position,
    /// The position was set; it is not the one that the records before lead to.
    pub(crate) jumped: bool,
    pub(crate) records: Vec<F::Record>,
}

/// A piece of the log: what one append brought, or several small ones joined.
pub(crate) struct Segment<F: Format> {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) weight: usize,
    /// Weight of all records that were ever appended before it.
    pub(crate) bytes_before: u64,
    pub(crate) parts: SmallVec<[Arc<Part<F>>; 1]>,
    forms: Mutex<Forms<F::Encoding>>,
    charged: AtomicUsize,
}

/// The records of a segment as an encoding shows them.
pub(crate) struct Form {
    pub(crate) bytes: Bytes,
    /// Where each record ends: ascending, and within `bytes`.
    pub(crate) ends: Box<[usize]>,
}

/// Rendered once, by whoever comes first; the others wait for it.
type Cell = Arc<OnceLock<Arc<Form>>>;

struct Forms<V> {
    /// The segment left the log: what is rendered now is not charged to it.
    retired: bool,
    list: SmallVec<[(V, Cell); 1]>,
}

impl Form {
    fn cost(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.ends)
    }

    /// Where the record begins.
    pub(crate) fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

impl<F: Format> Segment<F> {
    pub(crate) fn new(part: Part<F>, weight: usize, bytes_before: u64) -> Self {
        Self {
            first: part.first,
            end: part.first + part.records.len() as u64,
            weight,
            bytes_before,
            parts: smallvec![Arc::new(part)],
            forms: Mutex::new(Forms { retired: false, list: SmallVec::new() }),
            charged: AtomicUsize::new(0),
        }
    }

    /// One segment in place of its neighbours, with the forms that all of them have.
    pub(crate) fn join(run: &[Arc<Self>], account: &AtomicUsize) -> Option<Self> {
        let (first, last) = (run.first()?, run.last()?);
        let mut parts: Vec<Part<F>> = Vec::new();
        for part in run.iter().flat_map(|segment| &segment.parts) {
            match parts.last_mut() {
                Some(before) if !part.jumped => before.records.extend_from_slice(&part.records),
                _ => parts.push(Part {
                    first: part.first,
                    position: part.position.clone(),
                    jumped: part.jumped,
                    records: part.records.clone(),
                }),
            }
        }
        let mut list = SmallVec::new();
        let mut charged = 0;
        // By itself, so that the lock is not held while the other forms are looked for.
        let encodings: Vec<_> =
            first.forms().list.iter().map(|(encoding, _)| encoding.clone()).collect();
        for encoding in encodings {
            let forms: Option<Vec<Arc<Form>>> =
                run.iter().map(|segment| segment.ready(&encoding)).collect();
            if let Some(forms) = forms {
                let form = concatenate(&forms);
                charged += form.cost();
                list.push((encoding, Arc::new(OnceLock::from(Arc::new(form)))));
            }
        }
        account.fetch_add(charged, Ordering::Relaxed);
        Some(Self {
            first: first.first,
            end: last.end,
            weight: run.iter().map(|segment| segment.weight).sum(),
            bytes_before: first.bytes_before,
            parts: parts.into_iter().map(Arc::new).collect(),
            forms: Mutex::new(Forms { retired: false, list }),
            charged: AtomicUsize::new(charged),
        })
    }

    /// The part and the place in it of a record of this segment; for the end, that after the last.
    pub(crate) fn locate(&self, sequence: u64) -> (&Arc<Part<F>>, usize) {
        let after = self.parts.partition_point(|part| part.first <= sequence);
        let part = &self.parts[after.saturating_sub(1)];
        let index = usize::try_from(sequence - part.first).unwrap_or(usize::MAX);
        (part, index.min(part.records.len()))
    }

    /// The position of a place of this segment.
    pub(crate) fn position(&self, format: &F, sequence: u64) -> F::Position {
        let (part, index) = self.locate(sequence);
        match index {
            0 => part.position.clone(),
            _ => format.advance(&part.position, &part.records[..index]),
        }
    }

    /// The form of an encoding, and whether this call rendered it.
    pub(crate) fn form(
        &self,
        format: &F,
        account: &AtomicUsize,
        encoding: &F::Encoding,
    ) -> (Arc<Form>, bool) {
        let cell = {
            let mut forms = self.forms();
            match forms.list.iter().find(|(known, _)| known == encoding) {
                Some((_, cell)) => match cell.get() {
                    Some(form) => return (Arc::clone(form), false),
                    None => Arc::clone(cell),
                },
                None => {
                    let cell = Cell::default();
                    forms.list.push((encoding.clone(), Arc::clone(&cell)));
                    cell
                }
            }
        };
        let mut fresh = false;
        let form = cell.get_or_init(|| {
            fresh = true;
            Arc::new(self.encode_all(format, encoding))
        });
        if fresh {
            let forms = self.forms();
            // Charged only while it is kept: the log may have moved on while it was rendered.
            if !forms.retired && forms.list.iter().any(|(_, known)| Arc::ptr_eq(known, &cell)) {
                self.charged.fetch_add(form.cost(), Ordering::Relaxed);
                account.fetch_add(form.cost(), Ordering::Relaxed);
            }
        }
        (Arc::clone(form), fresh)
    }

    pub(crate) fn has_forms(&self) -> bool {
        self.charged.load(Ordering::Relaxed) > 0
    }

    /// Forgets the forms: whoever needs one renders it again.
    pub(crate) fn drop_forms(&self, account: &AtomicUsize) {
        self.clear(account, false);
    }

    /// Forgets all forms but that of one encoding.
    pub(crate) fn drop_other_forms(&self, account: &AtomicUsize, encoding: &F::Encoding) {
        let mut forms = self.forms();
        forms.list.retain(|(known, _)| known == encoding);
        let made = forms.list.iter().filter_map(|(_, cell)| cell.get());
        let left = made.map(|form| form.cost()).sum();
        let before = self.charged.swap(left, Ordering::Relaxed);
        account.fetch_sub(before.saturating_sub(left), Ordering::Relaxed);
    }

    /// The segment leaves the log.
    pub(crate) fn retire(&self, account: &AtomicUsize) {
        self.clear(account, true);
    }

    fn clear(&self, account: &AtomicUsize, retired: bool) {
        let mut forms = self.forms();
        forms.retired |= retired;
        forms.list.clear();
        account.fetch_sub(self.charged.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn ready(&self, encoding: &F::Encoding) -> Option<Arc<Form>> {
        let forms = self.forms();
        let (_, cell) = forms.list.iter().find(|(known, _)| known == encoding)?;
        cell.get().map(Arc::clone)
    }

    fn encode_all(&self, format: &F, encoding: &F::Encoding) -> Form {
        let count = usize::try_from(self.end - self.first).unwrap_or_default();
        let mut out = Vec::with_capacity(self.weight + 32 * count);
        let mut ends = Vec::with_capacity(count);
        let mut rendered = 0;
        for part in &self.parts {
            format.encode_all(encoding, &part.position, &part.records, &mut out, &mut ends);
            rendered += part.records.len();
            // An implementation that miscounts must not shift the records of the next part.
            ends.resize(rendered, out.len());
        }
        let mut last = 0;
        for end in &mut ends {
            *end = (*end).clamp(last, out.len());
            last = *end;
        }
        out.truncate(last);
        out.shrink_to_fit();
        Form { bytes: out.into(), ends: ends.into() }
    }

    fn forms(&self) -> MutexGuard<'_, Forms<F::Encoding>> {
        self.forms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn concatenate(forms: &[Arc<Form>]) -> Form {
    let mut bytes = Vec::with_capacity(forms.iter().map(|form| form.bytes.len()).sum());
    let mut ends = Vec::with_capacity(forms.iter().map(|form| form.ends.len()).sum());
    for form in forms {
        let before = bytes.len();
        ends.extend(form.ends.iter().map(|end| before + end));
        bytes.extend_from_slice(&form.bytes);
    }
    Form { bytes: bytes.into(), ends: ends.into() }
}
