//! The requests that are served.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ::http::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tracing::info;

use super::Admin;
use super::ending::Ending;
use super::inspector;
use super::query::Query;
use super::response::{self, Body, JSON, Refusal};
use super::streams::Wanted;
use crate::telemetry::InvalidLevels;

/// The longest time for which other levels of the log are in force.
const MAX_LEVELS_SECONDS: u64 = 24 * 60 * 60;

type Answer = Result<Response<Body>, Refusal>;

/// What may be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    Get,
    GetOrDelete,
    Post,
}

impl Allowed {
    /// Whether a request deletes.
    fn check<B>(self, request: &Request<B>) -> Result<bool, Refusal> {
        let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_delete = *request.method() == Method::DELETE;
        match self {
            Self::Get if is_get => Ok(false),
            Self::Get => Err(Refusal::method("GET, HEAD")),
            Self::GetOrDelete if is_get || is_delete => Ok(is_delete),
            Self::GetOrDelete => Err(Refusal::method("GET, HEAD, DELETE")),
            Self::Post if *request.method() == Method::POST => Ok(false),
            Self::Post => Err(Refusal::method("POST")),
        }
    }
}

impl Admin {
    pub(super) async fn answer<B>(self: &Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: Send + 'static,
    {
        self.respond(request).await.unwrap_or_else(Refusal::into_response)
    }

    async fn respond<B>(self: &Arc<Self>, request: Request<B>) -> Answer
    where
        B: Send + 'static,
    {
        let path = request.uri().path();
        let file = inspector::file(path);
        self.access.check_site(&request, file.is_some() && path != "/")?;
        // The page asks for the token, so that it has to be there without.
        if let Some(file) = file {
            Allowed::Get.check(&request)?;
            return Ok(file);
        }
        self.access.check_token(request.headers())?;
        let query = || Query::parse(request.uri().query());
        let check = |allowed: Allowed| allowed.check(&request);
        match request.uri().path() {
            "/streams" => match check(Allowed::GetOrDelete)? {
                false => self.list(Wanted::parse(query()?)?).await,
                true => self.end(Ending::parse(query()?)?).await,
            },
            "/subjects" => {
                check(Allowed::Get)?;
                let query = query()?;
                self.looked_up(move |admin| admin.lister.subjects(query)).await
            }
            "/events" => {
                check(Allowed::Get)?;
                let wanted = Wanted::parse_first(query()?)?;
                inspector::events(self, request, wanted).await
            }
            "/topics" => {
                check(Allowed::Get)?;
                without(query()?)?;
                self.looked_up(|admin| Ok(json!({ "topics": admin.handle.topics() }))).await
            }
            "/clusters" => {
                check(Allowed::Get)?;
                without(query()?)?;
                self.looked_up(|admin| Ok(json!({ "clusters": admin.handle.clusters() }))).await
            }
            "/guards" => {
                check(Allowed::Get)?;
                without(query()?)?;
                let guards = self.described.guards(&self.handle.guards);
                Ok(response::ok(&json!({ "guards": guards })))
            }
            "/config" => {
                check(Allowed::Get)?;
                without(query()?)?;
                Ok(response::of_type(JSON, StatusCode::OK, self.described.config.clone()))
            }
            "/log" => {
                check(Allowed::Post)?;
                self.log(query()?)
            }
            "/drain" => {
                check(Allowed::Post)?;
                without(query()?)?;
                Ok(self.drain())
            }
            "/ready" => {
                check(Allowed::Post)?;
                self.ready(query()?)
            }
            path => match path.strip_prefix("/streams/") {
                Some(id) => match check(Allowed::GetOrDelete)? {
                    false => {
                        without(query()?)?;
                        self.lister.one(id).map(|stream| response::ok(&stream))
                    }
                    true => self.lister.kick_one(id, query()?).map(|ended| response::ok(&ended)),
                },
                None => Err(Refusal::not_found("there is nothing at this path")),
            },
        }
    }

    async fn list(self: &Arc<Self>, wanted: Wanted) -> Answer {
        self.looked_up(move |admin| admin.lister.page(&wanted)).await
    }

    /// Ends streams, and refuses their subject.
    async fn end(self: &Arc<Self>, ending: Ending) -> Answer {
        let ended = move |admin: &Self| {
            if let Some((subject, time)) = &ending.block {
                let full = |_| Refusal::bad_request("too many subjects are blocked".to_owned());
                // Before the end, so that no client is faster.
                admin.handle.blocks.add(subject, *time).map_err(full)?;
            }
            let ended = ending.end(&admin.handle.streams);
            info!(ended, "streams ended by a request for administration");
            Ok(json!({ "ended": ended }))
        };
        self.looked_up(ended).await
    }

    /// The answer of a function that looks at all streams or topics. Threads that serve streams do not run it, and
    /// only one at a time does.
    async fn looked_up<T: Serialize>(
        self: &Arc<Self>,
        look: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Answer {
        let answer = self.in_turn(|this| look(this).map(|body| response::ok(&body))).await;
        answer.unwrap_or_else(|| Err(Refusal::unavailable("the process ends")))
    }

    /// Runs a function that looks at all streams. `None` if it panicked, or at the end of the process.
    pub(super) async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        let this = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || {
            let looked = look(&this);
            drop(turn);
            looked
        });
        looked.await.ok()
    }

    /// Changes the levels of the log, for a time or for good.
    fn log(&self, mut query: Query) -> Answer {
        let levels = query.require("levels")?;
        let seconds = query.number("for", 1..=MAX_LEVELS_SECONDS)?;
        query.finish()?;
        let wrong = |error: InvalidLevels| Refusal::bad_request(error.to_string());
        self.levels.set(&levels, seconds.map(Duration::from_secs)).map_err(wrong)?;
        info!(levels, seconds, "levels of the log changed");
        Ok(response::ok(&json!({ "levels": levels, "for": seconds })))
    }

    fn drain(&self) -> Response<Body> {
        // Kept for the server if it does not wait yet.
        self.drain.notify_one();
        let body = json!({ "draining": true }).to_string();
        response::of_type(JSON, StatusCode::ACCEPTED, body)
    }

    /// Takes the process out of service for load balancers, or puts it back.
    fn ready(&self, mut query: Query) -> Answer {
        let states = [("off", true), ("on", false)];
        let Some(is_off) = query.word("state", &states)? else {
            return Err(Refusal::bad_request("state is missing: off or on".to_owned()));
        };
        query.finish()?;
        self.handle.taken_out.store(is_off, Relaxed);
        let state = if is_off { "off" } else { "on" };
        info!(state, "readiness switched");
        Ok(response::ok(&json!({ "state": state })))
    }
}

/// Checks that a request has no parameters.
fn without(query: Query) -> Result<(), Refusal> {
    query.finish()
}
