//! The end of a call for this worker: what is left is stored, and the carrier is told.

use std::time::Duration;

use anyhow::Context as _;
use switchboard_aws::store::{Outcome, StoreError};
use switchboard_model::{
    conversations::{EndedReason, Snapshot, UtteranceProgress},
    phone_numbers::CallAccount,
};
use switchboard_providers::twilio::CallSid;
use switchboard_runtime as system;
use tokio::time::timeout;

use crate::{
    call::{CallOutcome, FinishedCall},
    conversation_key::ConversationKey,
    journal::{End, Last},
    worker::Worker,
};

/// How long the carrier may take to hang up.
const HANG_UP: Duration = Duration::from_secs(5);
/// How long the last pieces of the recording may hold up the conversation's end.
const LAST_PIECES: Duration = Duration::from_secs(10);
/// How long joining the recording may take; whoever asks for it later joins it otherwise.
const JOIN: Duration = Duration::from_mins(1);

/// Closes a call.
///
/// The order matters. The conversation's end is written before the socket closes, since the carrier
/// then asks how the call goes on; and after the last piece of the recording is stored, since from then
/// on anybody may join it.
pub(crate) async fn close(worker: &Worker, address: ConversationKey, call: &CallSid, finished: FinishedCall) {
    let FinishedCall { over, at, carrier, transcriber, counted, lease, journal, recording, kept, .. } =
        finished;
    let FinishedCall { mut usage, mut notes, response_times, .. } = finished;
    response_times.publish(address.conversation, at);
    if let CallOutcome::LeaseLost = over {
        // Silence: another worker has the call, and nothing more is written in this one's name.
        return carrier.close().await;
    }
    let hang_up = async {
        if matches!(over, CallOutcome::Ended(EndedReason::AgentEnded | EndedReason::Unknown)) {
            self::hang_up(worker, address, call).await;
        }
    };
    let pieces = async {
        let (left, uploader) = kept;
        if timeout(LAST_PIECES, uploader.finish(left)).await.is_err() {
            tracing::warn!(conversation = %address.conversation, "the end of the recording was not stored");
        }
    };
    let ((), heard, ()) = tokio::join!(hang_up, transcriber.finish(counted), pieces);
    usage.transcriber_ms += heard;
    match over {
        CallOutcome::Ended(reason) => {
            notes.extend(response_times.note());
            journal.finish(Last { usage, end: Some(End { reason, at, notes }) }).await;
            carrier.close().await;
            if recording {
                join(worker, address).await;
            }
        }
        CallOutcome::HandedOver(unsaid) => {
            journal.finish(Last { usage, end: None }).await;
            let unsaid =
                unsaid.map(|unheard| UtteranceProgress { heard: String::new(), unheard, started_at: at });
            lease.release(unsaid).await;
            carrier.close().await;
        }
        CallOutcome::LeaseLost => {}
    }
}

/// Ends the carrier's call. Where that fails, closing the stream does: the carrier asks how the call
/// goes on, and is told that it does not.
pub(crate) async fn hang_up(worker: &Worker, address: ConversationKey, call: &CallSid) {
    match timeout(HANG_UP, try_to_hang_up(worker, address, call)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the carrier did not hang up"),
        Err(_) => tracing::warn!("the carrier took too long to hang up"),
    }
}

async fn try_to_hang_up(worker: &Worker, address: ConversationKey, call: &CallSid) -> anyhow::Result<()> {
    let found = worker.store.conversation(address.account, address.conversation).await?;
    let account = match &found {
        Some(snapshot) => worker.store.call_account(&worker.sealer, &snapshot.conversation).await?,
        None => CallAccount::Deployments,
    };
    let calls = worker.calls.through(&account);
    Ok(calls.context("its number was released")?.hang_up(call).await?)
}

async fn join(worker: &Worker, address: ConversationKey) {
    match timeout(JOIN, join_if_kept(worker, address)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(conversation = %address.conversation, %error, "the recording is not joined yet");
        }
        Err(_) => {
            tracing::warn!(conversation = %address.conversation, "joining the recording takes too long");
        }
    }
}

/// Joins the recording; of a conversation that was deleted meanwhile nothing stays.
async fn join_if_kept(
    worker: &Worker,
    ConversationKey { account, conversation }: ConversationKey,
) -> Result<(), StoreError> {
    worker.recordings.join(account, conversation).await?;
    if worker.store.conversation(account, conversation).await?.is_none() {
        worker.recordings.remove(account, conversation).await?;
    }
    Ok(())
}

/// Ends a conversation whose call panicked, or could not begin. What the call knew is lost; what it had
/// stored is not.
pub(crate) async fn abandon(worker: &Worker, address: ConversationKey, call: &CallSid, holder: &str) {
    hang_up(worker, address, call).await;
    let ended = worker.store.transition_as(holder, address.account, address.conversation, |snapshot| {
        let Snapshot { conversation, agent } = snapshot;
        let (usage, now) = (&conversation.usage, system::now());
        conversation.end(agent, EndedReason::Unknown, &[], usage, &worker.prices, now)
    });
    // Where it is not written the lease runs out, and the sweeper ends the conversation.
    match ended.await {
        Ok(Outcome::Changed(_)) => {}
        Ok(_) => {
            tracing::error!(conversation = %address.conversation, "the conversation is no longer ours to end");
        }
        Err(error) => {
            tracing::error!(conversation = %address.conversation, %error, "the end was not written");
        }
    }
}
