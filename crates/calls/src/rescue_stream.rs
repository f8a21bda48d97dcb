//! Redirects a live call whose media stream broke, if the carrier does not ask by itself how the call goes on.

use std::time::Duration;

use switchboard_aws::table::TableError;
use switchboard_model::{
    conversations::{Conversation, Lease, Snapshot, State},
    ids::{AccountId, ConversationId},
    time::Timestamp,
};
use switchboard_providers::carrier::{
    Carrier as _,
    callbacks::{StreamEvent, StreamReport},
};
use switchboard_runtime::now;
use tokio::time::sleep;

use crate::{Backend, CallbackUrls};

/// Grace period after a stream broke, in which the carrier may ask by itself how the call goes on. The call is silent
/// meanwhile. A redirect while the carrier asks would cut off the stream that the response connects.
const ASK_GRACE: Duration = Duration::from_millis(500);
/// Grace period in which the carrier may connect the stream that it was told to connect.
const CONNECT_GRACE: Duration = Duration::from_secs(2);

/// The result of a report about a media stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RescueOutcome {
    /// The call has ended or has another stream.
    NotNeeded,
    /// The carrier was told to ask how the call goes on.
    Redirected,
    /// There is no such conversation.
    NotFound,
}

/// A stranded call was not redirected. Its lease expires, and the sweeper hangs it up.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// The conversation cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The carrier account of the call cannot be read.
    #[error("the carrier account of the call was not read")]
    CarrierAccount(#[source] TableError),
    /// The phone number of the call was released, so its account at the carrier is no longer known.
    #[error("the phone number of the call was released")]
    NumberReleased,
    /// The carrier refused or did not respond.
    #[error("the carrier did not redirect the call")]
    Carrier(#[from] switchboard_providers::Error),
}

/// Acts on a report about a stream. It waits up to two seconds before it redirects a call.
///
/// # Errors
/// The call is stranded and was not redirected.
pub async fn rescue_stream(
    backend: &Backend,
    urls: &CallbackUrls,
    account: AccountId,
    id: ConversationId,
    report: &StreamReport,
) -> Result<RescueOutcome, RescueError> {
    let Some((_, first)) = find_stranded(backend, account, id, report).await? else {
        return Ok(RescueOutcome::NotFound);
    };
    let Some(first) = first else { return Ok(RescueOutcome::NotNeeded) };
    sleep(first.grace_period()).await;
    let conversation = match find_stranded(backend, account, id, report).await? {
        Some((conversation, Some(second))) if second == first => conversation,
        Some(_) | None => return Ok(RescueOutcome::NotNeeded),
    };
    let leg = conversation.legs.of_call(&report.call).unwrap_or(conversation.legs.caller());
    let carrier = backend.carrier_of(account, leg).await.map_err(RescueError::CarrierAccount)?;
    let carrier = carrier.ok_or(RescueError::NumberReleased)?;
    let was_live = carrier.redirect(&report.call, &urls.conversation(account, id).resume).await?;
    tracing::warn!(was_live, "stranded call redirected");
    Ok(RescueOutcome::Redirected)
}

async fn find_stranded(
    backend: &Backend,
    account: AccountId,
    id: ConversationId,
    report: &StreamReport,
) -> Result<Option<(Conversation, Option<StrandedCall>)>, TableError> {
    let Some(snapshot) = backend.table.conversation(account, id).await? else { return Ok(None) };
    let lease = backend.table.lease(account, id).await?;
    let stranded = StrandedCall::find(&snapshot, lease.as_ref(), report, now());
    Ok(Some((snapshot.conversation, stranded)))
}

/// A live call whose stream broke. If it is still the same after its grace period, no new stream was connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrandedCall {
    resumes: u32,
    token_sha256: Option<String>,
    holder: Option<String>,
}

impl StrandedCall {
    /// `None` if the call has ended, its stream did not break, or a later stream has replaced it. A stream that was
    /// merely closed needs no rescue: the carrier goes on with the next instruction of its document. Nor does one whose
    /// next stream the carrier connects after a pause.
    #[must_use]
    pub fn find(
        snapshot: &Snapshot,
        lease: Option<&Lease>,
        report: &StreamReport,
        now: Timestamp,
    ) -> Option<Self> {
        let conversation = &snapshot.conversation;
        let leg = conversation.legs.of_call(&report.call)?;
        let is_live = matches!(conversation.state, State::Started { .. }) && leg.reported_end.is_none();
        if report.event != StreamEvent::Error || !is_live {
            return None;
        }
        if leg.reconnect.is_some_and(|again| again.at > now) {
            return None;
        }
        // Unless a token is waiting to be used, the call's stream is the one that was admitted last.
        let streams = lease.and_then(|lease| lease.stream.as_ref()).zip(report.stream_id.as_ref());
        if leg.media_token_sha256.is_none() && streams.is_some_and(|(held, broken)| held != broken) {
            return None;
        }
        Some(Self {
            resumes: leg.resumes,
            token_sha256: leg.media_token_sha256.clone(),
            holder: lease.map(|lease| lease.holder.clone()),
        })
    }

    /// Time before it is read again.
    #[must_use]
    pub fn grace_period(&self) -> Duration {
        if self.token_sha256.is_some() { CONNECT_GRACE } else { ASK_GRACE }
    }
}
