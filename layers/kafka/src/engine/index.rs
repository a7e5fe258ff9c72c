//! Indexes the logs that are too large to be indexed on the thread of a stream.

use tailwater_hub::Hub;
use tokio::sync::oneshot;

use crate::data::events::Records;
use crate::threads::Threads;

/// Indexes a log on a thread of its own. The receiver is ready when the thread has ended, or if there is none.
pub(super) fn build(threads: &Threads, hub: Hub<Records>) -> oneshot::Receiver<()> {
    let (done, built) = oneshot::channel();
    let work = async move || {
        hub.build_index();
        let _ = done.send(());
    };
    let _ = threads.run("kafka-index", work);
    built
}
