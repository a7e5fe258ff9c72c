//! The access log: one line when a request is answered, and one line when its stream has ended. The target
//! is `tailwater::access`. The exporter `stdout` of the configuration writes it.

use std::time::Duration;

use ::http::{Request, Response};
use tower_http::classify::{ServerErrorsAsFailures, ServerErrorsFailureClass, SharedClassifier};
use tower_http::trace::{MakeSpan, OnEos, OnFailure, OnResponse, TraceLayer};
use tracing::{Span, info, info_span};

/// The target of the log's lines.
pub(crate) const TARGET: &str = "tailwater::access";

pub(crate) type AccessLogLayer = TraceLayer<
    SharedClassifier<ServerErrorsAsFailures>,
    Requested,
    (),
    Answered,
    (),
    Ended,
    Failed,
>;

/// The layer that writes the log of one `http` binding.
pub(crate) fn layer() -> AccessLogLayer {
    TraceLayer::new_for_http()
        .make_span_with(Requested)
        .on_request(())
        .on_response(Answered)
        .on_body_chunk(())
        .on_eos(Ended)
        .on_failure(Failed)
}

/// The length to which text of a client is cut.
const MOST_BYTES: usize = 1024;

/// Adds the method and the path, but not the query, which may contain a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requested;

impl<B> MakeSpan<B> for Requested {
    fn make_span(&mut self, request: &Request<B>) -> Span {
        info_span!(target: TARGET, "request", method = cut(request.method().as_str()), path = cut(request.uri().path()))
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MOST_BYTES)).unwrap_or(text)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered;

impl<B> OnResponse<B> for Answered {
    fn on_response(self, response: &Response<B>, _: Duration, _: &Span) {
        info!(target: TARGET, status = response.status().as_u16(), "answered");
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

impl OnEos for Ended {
    fn on_eos(self, _: Option<&::http::HeaderMap>, duration: Duration, _: &Span) {
        info!(target: TARGET, seconds = duration.as_secs_f32(), "ended");
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

impl OnFailure<ServerErrorsFailureClass> for Failed {
    /// Ignores statuses, since the line of the answer has them.
    fn on_failure(&mut self, failure: ServerErrorsFailureClass, _: Duration, _: &Span) {
        if let ServerErrorsFailureClass::Error(error) = failure {
            info!(target: TARGET, error, "failed");
        }
    }
}
