//! The carrier's callbacks: what it reports of a call moves the conversation.
//!
//! Below `/twilio/{account_id}/{conversation_id}`, all POST, forms signed with the carrier account's auth
//! token (`genuine.rs`). Without a valid signature, or for a conversation that does not exist, the answer is a
//! 403.
//!
//! - `/status`: a call's progress. Reports come twice, late and in any order; one that says nothing new
//!   changes nothing and is a 200 like the first. Which report means which change is [`reports::change`].
//! - `/amd`: who answered, a person or a machine; asked for only where a filter looks at it.
//! - `/resume`: a stream is over and the call is not; the answer is TwiML, a new stream or the end.
//! - `/stream`: a stream's fate. When one broke and the carrier does not ask how to go on, it is told to.
//!   [`resuming`] decides about both.
//!
//! Below `/twilio/{account_id}`, for calls to the account's numbers, of which the carrier knows no conversation:
//!
//! - `/inbound`: somebody calls; the answer is TwiML, a stream or a rejection. `inbound.rs` decides.
//! - `/status`: the end of such a call.
//!
//! What cannot be stored is a 5xx. The carrier repeats a report only if its connection fails or the
//! callback's URL asks for more, so this counts on later reports: each of them alone is enough to move
//! on from any earlier state. What no report brings to an end is ended at its deadline, elsewhere.

mod config;
mod genuine;
mod inbound;
mod preparing;
pub mod reports;
pub mod resuming;

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::json;
use switchboard_aws::{
    clips::Clips,
    sealing::Sealer,
    store::{Outcome, Store, StoreError},
};
use switchboard_model::{
    accounts::sha256_hex,
    conversations::{Conversation, Snapshot, State as Standing},
    costs::Prices,
    egress_policy::EgressPolicy,
    ids::{AccountId, ConversationId},
    sweep::{Carrier, Case, Verdict},
};
use switchboard_providers::{
    Providers, Secret,
    twilio::{
        CallSid, Calls,
        callbacks::{self, DetectionCallback, IncomingCall, StatusCallback, StreamCallback, parse_form},
        twiml::{self, ConnectStream},
    },
    webhooks::Sender,
};
use switchboard_runtime as system;
use tokio::time::{sleep, timeout};

pub use self::config::Config;
use self::{
    genuine::{Genuine, GenuineOfNumber},
    resuming::Stranded,
};

/// A report has some 30 short parameters.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Below the carrier's patience and the function's own limit, both 15 s.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is left of them after the table.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(4);
/// Looking twice, the wait between, and telling the carrier; below the same limits.
const STREAM_TIMEOUT: Duration = Duration::from_secs(12);

/// What the handlers share.
#[derive(Debug)]
pub struct Callbacks {
    /// Where conversations are.
    pub store: Store,
    /// Opens the customers' secrets.
    pub sealer: Sealer,
    /// The carrier, to be told how a call goes on.
    pub calls: Calls,
    /// Where the first words of calls are kept.
    pub clips: Clips,
    /// The voices that speak them.
    pub providers: Providers,
    /// To the customers' endpoints.
    pub sender: Sender,
    /// Which of them may be named.
    pub egress_policy: EgressPolicy,
    /// How long a conversation is kept, from when it began.
    pub retention: Duration,
    /// The carrier account's, which signs.
    pub auth_token: Secret,
    /// Base of the URLs that the carrier was given and signs.
    pub public_url: String,
    /// The websocket that talks.
    pub media_url: String,
    /// The deployment's own.
    pub prices: Prices,
}

/// The routes, for a server or for Lambda.
pub fn router(callbacks: Callbacks) -> Router {
    Router::new()
        .route("/twilio/{account_id}/{conversation_id}/status", post(status))
        .route("/twilio/{account_id}/{conversation_id}/amd", post(detected))
        .route("/twilio/{account_id}/{conversation_id}/resume", post(resume))
        .route("/twilio/{account_id}/{conversation_id}/stream", post(stream))
        .route("/twilio/{account_id}/inbound", post(call_in))
        .route("/twilio/{account_id}/status", post(call_in_status))
        .fallback(|| async { answer(StatusCode::NOT_FOUND) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(callbacks))
}

async fn status(State(callbacks): State<Arc<Callbacks>>, sent: Genuine) -> Response {
    let report = match StatusCallback::read(&parse_form(&sent.body)) {
        Ok(report) => report,
        Err(error) => return unreadable(&sent, &error),
    };
    callbacks.take(sent.account_id, sent.conversation_id, &report).await
}

async fn detected(State(callbacks): State<Arc<Callbacks>>, sent: Genuine) -> Response {
    match DetectionCallback::read(&parse_form(&sent.body)) {
        Ok(report) => callbacks.note_detection(sent.account_id, sent.conversation_id, &report).await,
        Err(error) => unreadable(&sent, &error),
    }
}

async fn call_in(State(callbacks): State<Arc<Callbacks>>, sent: GenuineOfNumber) -> Response {
    match IncomingCall::read(&parse_form(&sent.body)) {
        Ok(call) => callbacks.answer_call(sent.account_id, sent.number, call).await,
        Err(error) => {
            tracing::warn!(account = %sent.account_id, %error, "a call that cannot be read");
            answer(StatusCode::BAD_REQUEST)
        }
    }
}

async fn call_in_status(State(callbacks): State<Arc<Callbacks>>, sent: GenuineOfNumber) -> Response {
    match StatusCallback::read(&parse_form(&sent.body)) {
        Ok(report) => {
            let id = ConversationId::of_call(sent.account_id, report.call_sid.as_str());
            callbacks.take(sent.account_id, id, &report).await
        }
        Err(error) => {
            tracing::warn!(account = %sent.account_id, %error, "a report that cannot be read: ignored");
            answer(StatusCode::BAD_REQUEST)
        }
    }
}

async fn resume(State(callbacks): State<Arc<Callbacks>>, sent: Genuine) -> Response {
    match callbacks::call_sid(&parse_form(&sent.body)) {
        Ok(call) => callbacks.go_on(sent.account_id, sent.conversation_id, &call).await,
        Err(error) => unreadable(&sent, &error),
    }
}

async fn stream(State(callbacks): State<Arc<Callbacks>>, sent: Genuine) -> Response {
    let report = match StreamCallback::read(&parse_form(&sent.body)) {
        Ok(report) => report,
        Err(error) => return unreadable(&sent, &error),
    };
    let Genuine { account_id, conversation_id, .. } = sent;
    tracing::info!(%conversation_id, event = ?report.event, error_code = report.error_code, "a stream");
    match timeout(STREAM_TIMEOUT, callbacks.rescue(account_id, conversation_id, &report)).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            tracing::error!(%conversation_id, "a broken stream was not seen to in time");
            answer(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

impl Callbacks {
    async fn take(
        &self,
        account_id: AccountId,
        conversation_id: ConversationId,
        report: &StatusCallback,
    ) -> Response {
        let now = system::now();
        let change = |snapshot: &Snapshot| reports::change(snapshot, report, now);
        let status = report.status;
        match in_time(self.store.transition(account_id, conversation_id, change)).await {
            Ok(Outcome::Changed(_)) => {
                tracing::info!(%conversation_id, ?status, "moved");
                StatusCode::OK.into_response()
            }
            Ok(Outcome::Unchanged(snapshot)) if reports::is_unwanted(&snapshot, report) => {
                tracing::warn!(%conversation_id, ?status, "a call of a conversation that is over");
                self.hang_up(&snapshot.conversation, &report.call_sid).await
            }
            Ok(Outcome::Unchanged(_) | Outcome::LostLease) => {
                tracing::info!(%conversation_id, ?status, "nothing new");
                StatusCode::OK.into_response()
            }
            Ok(Outcome::NotFound) => answer(StatusCode::FORBIDDEN),
            Err(code) => {
                tracing::error!(%conversation_id, ?status, "a report was not stored");
                answer(code)
            }
        }
    }

    /// Whoever holds the conversation reads it there.
    async fn note_detection(
        &self,
        account_id: AccountId,
        conversation_id: ConversationId,
        report: &DetectionCallback,
    ) -> Response {
        let DetectionCallback { call_sid, answered_by } = report;
        let change =
            |snapshot: &Snapshot| snapshot.conversation.record_answered_by(call_sid.as_str(), answered_by);
        match in_time(self.store.transition(account_id, conversation_id, change)).await {
            Ok(Outcome::NotFound) => answer(StatusCode::FORBIDDEN),
            Ok(outcome) => {
                let is_new = matches!(outcome, Outcome::Changed(_));
                tracing::info!(%conversation_id, answered_by, is_new, "who answered");
                StatusCode::OK.into_response()
            }
            Err(code) => {
                tracing::error!(%conversation_id, "who answered was not stored");
                answer(code)
            }
        }
    }

    /// The calls of the account at the carrier that a conversation's call goes through; none if it cannot be
    /// reached.
    async fn calls(&self, conversation: &Conversation) -> Option<Calls> {
        let account = in_time(self.store.call_account(&self.sealer, conversation)).await.ok()?;
        self.calls.through(&account)
    }

    async fn hang_up(&self, conversation: &Conversation, call: &CallSid) -> Response {
        let conversation_id = conversation.id;
        let Some(calls) = self.calls(conversation).await else { return answer(StatusCode::BAD_GATEWAY) };
        match timeout(HANG_UP_TIMEOUT, calls.hang_up(call)).await {
            Ok(Ok(())) => StatusCode::OK.into_response(),
            // Whoever answers it is hung up on, since no stream is let in.
            Ok(Err(error)) => {
                tracing::error!(%conversation_id, %error, "not hung up");
                answer(StatusCode::BAD_GATEWAY)
            }
            Err(_elapsed) => {
                tracing::error!(%conversation_id, "not hung up in time");
                answer(StatusCode::BAD_GATEWAY)
            }
        }
    }

    /// Tells the carrier how a call goes on whose stream is over.
    async fn go_on(
        &self,
        account_id: AccountId,
        conversation_id: ConversationId,
        call: &CallSid,
    ) -> Response {
        let token = system::random_hex::<32>();
        let (token_sha256, now) = (sha256_hex(&token), system::now());
        let change = |snapshot: &Snapshot| resuming::resume(snapshot, call, &token_sha256, now);
        match in_time(self.store.transition(account_id, conversation_id, change)).await {
            Ok(Outcome::Changed(snapshot)) if snapshot.conversation.ended().is_none() => {
                tracing::info!(%conversation_id, resumes = snapshot.conversation.resumes, "connected anew");
                xml(self.next_stream(account_id, conversation_id, &token))
            }
            Ok(Outcome::Changed(_) | Outcome::LostLease) => xml(twiml::hangup()),
            Ok(Outcome::Unchanged(snapshot)) => {
                tracing::warn!(%conversation_id, "not connected anew");
                if let Standing::Started { .. } = snapshot.conversation.state {
                    self.give_up(&snapshot).await;
                }
                xml(twiml::hangup())
            }
            Ok(Outcome::NotFound) => answer(StatusCode::FORBIDDEN),
            Err(code) => {
                tracing::error!(%conversation_id, "a call cannot be connected anew");
                answer(code)
            }
        }
    }

    fn next_stream(&self, account_id: AccountId, conversation_id: ConversationId, token: &str) -> String {
        let (account, conversation) = (account_id.to_string(), conversation_id.to_string());
        let base = format!("{}/twilio/{account}/{conversation}", self.public_url);
        twiml::connect_stream(&ConnectStream {
            url: &self.media_url,
            parameters: &[("account_id", &account), ("conversation_id", &conversation), ("token", token)],
            status_callback: &format!("{base}/stream"),
            then: &format!("{base}/resume"),
        })
    }

    /// The call was moved as often as it may be. If nobody holds it any more it is over; if somebody
    /// does, or this fails, its end is written at its deadline.
    async fn give_up(&self, snapshot: &Snapshot) {
        let (account_id, conversation_id) = (snapshot.conversation.account_id, snapshot.conversation.id);
        let ending = async {
            let lease = self.store.lease(account_id, conversation_id).await?;
            let messages = self.store.messages(account_id, conversation_id).await?;
            let case = Case {
                snapshot,
                lease: lease.as_ref(),
                messages: &messages,
                // It is about to be hung up, by the answer.
                carrier: Some(&Carrier::Unknown),
                prices: &self.prices,
            };
            match case.verdict(system::now()) {
                Verdict::End { change, .. } => self.store.commit(&snapshot.conversation, &change).await,
                Verdict::Nothing | Verdict::Wait(_) | Verdict::Ask => Ok(()),
            }
        };
        if in_time(ending).await.is_err() {
            tracing::warn!(%conversation_id, "its end was not written: left to its deadline");
        }
    }

    /// Has the carrier ask how a call goes on whose stream broke, unless it does so by itself.
    async fn rescue(
        &self,
        account_id: AccountId,
        conversation_id: ConversationId,
        report: &StreamCallback,
    ) -> Response {
        let look = async || {
            let Some(snapshot) = self.store.conversation(account_id, conversation_id).await? else {
                return Ok(Err(StatusCode::FORBIDDEN));
            };
            let lease = self.store.lease(account_id, conversation_id).await?;
            let stranded = Stranded::find(&snapshot, lease.as_ref(), report);
            Ok::<_, StoreError>(Ok(stranded.map(|stranded| (stranded, snapshot.conversation))))
        };
        let first = match in_time(look()).await {
            Ok(Ok(Some((first, _)))) => first,
            Ok(Ok(None)) => return StatusCode::OK.into_response(),
            Ok(Err(code)) | Err(code) => return answer(code),
        };
        sleep(first.patience()).await;
        let conversation = match in_time(look()).await {
            Ok(Ok(Some((second, conversation)))) if second == first => conversation,
            Ok(_) => return StatusCode::OK.into_response(),
            Err(code) => return answer(code),
        };
        let Some(calls) = self.calls(&conversation).await else { return answer(StatusCode::BAD_GATEWAY) };
        let url = format!("{}/twilio/{account_id}/{conversation_id}/resume", self.public_url);
        match calls.redirect(&report.call_sid, &url).await {
            Ok(redirected) => {
                tracing::warn!(%conversation_id, redirected, "a call without a stream");
                StatusCode::OK.into_response()
            }
            // Its lease runs out, and it is hung up.
            Err(error) => {
                tracing::error!(%conversation_id, %error, "a call without a stream was not sent on");
                answer(StatusCode::BAD_GATEWAY)
            }
        }
    }
}

/// What a failure of the table is to the carrier; one that takes too long is one too.
async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StatusCode> {
    match timeout(STORE_TIMEOUT, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_elapsed) => {
            tracing::error!("the table did not answer in time");
            Err(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

fn failure(error: &StoreError) -> StatusCode {
    tracing::error!(%error, "the table");
    match error {
        StoreError::Conflict | StoreError::Throttled(_) | StoreError::Unavailable(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn unreadable(sent: &Genuine, error: &callbacks::NotAStatus) -> Response {
    tracing::warn!(conversation_id = %sent.conversation_id, %error, "a report that cannot be read: ignored");
    answer(StatusCode::BAD_REQUEST)
}

fn xml(document: String) -> Response {
    ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], document).into_response()
}

fn answer(status: StatusCode) -> Response {
    (status, Json(json!({ "detail": status.canonical_reason() }))).into_response()
}
