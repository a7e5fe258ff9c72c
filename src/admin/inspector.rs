//! The inspector: a page, and the event stream that it shows.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use ::http::{Request, Response, StatusCode};
use futures_util::stream;
use serde_json::{Value, json};
use tailwater_sse::{Event, Rejection, SseLayer, from_stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::Admin;
use super::filter::{lag, state_of};
use super::response::{self, Body, Refusal, boxed};
use super::streams::{Wanted, milliseconds};
use crate::streams::Streams;

/// The maximum number of inspectors at once.
const MOST: usize = 8;
/// How often the state is sampled while an inspector is open, and otherwise.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(5);
/// For how long samples are kept.
const KEPT: Duration = Duration::from_secs(600);
/// The states of streams, as the kafka crate names them.
const STATES: [&str; 5] = ["seeking", "history", "snapshot", "ahead", "live"];

/// The files of the page: path, type and text. The page may load nothing else.
const FILES: [(&str, &str, &str); 8] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/inspector.css", "text/css; charset=utf-8", include_str!("page/inspector.css")),
    ("/inspector.svg", "image/svg+xml", include_str!("page/inspector.svg")),
    ("/inspector.js", SCRIPT, include_str!("page/inspector.js")),
    ("/chart.js", SCRIPT, include_str!("page/chart.js")),
    ("/events.js", SCRIPT, include_str!("page/events.js")),
    ("/format.js", SCRIPT, include_str!("page/format.js")),
    ("/streams.js", SCRIPT, include_str!("page/streams.js")),
];
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
pub(super) fn file(path: &str) -> Option<Response<Body>> {
    let (_, content_type, text) = FILES.iter().find(|(name, ..)| *name == path)?;
    let mut response = response::of_type(content_type, StatusCode::OK, *text);
    let policy = HeaderValue::from_static(POLICY);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    Some(response)
}

/// The state at a time.
#[derive(Clone, Debug, Default)]
struct Sample {
    /// Seconds since 1970.
    time: f64,
    /// Events and bytes a second since the sample before.
    events: f64,
    bytes: f64,
    /// The lag in seconds that 99 % of the streams are within.
    lag: f64,
    /// The number of streams that are behind.
    behind: usize,
    streams: usize,
    states: [usize; STATES.len()],
}

/// The samples of the last ten minutes.
#[derive(Debug)]
pub(super) struct Samples {
    kept: Mutex<VecDeque<Arc<Sample>>>,
    last: watch::Sender<Arc<Sample>>,
    places: Arc<Semaphore>,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            last: watch::Sender::default(),
            places: Arc::new(Semaphore::new(MOST)),
        }
    }
}

impl Samples {
    fn is_watched(&self) -> bool {
        self.places.available_permits() < MOST
    }

    fn add(&self, sample: Sample) {
        let sample = Arc::new(sample);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let since = sample.time - KEPT.as_secs_f64();
        while kept.front().is_some_and(|first| first.time < since) {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&sample));
        drop(kept);
        self.last.send_replace(sample);
    }

    fn history(&self) -> Value {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let samples: Value =
            kept.iter().map(|sample| json!([sample.time, sample.events, sample.lag])).collect();
        json!({ "samples": samples })
    }
}

/// What was counted at a time.
struct Counted {
    at: Instant,
    events: u64,
    bytes: u64,
}

/// Takes samples until the runtime ends.
pub(super) async fn sample(admin: Arc<Admin>) {
    let mut before: Option<Counted> = None;
    loop {
        let look = Arc::clone(&admin);
        // It looks at each stream.
        let looked = tokio::task::spawn_blocking(move || {
            let (events, bytes) = look.handle.sent();
            (Counted { at: Instant::now(), events, bytes }, look_at(&look.handle.streams))
        });
        // It fails only with the runtime.
        let Ok((counted, mut sample)) = looked.await else { return };
        if let Some(before) = &before {
            let seconds = counted.at.duration_since(before.at).as_secs_f64().max(0.001);
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
            sample.events = rate(counted.events, before.events);
            sample.bytes = rate(counted.bytes, before.bytes);
        }
        before = Some(counted);
        admin.samples.add(sample);
        for _ in 0..SELDOM.as_secs() {
            sleep(OFTEN).await;
            if admin.samples.is_watched() {
                break;
            }
        }
    }
}

fn look_at(streams: &Streams) -> Sample {
    let mut sample = Sample { time: now(), ..Sample::default() };
    let mut lags = Vec::new();
    streams.visit(None, |stream| {
        sample.streams += 1;
        let state = STATES.iter().position(|state| Some(*state) == state_of(stream));
        if let Some(count) = state.and_then(|at| sample.states.get_mut(at)) {
            *count += 1;
        }
        if let Some((records, age)) = lag(stream) {
            sample.behind += usize::from(records > 0);
            lags.push(age);
        }
        true
    });
    sample.lag = percentile(&mut lags);
    sample
}

/// The least time that 99 % of the times do not exceed.
fn percentile(times: &mut [Duration]) -> f64 {
    let Some(last) = times.len().checked_sub(1) else { return 0.0 };
    let (_, found, _) = times.select_nth_unstable(last - times.len() / 100);
    milliseconds(*found)
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    milliseconds(now)
}

/// The events of one inspector: the samples so far, and then each sample with the first page of a list.
pub(super) async fn events<B>(
    admin: &Arc<Admin>,
    request: Request<B>,
    wanted: Wanted,
) -> Result<Response<Body>, Refusal>
where
    B: Send + 'static,
{
    let Ok(place) = Arc::clone(&admin.samples.places).try_acquire_owned() else {
        return Err(Refusal::unavailable("too many inspectors are open"));
    };
    let (wanted, place) = (Arc::new(wanted), Arc::new(place));
    let admin = Arc::clone(admin);
    let source = service_fn(move |_| {
        let inspector = Inspector {
            samples: admin.samples.last.subscribe(),
            admin: Arc::clone(&admin),
            wanted: Arc::clone(&wanted),
            next: Next::History,
            _place: Arc::clone(&place),
        };
        let events = stream::unfold(inspector, |mut inspector| async move {
            let event = inspector.next().await?;
            Some((Ok::<_, Infallible>(event), inspector))
        });
        ready(Ok::<_, Rejection>(from_stream(events)))
    });
    let Ok(response) = SseLayer::new().layer(source).oneshot(request).await;
    Ok(boxed(response))
}

struct Inspector {
    samples: watch::Receiver<Arc<Sample>>,
    admin: Arc<Admin>,
    wanted: Arc<Wanted>,
    next: Next,
    _place: Arc<OwnedSemaphorePermit>,
}

/// The next event of an inspector.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    History,
    /// With the sample that there is.
    First,
    /// With the next sample.
    Further,
}

impl Inspector {
    async fn next(&mut self) -> Option<Event> {
        match self.next {
            Next::History => {
                self.next = Next::First;
                return Some(event("history", &self.admin.samples.history()));
            }
            Next::First => self.next = Next::Further,
            Next::Further => self.samples.changed().await.ok()?,
        }
        let sample = Arc::clone(&self.samples.borrow_and_update());
        let wanted = Arc::clone(&self.wanted);
        let tick = self.admin.in_turn(move |admin| tick(admin, &sample, &wanted)).await?;
        Some(event("tick", &tick))
    }
}

fn event(name: &'static str, data: &Value) -> Event {
    Event::data(data.to_string()).event(name)
}

fn tick(admin: &Admin, sample: &Sample, wanted: &Wanted) -> Value {
    let (_, ready) = admin.handle.ready();
    let counts = || admin.handle.connections.iter().map(|(_, limit)| limit.counts());
    let states =
        STATES.iter().zip(sample.states).map(|(name, count)| ((*name).to_owned(), count.into()));
    json!({
        "time": now(),
        "version": env!("CARGO_PKG_VERSION"),
        "ready": ready["ready"],
        "draining": ready["draining"],
        "why": ready["why"],
        "sample": {
            "time": sample.time,
            "events": sample.events,
            "bytes": sample.bytes,
            "lag": sample.lag,
            "behind": sample.behind,
            "streams": sample.streams,
        },
        "states": states.collect::<serde_json::Map<_, _>>(),
        "connections": {
            "open": counts().map(|counts| counts.open).sum::<usize>(),
            "refused": counts().map(|counts| counts.refused).sum::<u64>(),
            "stalled": counts().map(|counts| counts.stalled).sum::<u64>(),
        },
        "topics": admin.handle.topics(),
        "clusters": admin.handle.clusters(),
        "list": admin.lister.first_page(wanted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_most_streams_is_told() {
        for (seconds, expected) in [
            (0..0, 0.0),
            (7..8, 7.0),
            (0..50, 49.0),
            (0..100, 98.0),
            (0..200, 197.0),
            (0..1000, 989.0),
        ] {
            let mut times: Vec<_> = seconds.clone().rev().map(Duration::from_secs).collect();
            assert_eq!(percentile(&mut times), expected, "{seconds:?}");
        }
    }

    #[test]
    fn samples_are_kept_for_ten_minutes() {
        let samples = Samples::default();
        for second in 0..2000 {
            samples.add(Sample { time: f64::from(second), ..Sample::default() });
        }
        let history = samples.history();
        let kept = history["samples"].as_array().unwrap();
        assert_eq!((kept.len(), &kept[0][0]), (601, &json!(1399.0)));
    }

    #[test]
    fn the_page_loads_what_is_served_and_nothing_else() {
        for (path, _, text) in FILES {
            for quote in ['"', '\''] {
                for start in ["src=", "href=", "from "] {
                    for part in text.split(&format!("{start}{quote}")).skip(1) {
                        let name = part.split(quote).next().unwrap().trim_start_matches('.');
                        assert!(file(name).is_some(), "{path} loads {name}");
                    }
                }
            }
            for inline in [" style=", "<style", " onclick=", "innerHTML", "eval("] {
                assert!(!text.contains(inline), "{path} has {inline}");
            }
        }
    }
}
