use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::groups::Waiting;
use crate::sync::{Mutex, MutexGuard, thread_local};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Relay>>> = RefCell::default();
}

/// Wakes the cursors of this thread from this thread.
///
/// Spawn it once on each single-threaded runtime. An append then wakes one task for each of these runtimes,
/// instead of one for each cursor, and the runtime wakes its own tasks, which needs no other thread. It
/// concerns the cursors that were last polled on the thread that runs this future. All others are woken by the
/// append.
///
/// The thread must go on to run this future for as long as it polls cursors. Dropping the future wakes all
/// cursors that are due, and appends wake cursors themselves from then on. In a runtime of several threads it
/// is of no use, because tasks move between these.
pub async fn relay() -> Infallible {
    let relay = Running(Arc::default());
    poll_fn(|cx| {
        relay.0.run(cx);
        Poll::Pending
    })
    .await
}

/// The wakers that a thread is to wake.
#[derive(Default)]
pub(crate) struct Relay(Mutex<State>);

#[derive(Default)]
struct State {
    is_closed: bool,
    due: Vec<Vec<Waiting>>,
    task: Option<Waker>,
}

impl Relay {
    /// The relay that runs on this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        // At the end of the thread there is none.
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Has the thread of this relay wake these tasks.
    pub(crate) fn send(&self, waiting: Vec<Waiting>) {
        let mut state = self.lock();
        if state.is_closed {
            drop(state);
            return wake(waiting);
        }
        state.due.push(waiting);
        let task = state.task.take();
        drop(state);
        task.into_iter().for_each(Waker::wake);
    }

    /// Wakes the tasks that are due. From now on those who append wake tasks themselves.
    pub(crate) fn close(&self) {
        let closed = State { is_closed: true, ..State::default() };
        let last = mem::replace(&mut *self.lock(), closed);
        last.due.into_iter().for_each(wake);
    }

    fn run(self: &Arc<Self>, cx: &Context<'_>) {
        CURRENT.with(|current| {
            let mut current = current.borrow_mut();
            if current.as_ref().is_none_or(|current| current.is_closed()) {
                *current = Some(Arc::clone(self));
            }
        });
        let task = Some(cx.waker().clone());
        let (due, _old) = {
            let mut state = self.lock();
            (mem::take(&mut state.due), mem::replace(&mut state.task, task))
        };
        due.into_iter().for_each(wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A relay whose future exists.
struct Running(Arc<Relay>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Wakes tasks from the thread that calls it.
pub(crate) fn wake(waiting: Vec<Waiting>) {
    waiting.into_iter().for_each(|(_, waker)| waker.wake());
}
