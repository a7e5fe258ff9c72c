//! One open stream.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atomic_waker::AtomicWaker;
use once_cell::race::OnceBox;
use tailwater_http::StallFlag;
use tailwater_jwt::Session;

use super::{Opening, Place, Probe, Protocol, Reason, Start};
use crate::access_log::Requested;
use crate::metrics::exchange::MeteredStream;

/// The id of a stream, unique in the process: `s-` and a number in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(pub(super) u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s-{:06x}", self.0)
    }
}

impl FromStr for StreamId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = text.strip_prefix("s-").ok_or(())?;
        let is_written = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !number.bytes().all(is_written) {
            return Err(());
        }
        u64::from_str_radix(number, 16).map(Self).map_err(|_| ())
    }
}

/// Why and how a stream is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kick {
    pub(crate) reason: Reason,
    /// The time of the closing `retry` field. Default: that of the route.
    pub(crate) retry: Option<Duration>,
}

/// An open stream. There are many of them, so that it shares what it can.
pub(crate) struct OpenStream {
    id: StreamId,
    opened_ms: u64,
    place: Arc<Place>,
    session: Option<Session>,
    // A SocketAddr takes 12 bytes more.
    client: IpAddr,
    port: u16,
    protocol: Protocol,
    start: Start,
    probe: Option<Probe>,
    requested: Option<Arc<Requested>>,
    bytes: AtomicU64,
    // Answers tell both to the second.
    last_write_s: AtomicU32,
    /// Seconds since 1970, or `NEVER`.
    expires_s: AtomicU32,
    stalls: Option<StallFlag>,
    // A OnceBox takes half of what a OnceLock does.
    metered: OnceBox<MeteredStream>,
    kick: OnceBox<Kick>,
    waker: AtomicWaker,
}

impl OpenStream {
    pub(super) fn new(id: StreamId, now_ms: u64, opening: Opening) -> Self {
        let Opening { place, peer, session, expires, stalls, protocol, start, probe, requested } =
            opening;
        Self {
            id,
            opened_ms: now_ms,
            place,
            session,
            client: peer.ip(),
            port: peer.port(),
            protocol,
            start,
            probe,
            requested,
            bytes: AtomicU64::new(0),
            last_write_s: AtomicU32::new(seconds(now_ms)),
            expires_s: AtomicU32::new(seconds_since_1970(expires)),
            stalls,
            metered: OnceBox::new(),
            kick: OnceBox::new(),
            waker: AtomicWaker::new(),
        }
    }

    pub(crate) fn id(&self) -> StreamId {
        self.id
    }

    /// When it was opened: see [`Streams::time`](super::Streams::time).
    pub(crate) fn opened_ms(&self) -> u64 {
        self.opened_ms
    }

    /// Where in the configuration it is served.
    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// The session that has opened it.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The address of its TCP connection.
    pub(crate) fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.client, self.port)
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn start(&self) -> Start {
        self.start
    }

    /// What its source tells. `None` for the stream of another server.
    pub(crate) fn probe(&self) -> Option<&Probe> {
        self.probe.as_ref()
    }

    /// The request, if it is logged.
    pub(crate) fn requested(&self) -> Option<&Arc<Requested>> {
        self.requested.as_ref()
    }

    /// The bytes of its body so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// The time of the last write, to the second: see [`Streams::time`](super::Streams::time).
    pub(crate) fn last_write_ms(&self) -> u64 {
        u64::from(self.last_write_s.load(Relaxed)) * 1000
    }

    /// When its token expires, or the last one that has renewed it, to the second. `None` if it does not before 2106.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        let expires = Some(self.expires_s.load(Relaxed)).filter(|at| *at != NEVER)?;
        UNIX_EPOCH.checked_add(Duration::from_secs(expires.into()))
    }

    pub(super) fn set_expires(&self, expires: Option<SystemTime>) {
        // It has no lease any more when it has ended.
        if expires.is_some() {
            self.expires_s.store(seconds_since_1970(expires), Relaxed);
        }
    }

    /// The bytes that its connection could not hand over to the socket.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.stalls.as_ref().map_or(0, StallFlag::waiting_bytes)
    }

    /// Whether its connection has ended since the client took no byte in time.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalls.as_ref().is_some_and(StallFlag::is_set)
    }

    /// Sets the meters that count the stream.
    pub(crate) fn set_meters(&self, meters: MeteredStream) {
        // A response passes one `http` binding, so that there are none before.
        let _ = self.metered.set(Box::new(meters));
    }

    /// Adds to the meters the bytes that they do not have.
    pub(crate) fn count_bytes(&self) {
        if let Some(metered) = self.metered.get() {
            metered.add(self.bytes());
        }
    }

    /// Counts the end of the stream. `is_complete`: it has ended by itself, be it by an error of its source.
    pub(super) fn count_end(&self, is_complete: bool) {
        if let Some(metered) = self.metered.get() {
            metered.end(is_complete, self.bytes());
        }
    }

    /// Asks the stream to end after a whole event. Returns whether it was not asked before.
    pub(crate) fn kick(&self, kick: Kick) -> bool {
        let is_first = self.kick.set(Box::new(kick)).is_ok();
        if is_first {
            self.waker.wake();
        }
        is_first
    }

    pub(super) fn kicked(&self) -> Option<&Kick> {
        self.kick.get()
    }

    /// The task of this waker is woken by a kick that comes after this call.
    pub(super) fn wake_on_kick(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn wrote(&self, bytes: usize, now_ms: u64) {
        // The stream's task is the only one that writes.
        self.bytes.store(self.bytes() + bytes as u64, Relaxed);
        if let Some(probe) = &self.probe {
            probe.note_sent_bytes(bytes);
        }
        self.last_write_s.store(seconds(now_ms), Relaxed);
    }
}

/// The stream has no time at which it expires.
const NEVER: u32 = u32::MAX;

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}

fn seconds_since_1970(at: Option<SystemTime>) -> u32 {
    let since = at.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default());
    since.and_then(|since| u32::try_from(since.as_secs()).ok()).unwrap_or(NEVER)
}

impl fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStream")
            .field("id", &self.id)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
