//! The signals that the process handles.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tracing::{debug, info};

/// Two signals within this time count as one: `timeout` of coreutils signals the process and then its group.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The signals of this process. Once this exists, none of them ends the process by default.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal to stop: SIGINT or SIGTERM.
    pub(crate) async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => {
                    info!("SIGHUP: reloading is not supported yet, nothing has changed");
                }
                _ = self.user1.recv() => debug!("SIGUSR1 has no meaning here"),
                _ = self.user2.recv() => debug!("SIGUSR2 has no meaning here"),
            }
        }
    }

    /// Waits, after [`stop`](Self::stop), for a signal to stop that another command has sent.
    pub(crate) async fn stop_again(&mut self) {
        let first = Instant::now();
        loop {
            self.stop().await;
            if first.elapsed() > AT_ONCE {
                return;
            }
            debug!("received two signals within a second, counted as one");
        }
    }
}
