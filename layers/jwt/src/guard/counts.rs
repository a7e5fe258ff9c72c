use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Rejection;

/// The [reasons](Rejection::reason) of rejections.
const REASONS: [&str; 8] =
    ["no_token", "malformed", "key", "signature", "expired", "not_yet", "issuer", "audience"];

/// What a guard has counted since its start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardCounts {
    /// Requests that were refused for their token, by [reason](Rejection::reason). An
    /// [optional](crate::JwtLayer::optional) layer counts them if the inner service answers with the
    /// [status](Rejection::status) of the rejection.
    pub rejections: [(&'static str, u64); 8],
    /// Challenges that leases have demanded.
    pub challenges: u64,
    /// Challenge responses that have extended a lease.
    pub renewals: u64,
    /// Other challenge responses.
    pub failed_renewals: u64,
    /// The time since the key set was fetched. `None` without a fetch.
    pub keys_age: Option<Duration>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    rejections: [AtomicU64; REASONS.len()],
    pub(crate) challenges: AtomicU64,
    renewals: AtomicU64,
    failed_renewals: AtomicU64,
}

impl Counters {
    pub(crate) fn record_rejection(&self, rejection: Rejection) {
        let reason = rejection.reason();
        let counters = REASONS.iter().zip(&self.rejections);
        for (_, counter) in counters.filter(|(known, _)| **known == reason) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn record_renewal(&self, is_good: bool) {
        let counter = if is_good { &self.renewals } else { &self.failed_renewals };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self, keys_age: Option<Duration>) -> GuardCounts {
        let mut rejections = REASONS.map(|reason| (reason, 0));
        for ((_, count), counter) in rejections.iter_mut().zip(&self.rejections) {
            *count = counter.load(Relaxed);
        }
        GuardCounts {
            rejections,
            challenges: self.challenges.load(Relaxed),
            renewals: self.renewals.load(Relaxed),
            failed_renewals: self.failed_renewals.load(Relaxed),
            keys_age,
        }
    }
}
