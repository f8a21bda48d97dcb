//! The carrier's callbacks: HTTP requests by which the carrier reports on calls and asks how they go on.
//!
//! Each handler verifies the signature (`verified`), decodes the form, calls one use case of `switchboard_calls`, and
//! encodes its outcome. Without a valid signature, or for a conversation that does not exist, the response is a 403.
//! All routes are POST, below the name of the carrier and the id of the account.
//!
//! | route | request | use case |
//! |---|---|---|
//! | `/{conversation_id}/status` | the progress of a call | `apply_status` |
//! | `/{conversation_id}/amd` | the result of answering machine detection | one transition |
//! | `/{conversation_id}/resume` | a media stream ended and the call did not | `resume` |
//! | `/{conversation_id}/stream` | the fate of a media stream | `rescue_stream` |
//! | `/inbound` | a call to one of the account's numbers | `accept_inbound` |
//! | `/fallback` | the same, after `/inbound` failed | `accept_inbound` |
//! | `/status` | the end of such a call | `apply_status` |
//!
//! If the outcome cannot be stored, the response is a 5xx. The carrier repeats a report only if its connection fails or
//! the URL asks for it, so the table relies on later reports; if none comes, the sweeper ends the call at its deadline.
//!
//! The function knows nothing of agents, webhooks and prices. Start reading at [`router`].

mod config;
mod fallback;
mod respond;
mod verified;

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use lambda_http::request::RequestContext;
use switchboard_aws::table::{Outcome, TableError};
use switchboard_calls::{
    Backend, CallbackUrls, InboundContext, InboundError, InboundOutcome, RescueError, RescueOutcome,
    ResumeOutcome, StatusOutcome, accept_inbound, apply_status, rescue_stream,
};
use switchboard_model::{
    conversations::{InvalidTransition, Snapshot},
    ids::ConversationId,
};
use switchboard_providers::carrier::{
    Carrier as _,
    callbacks::{DetectionReport, StatusReport, UnusableCallback},
    documents::{Instructions, RejectReason},
};
use switchboard_runtime::spans;
use tokio::time::timeout;
use tracing::Instrument;

pub use self::config::Config;
use self::{
    respond::{respond, respond_with, status_of_failure},
    verified::{ConversationCallback, NumberCallback},
};

/// Maximum size of a form. A report has some 30 short parameters.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Maximum time of one use case. The carrier waits 15 s, which is the function's own time limit too.
const TIMEOUT: Duration = Duration::from_secs(13);

/// The clients and settings of the handlers.
#[derive(Debug)]
pub struct Callbacks {
    /// The table, the sealing key and the carrier.
    pub backend: Backend,
    /// The clients and settings for inbound calls.
    pub inbound: InboundContext,
    /// The addresses that the carrier was given, and signs.
    pub urls: CallbackUrls,
}

/// The routes, for a server or for Lambda.
pub fn router(callbacks: Callbacks) -> Router {
    let carrier = callbacks.backend.carrier.name();
    let of_account = |leaf| format!("/{carrier}/{{account_id}}/{leaf}");
    let of_conversation = |leaf| format!("/{carrier}/{{account_id}}/{{conversation_id}}/{leaf}");
    Router::new()
        .route(&of_conversation("status"), post(handle_status))
        .route(&of_conversation("amd"), post(handle_detection))
        .route(&of_conversation("resume"), post(handle_resume))
        .route(&of_conversation("stream"), post(handle_stream))
        .route(&of_account("inbound"), post(handle_inbound))
        .route(&of_account("fallback"), post(fallback::handle_fallback))
        .route(&of_account("status"), post(handle_number_status))
        .fallback(|| async { respond(StatusCode::NOT_FOUND) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(in_span))
        .with_state(Arc::new(callbacks))
}

/// Handles a request within its span. The ids are recorded once the signature is verified.
async fn in_span(request: Request, next: Next) -> Response {
    let id = match request.extensions().get() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    let span = spans::request(&id.unwrap_or_default());
    next.run(request).instrument(span).await
}

async fn handle_status(State(callbacks): State<Arc<Callbacks>>, callback: ConversationCallback) -> Response {
    match callbacks.backend.carrier.status_report(&callback.callback) {
        Ok(report) => callbacks.apply_status(&callback, &report).await,
        Err(error) => unreadable(&error),
    }
}

async fn handle_number_status(State(callbacks): State<Arc<Callbacks>>, callback: NumberCallback) -> Response {
    match callbacks.backend.carrier.status_report(&callback.callback) {
        Ok(report) => {
            let id = ConversationId::of_call(callback.account_id, report.call.id());
            let callback = ConversationCallback::new(callback.account_id, id, callback.callback);
            callbacks.apply_status(&callback, &report).await
        }
        Err(error) => unreadable(&error),
    }
}

async fn handle_detection(
    State(callbacks): State<Arc<Callbacks>>,
    callback: ConversationCallback,
) -> Response {
    match callbacks.backend.carrier.detection_report(&callback.callback) {
        Ok(report) => callbacks.record_answered_by(&callback, &report).await,
        Err(error) => unreadable(&error),
    }
}

async fn handle_resume(State(callbacks): State<Arc<Callbacks>>, callback: ConversationCallback) -> Response {
    let ConversationCallback { account_id, conversation_id, callback } = callback;
    let call = match callbacks.backend.carrier.callback_call(&callback) {
        Ok(call) => call,
        Err(error) => return unreadable(&error),
    };
    spans::record_call_sid(call.id());
    let Callbacks { backend, inbound, urls, .. } = &*callbacks;
    let resuming = switchboard_calls::resume(backend, &inbound.prices, account_id, conversation_id, &call);
    match in_time(Box::pin(resuming)).await {
        Ok(ResumeOutcome::Connect { token, pause }) => {
            let carrier = &backend.carrier;
            respond_with(urls.connect_stream_after(pause, carrier, account_id, conversation_id, &token))
        }
        Ok(ResumeOutcome::HangUp) => respond_with(backend.carrier.document(&Instructions::HangUp)),
        Ok(ResumeOutcome::NotFound) => respond(StatusCode::FORBIDDEN),
        Err(status) => respond(status),
    }
}

async fn handle_stream(State(callbacks): State<Arc<Callbacks>>, callback: ConversationCallback) -> Response {
    let ConversationCallback { account_id, conversation_id, callback } = callback;
    let report = match callbacks.backend.carrier.stream_report(&callback) {
        Ok(report) => report,
        Err(error) => return unreadable(&error),
    };
    spans::record_call_sid(report.call.id());
    tracing::info!(event = ?report.event, error_code = report.error_code, "stream status received");
    let Callbacks { backend, urls, .. } = &*callbacks;
    match timeout(TIMEOUT, rescue_stream(backend, urls, account_id, conversation_id, &report)).await {
        Ok(Ok(RescueOutcome::Redirected | RescueOutcome::NotNeeded)) => StatusCode::OK.into_response(),
        Ok(Ok(RescueOutcome::NotFound)) => respond(StatusCode::FORBIDDEN),
        Ok(Err(RescueError::Table(error))) => respond(status_of_failure(&error)),
        Ok(Err(error)) => {
            tracing::error!(%error, "stranded call not redirected");
            respond(StatusCode::BAD_GATEWAY)
        }
        Err(_elapsed) => {
            tracing::error!("stranded call not redirected in time");
            respond(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

async fn handle_inbound(State(callbacks): State<Arc<Callbacks>>, callback: NumberCallback) -> Response {
    answer_inbound(&callbacks, callback).await
}

async fn answer_inbound(callbacks: &Callbacks, callback: NumberCallback) -> Response {
    let NumberCallback { account_id, number, callback } = callback;
    let call = match callbacks.backend.carrier.incoming_call(&callback) {
        Ok(call) => call,
        Err(error) => return unreadable(&error),
    };
    spans::record_call_sid(call.call.id());
    let Some(number) = number else {
        tracing::warn!("call to a number of no account rejected");
        return callbacks.reject_call();
    };
    let Callbacks { backend, inbound, urls, .. } = callbacks;
    // Boxed: it holds the configurations of one or two agents.
    let accepting = Box::pin(accept_inbound(backend, inbound, account_id, &number, &call));
    match timeout(TIMEOUT, accepting).await {
        Ok(Ok(InboundOutcome::Connect { conversation, token })) => {
            respond_with(urls.connect_stream(&backend.carrier, account_id, conversation, &token))
        }
        Ok(Ok(InboundOutcome::Reject)) => callbacks.reject_call(),
        Ok(Ok(InboundOutcome::Busy)) => {
            respond_with(backend.carrier.document(&Instructions::Reject(RejectReason::Busy)))
        }
        Ok(Ok(InboundOutcome::HangUp)) => respond_with(backend.carrier.document(&Instructions::HangUp)),
        Ok(Err(InboundError::Table(error))) => respond(status_of_failure(&error)),
        Ok(Err(error @ InboundError::Defect(_))) => {
            tracing::error!(%error, "inbound call not accepted");
            respond(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Err(_elapsed) => {
            tracing::error!(number = %number.id, "inbound call not accepted in time");
            respond(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

impl Callbacks {
    fn reject_call(&self) -> Response {
        respond_with(self.backend.carrier.document(&Instructions::Reject(RejectReason::NotInService)))
    }

    async fn apply_status(&self, callback: &ConversationCallback, report: &StatusReport) -> Response {
        spans::record_call_sid(report.call.id());
        let ConversationCallback { account_id, conversation_id, .. } = callback;
        match in_time(apply_status(&self.backend, *account_id, *conversation_id, report)).await {
            Ok(StatusOutcome::Applied | StatusOutcome::Ignored | StatusOutcome::HungUp) => {
                StatusCode::OK.into_response()
            }
            Ok(StatusOutcome::NotHungUp(_)) => respond(StatusCode::BAD_GATEWAY),
            Ok(StatusOutcome::NotFound) => respond(StatusCode::FORBIDDEN),
            Err(status) => respond(status),
        }
    }

    /// Stores the result of answering machine detection. A worker that holds the conversation reads it there.
    async fn record_answered_by(
        &self,
        callback: &ConversationCallback,
        report: &DetectionReport,
    ) -> Response {
        spans::record_call_sid(report.call.id());
        let ConversationCallback { account_id, conversation_id, .. } = callback;
        let DetectionReport { call, answered_by } = report;
        let transition = |Snapshot { conversation, .. }: &Snapshot| {
            let leg = conversation.legs.of_call(call).ok_or(InvalidTransition)?;
            conversation.record_answered_by(leg.id, call, answered_by)
        };
        match in_time(self.backend.table.transition(*account_id, *conversation_id, transition)).await {
            Ok(Outcome::NotFound) => respond(StatusCode::FORBIDDEN),
            Ok(outcome) => {
                let is_new = matches!(outcome, Outcome::Changed(_));
                tracing::info!(answered_by, is_new, "answering machine detection recorded");
                StatusCode::OK.into_response()
            }
            Err(status) => respond(status),
        }
    }
}

/// Limits the time of a use case. Its failure becomes the status of the response.
async fn in_time<T>(work: impl Future<Output = Result<T, TableError>>) -> Result<T, StatusCode> {
    match timeout(TIMEOUT, work).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(error)) => Err(status_of_failure(&error)),
        Err(_elapsed) => {
            tracing::error!("callback not handled in time");
            Err(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

fn unreadable(error: &UnusableCallback) -> Response {
    tracing::warn!(%error, "unreadable callback ignored");
    respond(StatusCode::BAD_REQUEST)
}
