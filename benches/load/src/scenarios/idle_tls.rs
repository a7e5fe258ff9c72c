use crate::report::{Bound, Goal};
use crate::scenarios::Scenario;
use crate::scenarios::idle::{COLUMNS, SETTLE, measure, size};
use crate::servers::{Kind, Transport};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "idle-tls",
    about: "open streams, each with a TLS connection of its own: resident memory of each",
    describe: |bench| {
        format!(
            "{} HTTP/1.1 streams without events. Each has a TLS 1.3 connection of its own. Memory is measured as for `idle`, {SETTLE:?} after the last stream is at its start.",
            size(bench)
        )
    },
    servers: &Kind::TLS,
    columns: COLUMNS,
    goals: &[Goal { column: 0, bound: Bound::Max(10.0) }],
    rounds: u16::MAX,
    run: |bench, kind| Ok(measure(bench, kind, Transport::Tls)?.into()),
};
