//! The access log: a line `opened` when an event stream begins, and a line `ended` when a stream or another request
//! has ended, however it has ended. The target is `tailwater::access`. The exporter `stdout` of the configuration
//! writes it.
//!
//! No line has a token or a query. Texts of a client are cut at 1 KiB.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::http::{Extensions, HeaderMap, Method, Request};
use tailwater_http::{Peer, Rejection};
use tailwater_jwt::Session;
use tailwater_tls::Version as TlsVersion;
use tokio::time::Instant;
use tracing::info;

use crate::blocks;
use crate::config::LoggedSubject;
use crate::streams::{OpenStream, Place, Probe, Protocol, Reason, Start, StreamId};

mod body;
mod layer;
mod why;

pub(crate) use self::layer::{AccessLogLayer, TellSession};

/// The target of the log's lines.
pub(crate) const TARGET: &str = "tailwater::access";

/// The length to which text of a client is cut.
const MOST_BYTES: usize = 1024;

/// What the lines of an `http` binding have in common.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    /// The name of the binding, unique in the process.
    pub(crate) binding: Arc<str>,
    pub(crate) subject: LoggedSubject,
}

/// The connection of a request.
#[derive(Clone, Copy, Debug)]
struct Connection {
    peer: SocketAddr,
    tls: Option<TlsVersion>,
}

impl Connection {
    fn of(extensions: &Extensions) -> Self {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            peer: extensions.get::<Peer>().map_or(unknown, |peer| peer.0),
            tls: extensions.get().copied(),
        }
    }
}

/// What the lines of a request have of its head. It is among the extensions of a request that is logged.
#[derive(Debug)]
pub(crate) struct Requested {
    log: AccessLog,
    started: Instant,
    connection: Connection,
    protocol: Protocol,
    method: Method,
    path: Box<str>,
    user_agent: Option<Box<str>>,
    trace_id: Option<Box<str>>,
}

impl Requested {
    fn new<B>(log: &AccessLog, request: &Request<B>) -> Self {
        let headers = request.headers();
        let user_agent = headers.get("user-agent");
        Self {
            log: log.clone(),
            started: Instant::now(),
            connection: Connection::of(request.extensions()),
            protocol: request.version().into(),
            method: request.method().clone(),
            path: cut(request.uri().path()).into(),
            user_agent: user_agent
                .map(|value| cut(&String::from_utf8_lossy(value.as_bytes())).into()),
            trace_id: trace_id(headers),
        }
    }
}

/// The trace id of `traceparent` (W3C Trace Context, 3.2.2).
fn trace_id(headers: &HeaderMap) -> Option<Box<str>> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (_, id) = (parts.next()?, parts.next()?);
    let is_id = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && id.bytes().any(|byte| byte != b'0')).then(|| id.into())
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MOST_BYTES)).unwrap_or(text)
}

/// The key of the hashes of subjects.
static SUBJECTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The subject of a session, as the log has it.
fn subject(session: &Session, logged: LoggedSubject) -> Option<Cow<'_, str>> {
    let subject = blocks::subject(session)?;
    match logged {
        LoggedSubject::Off => None,
        LoggedSubject::Plain => Some(cut(subject).into()),
        LoggedSubject::Hash => Some(format!("{:016x}", SUBJECTS.hash_one(subject)).into()),
    }
}

fn tls_name(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls12 => "1.2",
        _ => "1.3",
    }
}

/// A line. What is `None` is left out.
struct Line<'a> {
    event: &'static str,
    connection: Connection,
    binding: &'a str,
    id: Option<StreamId>,
    route: Option<&'a str>,
    request: Option<&'a Requested>,
    status: Option<u16>,
    why: Option<Cow<'a, str>>,
    session: Option<&'a Session>,
    probe: Option<&'a Probe>,
    start: Option<Start>,
    reason: Option<Reason>,
    bytes: Option<u64>,
}

impl<'a> Line<'a> {
    fn new(event: &'static str, connection: Connection, log: &'a AccessLog) -> Self {
        Self {
            event,
            connection,
            binding: &log.binding,
            id: None,
            route: None,
            request: None,
            status: None,
            why: None,
            session: None,
            probe: None,
            start: None,
            reason: None,
            bytes: None,
        }
    }

    fn of_request(event: &'static str, request: &'a Requested) -> Self {
        let line = Self::new(event, request.connection, &request.log);
        Self { request: Some(request), ..line }
    }

    fn of_stream(event: &'static str, request: &'a Requested, stream: &'a OpenStream) -> Self {
        Self {
            id: Some(stream.id()),
            status: Some(200),
            session: stream.session(),
            probe: stream.probe(),
            start: Some(stream.start()),
            ..Self::of_request(event, request)
        }
        .at(Some(stream.place()))
    }

    /// The place that has answered.
    fn at(self, place: Option<&'a Arc<Place>>) -> Self {
        match place {
            Some(place) => Self { binding: &place.binding, route: place.route.as_deref(), ..self },
            None => self,
        }
    }

    fn write(&self) {
        let Self { connection, request, session, probe, .. } = self;
        let has_ended = self.event == "ended";
        let subject = session.zip(*request);
        let subject = subject.and_then(|(session, request)| subject_of(session, request));
        let probe_at_end = probe.filter(|_| has_ended);
        let elapsed = request.filter(|_| has_ended).map(|request| request.started.elapsed());
        info!(
            target: TARGET,
            event = self.event,
            id = self.id.map(display),
            binding = self.binding,
            route = self.route,
            client = display(connection.peer.ip().to_canonical()),
            peer = display(connection.peer),
            method = request.map(|request| cut(request.method.as_str())),
            path = request.map(|request| &*request.path),
            protocol = request.map(|request| request.protocol.name()),
            tls = connection.tls.map(tls_name),
            status = self.status,
            why = self.why.as_deref(),
            subject = subject.as_deref(),
            guard = session.map(Session::guard_name),
            topic = probe.map(|probe| cut(probe.topic())),
            start = self.start.map(Start::name),
            reason = self.reason.map(Reason::name),
            seconds = elapsed.map(seconds),
            events = probe_at_end.map(Probe::events),
            bytes = self.bytes,
            gaps = probe_at_end.map(Probe::gaps),
            lag_records = probe_at_end.and_then(Probe::lag_records),
            user_agent = request.and_then(|request| request.user_agent.as_deref()),
            trace_id = request.and_then(|request| request.trace_id.as_deref()),
        );
    }
}

fn subject_of<'a>(session: &'a Session, request: &Requested) -> Option<Cow<'a, str>> {
    subject(session, request.log.subject)
}

/// Seconds with three decimals.
fn seconds(time: Duration) -> f64 {
    let milliseconds = u32::try_from(time.as_millis()).map_or(f64::INFINITY, f64::from);
    if milliseconds.is_finite() { milliseconds / 1000.0 } else { time.as_secs_f64().round() }
}

/// Writes the line of a stream that has begun.
fn opened(request: &Requested, stream: &OpenStream) {
    Line::of_stream("opened", request, stream).write();
}

/// Writes the line of a stream that has ended.
pub(crate) fn stream_ended(stream: &OpenStream, reason: Reason) {
    let Some(request) = stream.requested() else { return };
    let line = Line::of_stream("ended", request, stream);
    Line { reason: Some(reason), bytes: Some(stream.bytes()), ..line }.write();
}

/// Writes the line of a request that did not reach the layer of the log.
pub(crate) fn rejected(log: &AccessLog, rejection: Rejection<'_>) {
    let connection = Connection::of(rejection.extensions);
    let status = Some(rejection.status.as_u16());
    match rejection.request {
        Some(request) => {
            // The connection's extensions are not in a request that was not passed on.
            let request = Requested { connection, ..Requested::new(log, request) };
            let why = Some("host".into());
            Line { status, why, ..Line::of_request("ended", &request) }.write();
        }
        None => Line { status, ..Line::new("ended", connection, log) }.write(),
    }
}

#[cfg(test)]
mod tests;
