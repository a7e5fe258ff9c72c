//! How long a value may be validated.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A text costs a step for each 256 bytes times states of the largest pattern: an automaton that follows each state
/// for each byte takes about as long as the other steps do.
const STATES_AND_BYTES: usize = 256;
/// The states of a schema without patterns. A validator counts the characters of a text, or compares it.
const LEAST_STATES: usize = 4;

thread_local! {
    // The name of a member is a string of its own to the validator, and knows no document.
    static STEPS: Cell<usize> = const { Cell::new(0) };
    static STATES: Cell<usize> = const { Cell::new(LEAST_STATES) };
}

struct OutOfSteps;

/// Calls the validator, which has no other way out. `None`: it used up its steps. Else with what is left of them.
pub(super) fn within<T>(
    steps: usize,
    states: usize,
    validate: impl FnOnce() -> T,
) -> Option<(T, usize)> {
    STEPS.set(steps);
    STATES.set(states.max(LEAST_STATES));
    match catch_unwind(AssertUnwindSafe(validate)) {
        Ok(result) => Some((result, STEPS.get())),
        Err(cause) if cause.is::<OutOfSteps>() => None,
        Err(cause) => resume_unwind(cause),
    }
}

/// Counts a look at a part of the value, and unwinds to the caller of the validator if there is no step left.
pub(super) fn look() {
    take(1);
}

/// Counts a look at a text.
pub(super) fn read(text: &str) {
    take(1 + text.len().saturating_mul(STATES.get()) / STATES_AND_BYTES);
}

fn take(count: usize) {
    match STEPS.get().checked_sub(count) {
        Some(left) => STEPS.set(left),
        None => resume_unwind(Box::new(OutOfSteps)),
    }
}
