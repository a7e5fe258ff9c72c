//! The lines of the log about gaps, and about streams that neither their client nor their source has ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::{OpenStream, Probe, Reason};

/// The maximum number of lines of one reason in a second.
const MOST: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Bounds the lines of each reason. Those that are left out are counted, and the next line of their reason has
/// their number.
#[derive(Debug, Default)]
pub(super) struct Told {
    reasons: Mutex<HashMap<&'static str, Second>>,
}

/// The lines of a reason within a second.
#[derive(Debug)]
struct Second {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Told {
    /// Whether a line with this reason is written now. Returns how many were left out before it.
    fn line(&self, reason: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let second = reasons.entry(reason).or_insert(Second { since: now, lines: 0, left_out: 0 });
        if now.duration_since(second.since) >= SECOND {
            (second.since, second.lines) = (now, 0);
        }
        if second.lines == MOST {
            second.left_out += 1;
            return None;
        }
        second.lines += 1;
        Some(std::mem::take(&mut second.left_out))
    }

    /// Tells of the end of a stream, unless it is a usual one.
    pub(super) fn ended(&self, stream: &OpenStream, reason: Reason) {
        let is_told = matches!(
            reason,
            Reason::Cut | Reason::Stalled | Reason::Kicked | Reason::Reload | Reason::Panicked
        );
        if !is_told {
            return;
        }
        let Some(left_out) = self.line(reason.name()) else { return };
        info!(
            id = display(stream.id()),
            binding = &*stream.place().binding,
            topic = stream.probe().map(Probe::topic),
            reason = reason.name(),
            left_out = Some(left_out).filter(|count| *count > 0),
            "stream ended"
        );
    }

    /// Tells of a gap.
    pub(super) fn gap(&self, stream: &OpenStream) {
        let Some(probe) = stream.probe() else { return };
        let Some(reason) = probe.last_gap() else { return };
        let Some(left_out) = self.line(reason) else { return };
        info!(
            id = display(stream.id()),
            binding = &*stream.place().binding,
            topic = probe.topic(),
            reason,
            left_out = Some(left_out).filter(|count| *count > 0),
            "gap told"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_lines_of_a_reason_are_written_in_a_second_and_the_rest_is_counted() {
        let told = Told::default();
        for _ in 0..3 {
            let written = (0..25).filter(|_| told.line("stalled").is_some()).count();
            assert_eq!(written, 10);
            assert_eq!(told.line("cut"), Some(0), "each reason has its own");
            tokio::time::advance(SECOND).await;
        }
        assert_eq!(told.line("stalled"), Some(15));
        assert_eq!(told.line("stalled"), Some(0));
    }
}
