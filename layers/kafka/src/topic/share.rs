//! The share of a thread that conversions have before others have theirs.

use std::time::Duration;

use tokio::time::Instant;

/// So many conversions go by between two looks at the clock: it takes a tenth of the time of a fast conversion.
const UNTIMED: u32 = 16;

/// Counts conversions until their time is over.
#[derive(Debug)]
pub(crate) struct Share {
    end: Instant,
    is_over: bool,
    /// How many conversions there were since the last look at the clock, and how many there are until the next.
    untimed: (u32, u32),
}

impl Share {
    pub(crate) fn new(time: Duration) -> Self {
        Self { end: Instant::now() + time, is_over: false, untimed: (0, 1) }
    }

    /// Counts a conversion.
    pub(crate) fn count(&mut self) {
        let (untimed, most) = &mut self.untimed;
        *untimed += 1;
        if *untimed == *most {
            // The first looks come soon: conversions that take a second each are noticed at the first one.
            self.untimed = (0, UNTIMED.min(2 * *most));
            self.is_over |= Instant::now() >= self.end;
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_is_over_soon_after_its_time() {
        for (time, each, most) in
            [(0, 0, 1), (50, 1000, 1), (50, 20, 3), (50, 1, 63), (500, 1, 511)]
        {
            let mut share = Share::new(Duration::from_millis(time));
            let mut counted = 0;
            while !share.is_over() {
                tokio::time::advance(Duration::from_millis(each)).await;
                share.count();
                counted += 1;
            }
            assert_eq!(counted, most, "{time} {each}");
        }
    }
}
