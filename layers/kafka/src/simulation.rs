//! The tasks of clusters and of a test on one thread, in an order that a seed decides. The clock moves only while all
//! of them wait, so a simulation is a function of its seed, and takes no longer than its work.

use std::any::Any;
use std::cell::RefCell;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hasher as _};
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime;
use tokio::time::{Instant, sleep, timeout};

/// A test that takes longer on the simulated clock hangs.
const LONGEST: Duration = Duration::from_secs(3600);

/// A task that is polled more often never waits.
const MOST_POLLS: u64 = 20_000_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static CURRENT: RefCell<Option<Simulation>> = const { RefCell::new(None) };
}

/// The simulation that runs on this thread.
struct Simulation {
    random: Random,
    /// Tasks that were started since the last one was polled.
    started: Vec<Task>,
    polls: u64,
    noted: DefaultHasher,
    /// The first panic of its tasks, whoever recovers from it. Those that a test wants are raised by `resume_unwind`.
    panic: Option<String>,
}

/// The random number generator splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() as usize) % limit.max(1)
    }
}

/// The tasks that are to be polled.
#[derive(Default)]
struct Ready {
    tasks: Mutex<Vec<usize>>,
    /// Wakes the simulation, if it waits.
    waiting: Mutex<Option<Waker>>,
}

struct TaskWaker {
    ready: Arc<Ready>,
    task: usize,
    is_ready: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::Relaxed) {
            self.ready.tasks.lock().unwrap().push(self.task);
            self.ready.waiting.lock().unwrap().take().into_iter().for_each(Waker::wake);
        }
    }
}

/// The tasks that have not ended. That of the test is the first.
struct Tasks {
    ready: Arc<Ready>,
    /// The test is not among them.
    tasks: Vec<Option<Task>>,
    wakers: Vec<(Arc<TaskWaker>, Waker)>,
}

impl Tasks {
    fn new() -> Self {
        let mut tasks = Self { ready: Arc::default(), tasks: Vec::new(), wakers: Vec::new() };
        tasks.add(None);
        tasks
    }

    fn add(&mut self, task: Option<Task>) {
        let ready = Arc::clone(&self.ready);
        let waker = TaskWaker { ready, task: self.tasks.len(), is_ready: AtomicBool::new(false) };
        let waker = Arc::new(waker);
        waker.wake_by_ref();
        self.wakers.push((Arc::clone(&waker), Waker::from(waker)));
        self.tasks.push(task);
    }

    /// Takes a task that is ready, whichever the seed says.
    fn next(&mut self) -> Option<usize> {
        for task in with(|simulation| std::mem::take(&mut simulation.started)).unwrap_or_default() {
            self.add(Some(task));
        }
        let mut ready = self.ready.tasks.lock().unwrap();
        // The order in which tokio's watch wakes is random.
        ready.sort_unstable();
        let at = match ready.len() {
            0 => return None,
            1 => 0,
            count => with(|simulation| simulation.random.below(count)).unwrap_or(0),
        };
        let task = ready.swap_remove(at);
        self.wakers[task].0.is_ready.store(false, Ordering::Relaxed);
        Some(task)
    }

    /// Polls tasks until the test has ended, or all wait.
    fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        mut test: Pin<&mut dyn Future<Output = T>>,
    ) -> Poll<Result<T, Box<dyn Any + Send>>> {
        loop {
            let Some(next) = self.next() else {
                *self.ready.waiting.lock().unwrap() = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let polls = with(|simulation| {
                simulation.polls += 1;
                simulation.polls
            });
            assert!(polls < Some(MOST_POLLS), "some task never waits");
            let cx = &mut Context::from_waker(&self.wakers[next].1);
            match &mut self.tasks[next] {
                None if next == 0 => {
                    match panic::catch_unwind(AssertUnwindSafe(|| test.as_mut().poll(cx))) {
                        Ok(Poll::Pending) => {}
                        Ok(Poll::Ready(value)) => return Poll::Ready(Ok(value)),
                        Err(panic) => return Poll::Ready(Err(panic)),
                    }
                }
                None => {}
                Some(task) => {
                    // A panic ends the task alone, as it would end a thread.
                    let polled = panic::catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
                    if !matches!(polled, Ok(Poll::Pending)) {
                        self.tasks[next] = None;
                    }
                }
            }
        }
    }
}

/// Runs a test and the tasks that it starts. Returns a hash of what was noted, of the number of polls, and of the time.
pub(crate) fn run(seed: u64, test: impl Future<Output = ()>) -> u64 {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("no runtime");
    let simulation = Simulation {
        random: Random(seed),
        started: Vec::new(),
        polls: 0,
        noted: DefaultHasher::new(),
        panic: None,
    };
    static PANICS: Once = Once::new();
    PANICS.call_once(watch_panics);
    let before = CURRENT.replace(Some(simulation));
    assert!(before.is_none(), "a simulation within another");
    let running = Running;
    let ended = runtime.block_on(tokio::task::unconstrained(async {
        let test = async {
            let began = Instant::now();
            timeout(LONGEST, test).await.expect("it hangs");
            let taken = began.elapsed().as_millis() as u64;
            with(|simulation| {
                simulation.noted.write_u64(simulation.polls);
                simulation.noted.write_u64(taken);
                simulation.noted.finish()
            })
        };
        let mut test = pin!(test);
        let mut tasks = Tasks::new();
        poll_fn(|cx| tasks.poll(cx, test.as_mut())).await
    }));
    let panic = with(|simulation| simulation.panic.take()).expect("it runs");
    drop(running);
    // That of the test may be a consequence.
    if let Some(panic) = panic {
        panic!("a task or the test panicked: {panic}");
    }
    ended.unwrap_or_else(|panic| panic::resume_unwind(panic)).expect("it runs")
}

/// Notes each panic of a simulation from now on.
fn watch_panics() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        CURRENT.with(|current| {
            let mut current = current.try_borrow_mut().ok();
            if let Some(simulation) = current.as_mut().and_then(|current| current.as_mut()) {
                simulation.panic.get_or_insert_with(|| panic.to_string());
            }
        });
        report(panic);
    }));
}

struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        drop(CURRENT.take());
    }
}

fn with<T>(of: impl FnOnce(&mut Simulation) -> T) -> Option<T> {
    CURRENT.with_borrow_mut(|current| current.as_mut().map(of))
}

/// Whether a simulation runs on this thread.
pub(crate) fn is_running() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// A number that the seed decides.
pub(crate) fn random() -> u64 {
    with(|simulation| simulation.random.next()).expect("a simulation runs")
}

/// Notes what happened, for the hash of the simulation.
pub(crate) fn note(what: &[u8]) {
    with(|simulation| simulation.noted.write(what));
}

/// Starts a task of this simulation.
pub(crate) fn start(task: impl Future<Output = ()> + 'static) {
    let task: Task = Box::pin(task);
    with(|simulation| simulation.started.push(task)).expect("a simulation runs");
}

/// Lets other tasks run, for as long as the seed says. Without a simulation it does nothing.
pub(crate) async fn turn() {
    let Some((turns, pause)) = with(|simulation| {
        let random = &mut simulation.random;
        match random.below(32) {
            0..14 => (0, 0),
            14..24 => (1, 0),
            24..27 => (1 + random.below(8), 0),
            // Otherwise a task that never waits would go on for ever.
            27..31 => (0, 1 + random.below(4)),
            _ => (0, 1 + random.below(60)),
        }
    }) else {
        return;
    };
    for _ in 0..turns {
        let mut is_over = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut is_over, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
    if pause > 0 {
        sleep(Duration::from_millis(pause as u64)).await;
    }
}

mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_panic_that_a_task_recovers_from_fails_the_simulation() {
        run(0, async {
            let task = async { panic!("out of range") };
            assert!(AssertUnwindSafe(task).catch_unwind().await.is_err());
        });
    }

    #[test]
    fn a_panic_that_a_test_wants_does_not_fail_the_simulation() {
        run(0, async {
            let task = async { panic::resume_unwind(Box::new("by a test")) };
            assert!(AssertUnwindSafe(task).catch_unwind().await.is_err());
        });
    }
}
