//! What the source of a stream tells while the stream is open.

#[cfg(feature = "kafka")]
pub(crate) use self::kafka::Probe;
#[cfg(not(feature = "kafka"))]
pub(crate) use self::without_kafka::Probe;

#[cfg(feature = "kafka")]
mod kafka {
    use std::sync::Arc;
    use std::time::Duration;

    use tailwater_kafka::{StreamProbe, StreamStart};

    use crate::streams::Start;

    /// The probe of a stream of a topic.
    #[derive(Clone, Debug)]
    pub(crate) struct Probe(pub(crate) StreamProbe);

    impl Probe {
        pub(crate) fn topic(&self) -> &str {
            self.0.topic()
        }

        /// The name under which the stream is counted.
        pub(crate) fn label(&self) -> &Arc<str> {
            self.0.label()
        }

        pub(crate) fn start(&self) -> Start {
            match self.0.start() {
                StreamStart::Id => Start::Id,
                StreamStart::From => Start::From,
                StreamStart::Since => Start::Since,
                StreamStart::Beginning => Start::Beginning,
                _ => Start::Live,
            }
        }

        /// The number of events of records.
        pub(crate) fn events(&self) -> u64 {
            self.0.events()
        }

        /// Counts bytes that were sent to the client.
        pub(crate) fn note_sent_bytes(&self, bytes: usize) {
            self.0.note_sent_bytes(bytes);
        }

        pub(crate) fn gaps(&self) -> u64 {
            self.0.gaps()
        }

        /// The reason of the last gap.
        pub(crate) fn last_gap(&self) -> Option<&'static str> {
            self.0.last_gap()
        }

        /// The records that the stream is behind, or was at its end, if it has a place in a log.
        pub(crate) fn lag_records(&self) -> Option<u64> {
            self.lag().map(|(records, _)| records).or_else(|| self.0.last_lag_records())
        }

        /// The records that the stream is behind, and how long it has been. `None` if it has no place in a log.
        pub(crate) fn lag(&self) -> Option<(u64, Duration)> {
            self.0.lag().map(|lag| (lag.records, lag.age))
        }

        /// What the stream does: `seeking`, `history`, `snapshot`, `ahead` or `live`.
        pub(crate) fn state(&self) -> &'static str {
            self.0.state().name()
        }

        /// The event id of its position.
        pub(crate) fn position(&self) -> Option<String> {
            self.0.position()
        }
    }
}

#[cfg(not(feature = "kafka"))]
mod without_kafka {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::streams::Start;

    /// The probe of a stream of a topic, of which there are none.
    #[derive(Clone, Debug)]
    pub(crate) enum Probe {}

    impl Probe {
        pub(crate) fn topic(&self) -> &str {
            match *self {}
        }

        pub(crate) fn label(&self) -> &Arc<str> {
            match *self {}
        }

        pub(crate) fn start(&self) -> Start {
            match *self {}
        }

        pub(crate) fn events(&self) -> u64 {
            match *self {}
        }

        pub(crate) fn note_sent_bytes(&self, _: usize) {
            match *self {}
        }

        pub(crate) fn gaps(&self) -> u64 {
            match *self {}
        }

        pub(crate) fn last_gap(&self) -> Option<&'static str> {
            match *self {}
        }

        pub(crate) fn lag(&self) -> Option<(u64, Duration)> {
            match *self {}
        }

        pub(crate) fn state(&self) -> &'static str {
            match *self {}
        }

        pub(crate) fn position(&self) -> Option<String> {
            match *self {}
        }

        pub(crate) fn lag_records(&self) -> Option<u64> {
            match *self {}
        }
    }
}
