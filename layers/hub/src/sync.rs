//! What threads share. Tests with `--cfg loom` take it from loom, which tries the orders in
//! which threads can run.

#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, loom)))]
pub(crate) use std::thread_local;

#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize};
#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(all(test, loom))]
pub(crate) use loom::thread_local;

#[cfg(all(test, loom))]
pub(crate) use self::without_timeout::Condvar;

#[cfg(all(test, loom))]
mod without_timeout {
    use std::sync::LockResult;
    use std::time::Duration;

    use super::MutexGuard;

    /// The one of loom, which has no time: a wait that only the timeout would end is a deadlock.
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait_timeout_while<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            _: Duration,
            mut condition: impl FnMut(&mut T) -> bool,
        ) -> LockResult<(MutexGuard<'a, T>, ())> {
            while condition(&mut guard) {
                guard = self.0.wait(guard).expect("loom's locks are never poisoned");
            }
            Ok((guard, ()))
        }
    }
}
