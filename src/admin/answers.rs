//! The requests that are served.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ::http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tracing::info;

use super::Admin;
use super::query::Query;
use super::response::{self, Refusal};
use crate::telemetry::InvalidLevels;

/// The longest time for which other levels of the log are in force.
const MAX_LEVELS_SECONDS: u64 = 24 * 60 * 60;

type Answer = Result<Response<String>, Refusal>;

impl Admin {
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        self.respond(request).unwrap_or_else(Refusal::into_response)
    }

    fn respond<B>(&self, request: &Request<B>) -> Answer {
        self.access.check_site(request)?;
        self.access.check_token(request.headers())?;
        let get = || allow(request, &[Method::GET, Method::HEAD], "GET, HEAD");
        let post = || allow(request, &[Method::POST], "POST");
        let query = || Query::parse(request.uri().query());
        match request.uri().path() {
            "/topics" => get().and_then(|()| without(query()?, || self.topics())),
            "/clusters" => get().and_then(|()| without(query()?, || self.clusters())),
            "/guards" => {
                get().and_then(|()| without(query()?, || ok(self.described.guards.clone())))
            }
            "/config" => {
                get().and_then(|()| without(query()?, || ok(self.described.config.clone())))
            }
            "/log" => post().and_then(|()| self.log(query()?)),
            "/drain" => post().and_then(|()| without(query()?, || self.drain())),
            "/ready" => post().and_then(|()| self.ready(query()?)),
            _ => Err(Refusal::not_found("there is nothing at this path")),
        }
    }

    fn topics(&self) -> Response<String> {
        ok(json!({ "topics": self.handle.topics() }).to_string())
    }

    fn clusters(&self) -> Response<String> {
        ok(json!({ "clusters": self.handle.clusters() }).to_string())
    }

    /// Changes the levels of the log, for a time or for good.
    fn log(&self, mut query: Query) -> Answer {
        let levels = query.require("levels")?;
        let seconds = query.number("for", 1..=MAX_LEVELS_SECONDS)?;
        query.finish()?;
        let wrong = |error: InvalidLevels| Refusal::bad_request(error.to_string());
        self.levels.set(&levels, seconds.map(Duration::from_secs)).map_err(wrong)?;
        info!(levels, seconds, "levels of the log changed");
        Ok(ok(json!({ "levels": levels, "for": seconds }).to_string()))
    }

    fn drain(&self) -> Response<String> {
        // Kept for the server if it does not wait yet.
        self.drain.notify_one();
        let body = json!({ "draining": true }).to_string();
        response::of_type("application/json", StatusCode::ACCEPTED, body)
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
        Ok(ok(json!({ "state": state }).to_string()))
    }
}

fn allow<B>(request: &Request<B>, methods: &[Method], names: &'static str) -> Result<(), Refusal> {
    match methods.contains(request.method()) {
        true => Ok(()),
        false => Err(Refusal::method(names)),
    }
}

/// The answer to a request without parameters.
fn without(query: Query, answer: impl FnOnce() -> Response<String>) -> Answer {
    query.finish()?;
    Ok(answer())
}

fn ok(json: String) -> Response<String> {
    response::of_type("application/json", StatusCode::OK, json)
}
