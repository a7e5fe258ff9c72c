//! The write side: requests become commands.
//!
//! A command is answered `202 Accepted` when all replicas have it. Its result arrives on the stream: the task with
//! the etag of the answer, or, if another command came first, that one's task.

use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use tailwater::jwt::Session;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::kafka::Producer;
use crate::tasks::{Action, COMMANDS, Command, Content};
use crate::view::View;

const MAX_TASKS: usize = 10_000;
const MAX_BODY_BYTES: usize = 4096;
const MAX_TITLE_BYTES: usize = 1000;
/// How long a body may take, and the view at the start.
const PATIENCE: Duration = Duration::from_secs(10);
/// A client may know an etag that the view has not read yet. So it is a conflict only after this time.
const CATCH_UP: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) producer: Producer,
    pub(crate) view: watch::Receiver<View>,
}

/// The paths of the commands, and of a single task. `GET /tasks` is `stream`.
pub(crate) fn router(service: Service, stream: MethodRouter<Service>) -> Router {
    Router::new()
        .route("/tasks", stream.merge(post(create)))
        .route("/tasks/{id}", get(read).put(replace).delete(remove))
        .with_state(service)
}

async fn create(State(service): State<Service>, request: Request) -> Result<Response, Refusal> {
    let mut request = Parsed::new(request)?;
    let action = Action::Create { content: request.content().await? };
    // The id is the key: a repeated request creates the same task.
    let id = request.idempotency_key.clone();
    service.submit(id, request, action).await
}

async fn replace(
    State(service): State<Service>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let mut request = Parsed::new(request)?;
    let if_match = request.if_match()?;
    let action = Action::Replace { if_match, content: request.content().await? };
    service.submit(id, request, action).await
}

async fn remove(
    State(service): State<Service>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let request = Parsed::new(request)?;
    let action = Action::Delete { if_match: request.if_match()? };
    service.submit(id, request, action).await
}

/// What `location` names: the task as this instance knows it.
async fn read(
    State(mut service): State<Service>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    if !service.waits_for(PATIENCE, View::is_complete).await {
        return Err(KAFKA_IS_AWAY);
    }
    let view = service.view.borrow();
    let task = view.state.task(&id, &owner(&request)).ok_or(NOT_FOUND)?;
    let body = serde_json::to_string(task).expect("it has no maps");
    let etag = format!("\"{}\"", task.etag);
    Ok(([(ETAG, etag), (CONTENT_TYPE, "application/json".to_owned())], body).into_response())
}

impl Service {
    /// Sends a command, unless it is a repeated one or can have no effect.
    async fn submit(
        mut self,
        id: String,
        request: Parsed,
        action: Action,
    ) -> Result<Response, Refusal> {
        let Parsed { idempotency_key, owner, .. } = request;
        if !self.waits_for(PATIENCE, View::is_complete).await {
            return Err(KAFKA_IS_AWAY);
        }
        let accepted = accepted(&id, &idempotency_key);
        if let Some(known) = self.view.borrow().state.command(&owner, &idempotency_key) {
            let is_same = *known == (id, action);
            return if is_same { Ok(accepted) } else { Err(OTHER_COMMAND) };
        }
        match &action {
            Action::Create { .. } if self.view.borrow().state.len() >= MAX_TASKS => {
                return Err(TOO_MANY_TASKS);
            }
            Action::Create { .. } => {}
            Action::Replace { if_match, .. } | Action::Delete { if_match } => {
                self.check(&id, &owner, if_match).await?;
            }
        }
        let command = Command { idempotency_key, owner, action };
        let value = serde_json::to_vec(&command).expect("it has no maps");
        if let Err(error) = self.producer.send(COMMANDS, &id, &value).await {
            tracing::warn!(%error, "a command was not acknowledged");
            return Err(KAFKA_IS_AWAY);
        }
        // The next request with this key finds it.
        let Command { idempotency_key, owner, .. } = command;
        let is_known = |view: &View| view.state.command(&owner, &idempotency_key).is_some();
        self.waits_for(CATCH_UP, is_known).await;
        Ok(accepted)
    }

    /// Whether the view fulfils a condition in time.
    async fn waits_for(&mut self, time: Duration, condition: impl Fn(&View) -> bool) -> bool {
        let fulfilled = timeout(time, self.view.wait_for(|view| condition(view))).await;
        fulfilled.is_ok_and(|view| view.is_ok())
    }

    /// Whether the task has this etag. The processor checks it again, in the order of the commands.
    async fn check(&mut self, id: &str, owner: &str, if_match: &str) -> Result<(), Refusal> {
        let is_current =
            |view: &View| view.state.task(id, owner).is_some_and(|task| task.etag == if_match);
        if self.waits_for(CATCH_UP, is_current).await {
            return Ok(());
        }
        let view = self.view.borrow();
        let task = view.state.task(id, owner).ok_or(NOT_FOUND)?;
        Err(Refusal { etag: Some(task.etag.clone()), ..CONFLICT })
    }
}

fn accepted(id: &str, idempotency_key: &str) -> Response {
    let location = (LOCATION, format!("/tasks/{id}"));
    // The etag that the task gets.
    let etag = (ETAG, format!("\"{idempotency_key}\""));
    (StatusCode::ACCEPTED, [location, etag]).into_response()
}

/// What every command needs, and its body.
struct Parsed {
    idempotency_key: String,
    owner: String,
    request: Request,
}

impl Parsed {
    fn new(request: Request) -> Result<Self, Refusal> {
        let key = quoted(request.headers(), "idempotency-key").ok_or(NO_KEY)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(16..=64).contains(&key.len()) || !key.bytes().all(is_plain) {
            return Err(NO_KEY);
        }
        Ok(Self { idempotency_key: key.to_owned(), owner: owner(&request), request })
    }

    fn if_match(&self) -> Result<String, Refusal> {
        let headers = self.request.headers();
        if !headers.contains_key(IF_MATCH) {
            return Err(NO_IF_MATCH);
        }
        quoted(headers, IF_MATCH.as_str()).map(str::to_owned).ok_or(NO_ETAG)
    }

    async fn content(&mut self) -> Result<Content, Refusal> {
        let body = std::mem::take(self.request.body_mut());
        let body = match timeout(PATIENCE, to_bytes(body, MAX_BODY_BYTES)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(NO_CONTENT),
            Err(_) => return Err(TOO_SLOW),
        };
        let content: Content = serde_json::from_slice(&body).map_err(|_| NO_CONTENT)?;
        let title = content.title.trim();
        if title.is_empty() || title.len() > MAX_TITLE_BYTES {
            return Err(NO_CONTENT);
        }
        Ok(Content { title: title.to_owned(), ..content })
    }
}

/// The value of a header, which may be in quotes.
fn quoted<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    (!value.is_empty() && !value.contains(['"', '*', ','])).then_some(value)
}

/// The user of a guarded service. Without a guard, all users share their tasks.
fn owner(request: &Request) -> String {
    let session = request.extensions().get::<Session>();
    session.and_then(|session| session.token().identity()).unwrap_or_default().to_owned()
}

/// Why a request is no command.
struct Refusal {
    status: StatusCode,
    reason: &'static str,
    etag: Option<String>,
}

impl Refusal {
    const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason, etag: None }
    }
}

const NO_KEY: Refusal = Refusal::new(
    StatusCode::BAD_REQUEST,
    "the header idempotency-key is needed: 16 to 64 letters, digits, - and _, such as a UUID",
);
const NO_ETAG: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "if-match takes one etag");
const NO_CONTENT: Refusal = Refusal::new(
    StatusCode::BAD_REQUEST,
    r#"the body is {"title":"…","completed":false}, with a title of 1 to 1000 bytes"#,
);
const TOO_SLOW: Refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long");
const NO_IF_MATCH: Refusal =
    Refusal::new(StatusCode::PRECONDITION_REQUIRED, "the header if-match is needed");
const NOT_FOUND: Refusal = Refusal::new(StatusCode::NOT_FOUND, "there is no such task");
const CONFLICT: Refusal =
    Refusal::new(StatusCode::PRECONDITION_FAILED, "the task has changed meanwhile");
const OTHER_COMMAND: Refusal =
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "another command has this idempotency key");
const TOO_MANY_TASKS: Refusal =
    Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "there are too many tasks");
const KAFKA_IS_AWAY: Refusal =
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Kafka is away, repeat with the same key");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.reason).into_response();
        let etag = self.etag.and_then(|etag| format!("\"{etag}\"").parse().ok());
        if let Some(etag) = etag {
            response.headers_mut().insert(ETAG, etag);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
        }
        response
    }
}
