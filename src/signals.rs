//! What the process is told by signals.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tracing::{debug, info};

/// Who asks twice at once asks once: `timeout` of coreutils signals the process, and then its group.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The signals of this process. From when there is one no signal of these ends the process by itself.
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

    /// Ready when the process is told to stop.
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

    /// After [`stop`](Self::stop): ready when the process is told again, and not by the same command.
    pub(crate) async fn stop_again(&mut self) {
        let first = Instant::now();
        loop {
            self.stop().await;
            if first.elapsed() > AT_ONCE {
                return;
            }
            debug!("told to stop twice at once");
        }
    }
}
