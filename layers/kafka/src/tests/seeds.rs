//! Runs a simulation for each of many seeds, from which everything that happens in it is derived.
//!
//! `TAILWATER_SEEDS` says which: `20000` runs so many from 0 on, `5000..6000` these, and `=17` only this one. By default
//! they are the same each time, so a test that has passed passes again. A failure prints its seed, and the fewest steps
//! with which it fails.

use std::any::Any;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::time::Instant;

use crate::simulation::Random;

/// After so many failures no more seeds are run.
const FAILURES: usize = 10;

/// One of so many seeds is run twice, to see that everything is derived from it.
const TWICE: u64 = 16;

/// For so long attempts are made to remove steps of a schedule that has failed.
const SHRINKING: Duration = Duration::from_secs(20);

type Failure = Box<dyn Any + Send>;

/// Runs a test for each seed, on as many threads as there are cores.
pub(super) fn each<S: Strategy>(
    most: u64,
    strategy: impl Fn() -> S + Sync,
    test: impl Fn(u64, S::Value) -> u64 + Sync,
) where
    S::Value: Clone,
{
    let Range { start, end } = seeds(most);
    let next = AtomicU64::new(start);
    let failures = Mutex::new(Vec::new());
    let work = || {
        let strategy = strategy();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || failures.lock().unwrap().len() >= FAILURES {
                return;
            }
            if let Err(failure) = run(seed, draw(seed, &strategy).current(), &test) {
                failures.lock().unwrap().push((seed, text(&*failure)));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_unstable();
    let Some((first, failure)) = failures.first() else { return };
    for (seed, failure) in &failures {
        println!("seed {seed}: {failure}");
    }
    let steps = smallest(*first, &strategy(), &test);
    panic!("seed {first}: {failure}\n{steps:#?}\nTAILWATER_SEEDS=={first} runs it again");
}

/// The trace of one seed.
pub(super) fn trace<S: Strategy>(
    seed: u64,
    strategy: impl Fn() -> S,
    test: impl Fn(u64, S::Value) -> u64,
) -> u64 {
    test(seed, draw(seed, &strategy()).current())
}

fn seeds(most: u64) -> Range<u64> {
    let number = |text: &str| text.parse::<u64>().expect("TAILWATER_SEEDS has no number");
    let Ok(seeds) = std::env::var("TAILWATER_SEEDS") else { return 0..most };
    let seeds = match (seeds.strip_prefix('='), seeds.split_once("..")) {
        (Some(seed), _) => number(seed)..number(seed) + 1,
        (None, Some((first, end))) => number(first)..number(end),
        (None, None) => 0..number(&seeds),
    };
    assert!(!seeds.is_empty(), "TAILWATER_SEEDS names no seed");
    seeds
}

fn draw<S: Strategy>(seed: u64, strategy: &S) -> S::Tree {
    let mut random = Random(seed);
    let bytes: Vec<u8> =
        [random.next(), random.next()].iter().flat_map(|part| part.to_le_bytes()).collect();
    let random = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    strategy.new_tree(&mut runner).expect("nothing is rejected")
}

fn run<V: Clone>(seed: u64, value: V, test: &impl Fn(u64, V) -> u64) -> Result<(), Failure> {
    let trace = |value| panic::catch_unwind(AssertUnwindSafe(|| test(seed, value)));
    let first = trace(value.clone())?;
    if seed.is_multiple_of(TWICE) && trace(value)? != first {
        return Err(Box::new("run twice, it has two traces"));
    }
    Ok(())
}

/// The fewest steps with which a seed fails.
fn smallest<S: Strategy>(seed: u64, strategy: &S, test: &impl Fn(u64, S::Value) -> u64) -> S::Value
where
    S::Value: Clone,
{
    let mut tree = draw(seed, strategy);
    let mut smallest = tree.current();
    let began = Instant::now();
    while began.elapsed() < SHRINKING && tree.simplify() {
        while run(seed, tree.current(), test).is_ok() {
            if began.elapsed() >= SHRINKING || !tree.complicate() {
                return smallest;
            }
        }
        smallest = tree.current();
    }
    smallest
}

fn text(failure: &(dyn Any + Send)) -> String {
    let text = failure.downcast_ref::<String>().cloned();
    let text = text.or_else(|| failure.downcast_ref::<&str>().map(ToString::to_string));
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}
