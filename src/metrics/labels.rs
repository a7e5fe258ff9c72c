//! The labels of requests, whose values clients choose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// The maximum number of sets of labels of a metric.
const MAX_SETS: usize = 1000;
/// The length to which values are cut.
const MAX_VALUE_BYTES: usize = 1024;
/// Stands for values beyond a bound.
pub(super) const OTHER: &str = "_other_";

/// Values of the attributes of a meter, `None` where a request has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LabelSet(pub(super) Box<[Option<Arc<str>>]>);

/// What is counted for each set of labels. All metrics of a kind share a bound.
#[derive(Debug)]
pub(super) struct Sets<T> {
    known: Mutex<HashMap<LabelSet, Arc<T>>>,
    count: Arc<AtomicUsize>,
}

impl<T: Default> Sets<T> {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        Self { known: Mutex::default(), count: Arc::clone(count) }
    }

    pub(super) fn get(&self, labels: LabelSet) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&labels) {
            return Arc::clone(found);
        }
        let has_room = self.count.fetch_add(1, Relaxed) < MAX_SETS;
        // Without values there is one set, which is not the client's.
        let labels = if has_room || labels.0.iter().all(Option::is_none) {
            labels
        } else {
            self.count.fetch_sub(1, Relaxed);
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
pub(super) fn method(method: &Method) -> &str {
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
    if KNOWN.contains(method) { method.as_str() } else { OTHER }
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
