//! What the patterns of a schema take.

use std::collections::HashSet;

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;

/// How many states the automata of all different patterns may have. One takes some 50 bytes, in both directions.
const MAX_STATES: usize = 1 << 20;

/// About how many bytes of UTF-8 tell a range of characters from others.
const STATES_OF_A_RANGE: usize = 6;

/// About how many states the automaton of the largest pattern has.
pub(super) fn largest<'v>(documents: impl Iterator<Item = &'v Value>) -> Result<usize, String> {
    let mut patterns = HashSet::new();
    documents.for_each(|document| add(document, &mut patterns));
    let (mut all, mut largest) = (0_usize, 0);
    for pattern in patterns {
        let states = states_of(pattern);
        all = all.saturating_add(states);
        largest = largest.max(states);
    }
    if all > MAX_STATES {
        return Err("its patterns are too large".to_owned());
    }
    Ok(largest)
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

fn states_of(pattern: &str) -> usize {
    let parsed = jsonschema_regex::to_rust_regex(pattern).ok();
    let parsed = parsed.and_then(|pattern| regex_syntax::parse(&pattern).ok());
    // What is no pattern makes the schema unusable.
    parsed.map_or(pattern.len(), |parsed| states(&parsed))
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
