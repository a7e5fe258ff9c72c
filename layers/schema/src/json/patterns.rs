//! What the patterns of a schema take.

use std::collections::HashSet;

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;

/// The memory of a lazy automaton, of which a pattern has two, and what it needs for each state of the pattern: with
/// less, the pattern is searched for without it, which is slow.
const DFA_BYTES: usize = 16 << 10;
const DFA_STATE_BYTES: usize = 100;
const MAX_DFA_BYTES: usize = 2 << 20;

/// What a pattern takes beside, and what a state of it takes in both directions, with what is kept of a search.
const PATTERN_BYTES: usize = 8 << 10;
const STATE_BYTES: usize = 160;
/// A state takes more for each group. A pattern with groups may have an automaton of its own.
const GROUP_BYTES: usize = 32;
const MAX_ONE_PASS_BYTES: usize = 1 << 20;

/// About how many bytes of UTF-8 tell a range of characters from others.
const STATES_OF_A_RANGE: usize = 6;

/// What the different patterns of a schema take.
pub(super) struct Extent {
    /// About how many states the automaton of the largest pattern has.
    pub(super) largest: usize,
    /// How much memory a lazy automaton may take.
    pub(super) dfa_bytes: usize,
    /// About how much memory all of them take.
    pub(super) bytes: usize,
}

pub(super) fn extent<'v>(documents: impl Iterator<Item = &'v Value>) -> Extent {
    let mut patterns = HashSet::new();
    documents.for_each(|document| add(document, &mut patterns));
    let sizes: Vec<_> = patterns.into_iter().map(size_of).collect();
    let largest = sizes.iter().map(|(states, _)| *states).max().unwrap_or(0);
    let dfa_bytes = DFA_BYTES.saturating_add(largest.saturating_mul(DFA_STATE_BYTES));
    let dfa_bytes = dfa_bytes.min(MAX_DFA_BYTES);
    let mut extent = Extent { largest, dfa_bytes, bytes: 0 };
    for (states, groups) in sizes {
        let one_pass = if groups > 0 {
            // A row of eight bytes for each class of bytes.
            let row = states.saturating_mul(2).min(256) * 8;
            states.saturating_mul(row).min(MAX_ONE_PASS_BYTES)
        } else {
            0
        };
        let state = STATE_BYTES.saturating_add(groups.saturating_mul(GROUP_BYTES));
        let bytes = states.saturating_mul(state).saturating_add(one_pass);
        let bytes = bytes.saturating_add(PATTERN_BYTES + 2 * dfa_bytes);
        extent.bytes = extent.bytes.saturating_add(bytes);
    }
    extent
}

/// Adds the patterns that stand in a value. The validator compiles equal ones once.
fn add<'v>(value: &'v Value, patterns: &mut HashSet<&'v str>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("pattern", Value::String(pattern)) => {
                        patterns.insert(pattern);
                    }
                    ("patternProperties", Value::Object(schemas)) => {
                        patterns.extend(schemas.keys().map(String::as_str));
                    }
                    _ => {}
                }
                add(value, patterns);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| add(value, patterns)),
        _ => {}
    }
}

/// About how many states a pattern has, and how many groups.
fn size_of(pattern: &str) -> (usize, usize) {
    let parsed = jsonschema_regex::to_rust_regex(pattern).ok();
    let parsed = parsed.and_then(|pattern| regex_syntax::parse(&pattern).ok());
    // What is no pattern makes the schema unusable.
    parsed.map_or((pattern.len(), 0), |parsed| {
        (states(&parsed), parsed.properties().explicit_captures_len())
    })
}

/// Not deeper than the parser allows.
fn states(expression: &Hir) -> usize {
    match expression.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() * STATES_OF_A_RANGE,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len(),
        HirKind::Repetition(repetition) => {
            let times = usize::try_from(repetition.max.unwrap_or(repetition.min));
            states(&repetition.sub).saturating_mul(times.unwrap_or(usize::MAX).max(1))
        }
        HirKind::Capture(capture) => states(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(states).fold(0, usize::saturating_add)
        }
    }
}
