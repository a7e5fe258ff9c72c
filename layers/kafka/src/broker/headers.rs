//! The headers of a record, whatever their names are.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use rdkafka::message::{Header, Headers};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The headers in the record's order, without those whose name is not UTF-8: rust-rdkafka panics at such a name
/// and has no other access to it. No filter of a configuration can name such a header.
pub(super) fn readable<H: Headers>(headers: &H) -> impl Iterator<Item = Header<'_, &[u8]>> {
    (0..headers.count()).filter_map(|index| quietly(|| headers.try_get(index)).flatten())
}

/// The result of `work`, or `None` if it panics. The panic is not printed: a topic of such records would print
/// a message for each.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                others(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    done.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Headers one of which has no name that rust-rdkafka can give.
    struct Odd;

    impl Headers for Odd {
        fn count(&self) -> usize {
            3
        }

        fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
            let key = std::str::from_utf8([&b"a"[..], b"\xff", b"c"][index]).unwrap();
            Some(Header { key, value: None })
        }
    }

    #[test]
    fn a_header_whose_name_is_not_utf_8_is_left_out_and_the_others_stay() {
        let printed = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&printed);
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Other tests may panic meanwhile.
            if std::thread::current().name().is_some_and(|name| name.contains("left_out")) {
                counted.fetch_add(1, Ordering::Relaxed);
            } else {
                others(info);
            }
        }));
        let names: Vec<&str> = readable(&Odd).map(|header| header.key).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(printed.load(Ordering::Relaxed), 0, "nothing is printed");
    }
}
