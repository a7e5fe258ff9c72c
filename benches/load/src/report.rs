//! Writes the values of all rounds as Markdown.

use std::fmt::Write as _;

use crate::scenarios::{Bench, Scenario};
use crate::servers::Kind;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Rate,
    /// Bytes per time.
    ByteRate,
    Milliseconds,
    Seconds,
    Kib,
    Mib,
    /// CPU-seconds per second.
    Cores,
    Count,
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Self::Rate if value >= 1e6 => format!("{:.2} M", value / 1e6),
            Self::Rate => format!("{:.1} k", value / 1e3),
            Self::ByteRate => format!("{:.0} MB", value / 1e6),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Kib => format!("{value:.2} KiB"),
            Self::Mib => format!("{value:.1} MiB"),
            Self::Cores => format!("{value:.3}"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

/// The goal of tailwater in a column.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) column: usize,
    pub(crate) bound: Bound,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Max(f64),
    /// A multiple of the other server's value in the same round.
    MaxTimes(f64, Kind),
    MinTimes(f64, Kind),
    /// A multiple of the sum of the other servers' values in the same round.
    MaxTimesSum(f64, [Kind; 2]),
    /// An amount above tailwater's own value in another column.
    MaxAboveColumn(f64, usize),
    /// A multiple of tailwater's own value in another column.
    MaxTimesColumn(f64, usize),
    MinTimesColumn(f64, usize),
}

/// The values of each server.
pub(crate) type Round = Vec<(Kind, Vec<f64>)>;
pub(crate) type Rounds = [Round];

pub(crate) fn scenario(scenario: &Scenario, bench: &Bench, rounds: &Rounds) -> String {
    let mut out = format!("\n## {}\n\n{}\n\n| server |", scenario.name, (scenario.describe)(bench));
    let compared: Vec<_> = [Kind::Axum, Kind::Raw, Kind::RawTls, Kind::Consumer]
        .into_iter()
        // A ratio is useful for rates only, not for memory and times.
        .filter(|_| {
            let unit = scenario.columns.first().map(|column| column.unit);
            matches!(unit, Some(Unit::Rate | Unit::ByteRate))
        })
        .filter(|kind| scenario.servers.contains(kind) && bench.servers.contains(kind))
        .collect();
    for column in scenario.columns {
        let _ = write!(out, " {} |", column.name);
    }
    for kind in &compared {
        let _ = write!(
            out,
            " {} ÷ {kind}'s |",
            scenario.columns.first().map_or("", |column| column.name)
        );
    }
    out.push_str("\n|---|");
    out.push_str(&"---:|".repeat(scenario.columns.len() + compared.len()));
    out.push('\n');
    for kind in scenario.servers.iter().filter(|kind| bench.servers.contains(kind)) {
        let _ = write!(out, "| {kind} |");
        for (index, column) in scenario.columns.iter().enumerate() {
            let values = values(rounds, *kind, index);
            if values.iter().any(|value| value.is_nan()) {
                out.push_str(" |"); // the server has no such value, or it can't be measured here
                continue;
            }
            let _ = write!(out, " {}", column.unit.text(median(&values)));
            if let (true, Some(least), Some(most)) = (
                values.len() > 1,
                values.iter().copied().reduce(f64::min),
                values.iter().copied().reduce(f64::max),
            ) {
                let _ = write!(out, " ({} to {})", column.unit.text(least), column.unit.text(most));
            }
            out.push_str(" |");
        }
        for other in &compared {
            let _ = write!(out, " {:.2} |", median(&ratios(rounds, *kind, *other, 0)));
        }
        out.push('\n');
    }
    out.push('\n');
    if bench.quick {
        return out; // small numbers are too inexact for goals
    }
    for goal in scenario.goals {
        out.push_str(&verdict(scenario, goal, rounds).unwrap_or_default());
    }
    out
}

/// The line of a goal. `None` if a server that it compares was not measured.
fn verdict(scenario: &Scenario, goal: &Goal, rounds: &Rounds) -> Option<String> {
    let column = scenario.columns.get(goal.column)?;
    let values = match goal.bound {
        Bound::Max(_) => values(rounds, Kind::Tailwater, goal.column),
        Bound::MaxTimes(_, other) | Bound::MinTimes(_, other) => {
            ratios(rounds, Kind::Tailwater, other, goal.column)
        }
        Bound::MaxTimesSum(_, others) => compared(rounds, goal.column, |round, own| {
            let others = others.map(|other| value(round, other, goal.column));
            let sum: Option<f64> = others.into_iter().sum();
            Some(own / sum?)
        }),
        Bound::MaxAboveColumn(_, other) => compared(rounds, goal.column, |round, own| {
            Some(own - value(round, Kind::Tailwater, other)?)
        }),
        Bound::MaxTimesColumn(_, other) | Bound::MinTimesColumn(_, other) => {
            compared(rounds, goal.column, |round, own| {
                Some(own / value(round, Kind::Tailwater, other)?)
            })
        }
    };
    if values.is_empty() {
        return None;
    }
    let value = median(&values);
    if value.is_nan() {
        return Some(format!("- {}: cannot be told here\n", column.name));
    }
    let name = |index: usize| scenario.columns.get(index).map_or("", |column| column.name);
    let (held, aim, is) = match goal.bound {
        Bound::Max(most) => {
            (value <= most, format!("at most {}", column.unit.text(most)), column.unit.text(value))
        }
        Bound::MaxTimes(most, other) => {
            (value <= most, format!("at most {most} × {other}'s"), format!("{value:.2} ×"))
        }
        Bound::MinTimes(least, other) => {
            (value >= least, format!("at least {least} × {other}'s"), format!("{value:.2} ×"))
        }
        Bound::MaxTimesSum(most, [one, other]) => (
            value <= most,
            format!("at most {most} × {one}'s and {other}'s together"),
            format!("{value:.2} ×"),
        ),
        Bound::MaxAboveColumn(most, other) => (
            value <= most,
            format!("at most {} above {}", column.unit.text(most), name(other)),
            column.unit.text(value),
        ),
        Bound::MaxTimesColumn(most, other) => {
            let other = name(other);
            (value <= most, format!("at most {most} × {other}"), format!("{value:.2} ×"))
        }
        Bound::MinTimesColumn(least, other) => {
            let other = name(other);
            (value >= least, format!("at least {least} × {other}"), format!("{value:.2} ×"))
        }
    };
    Some(format!("- {} {aim}: {is}, **{}**\n", column.name, if held { "held" } else { "missed" }))
}

pub(crate) fn values(rounds: &Rounds, kind: Kind, column: usize) -> Vec<f64> {
    rounds.iter().filter_map(|round| value(round, kind, column)).collect()
}

/// The ratios within each round, since the servers of a round had the same conditions.
fn ratios(rounds: &Rounds, kind: Kind, other: Kind, column: usize) -> Vec<f64> {
    rounds
        .iter()
        .filter_map(|round| Some(value(round, kind, column)? / value(round, other, column)?))
        .collect()
}

/// A value for each round, which `with` computes from the round and tailwater's value.
fn compared(
    rounds: &Rounds,
    column: usize,
    with: impl Fn(&[(Kind, Vec<f64>)], f64) -> Option<f64>,
) -> Vec<f64> {
    let own = |round: &Vec<_>| with(round, value(round, Kind::Tailwater, column)?);
    rounds.iter().filter_map(own).collect()
}

fn value(round: &[(Kind, Vec<f64>)], kind: Kind, column: usize) -> Option<f64> {
    let (_, values) = round.iter().find(|(of, _)| *of == kind)?;
    values.get(column).copied()
}

/// The median. NaN if there are no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (0, Some(below), Some(above)) => f64::midpoint(*below, *above),
        (1, _, Some(value)) => *value,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle() {
        for (values, expected) in [
            (&[3.0, 1.0, 2.0][..], 2.0),
            (&[4.0, 1.0, 2.0, 3.0], 2.5),
            (&[7.0], 7.0),
            (&[1.0, 2.0], 1.5),
        ] {
            assert_eq!(median(values), expected, "{values:?}");
        }
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn what_the_machine_cannot_tell_is_no_miss() {
        let all = crate::scenarios::ALL;
        let stampede = all.iter().find(|scenario| scenario.name == "stampede").expect("it is one");
        let verdict = |own| {
            let rounds = [vec![(Kind::Tailwater, vec![own]), (Kind::Consumer, vec![1.0])]];
            verdict(stampede, &stampede.goals[0], &rounds).expect("both were run")
        };
        assert!(verdict(3.0).contains("missed") && verdict(2.0).contains("held"));
        assert_eq!(verdict(f64::NAN), "- received from Kafka: cannot be told here\n");
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rounds = [
            vec![(Kind::Tailwater, vec![10.0]), (Kind::Axum, vec![2.0])],
            vec![(Kind::Tailwater, vec![100.0]), (Kind::Axum, vec![50.0])],
            vec![(Kind::Tailwater, vec![30.0]), (Kind::Axum, vec![10.0])],
        ];
        assert_eq!(median(&ratios(&rounds, Kind::Tailwater, Kind::Axum, 0)), 3.0);
        assert!(ratios(&rounds, Kind::Tailwater, Kind::Raw, 0).is_empty());
    }
}
