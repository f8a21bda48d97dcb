//! The end of a call for this worker: what is left is stored, and the carrier is told.

use std::time::Duration;

use anyhow::Context as _;
use switchboard_aws::store::StoreError;
use switchboard_model::{
    conversations::{EndedReason, Speaking},
    costs::Usage,
    phone_numbers::CallAccount,
    time::Timestamp,
};
use switchboard_providers::twilio::CallSid;
use tokio::time::timeout;

use crate::{
    Worker,
    address::Address,
    call::Over,
    carrier::Carrier,
    hearing::Ears,
    holding::Hold,
    journal::{End, Journal, Last},
    keeper::{Keeper, Kept},
    turns::Turns,
};

/// How long the carrier may take to hang up.
const HANG_UP: Duration = Duration::from_secs(5);
/// How long the last pieces of the recording may hold up the conversation's end.
const LAST_PIECES: Duration = Duration::from_secs(10);
/// How long joining the recording may take; whoever asks for it later joins it otherwise.
const JOIN: Duration = Duration::from_mins(1);

/// What a call leaves behind.
pub(crate) struct Finished {
    pub(crate) over: Over,
    pub(crate) at: Timestamp,
    pub(crate) carrier: Carrier,
    pub(crate) ears: Ears,
    /// Audio the transcriber has counted itself so far.
    pub(crate) counted: Duration,
    pub(crate) hold: Hold,
    pub(crate) journal: Journal,
    /// Whether the call was recorded.
    pub(crate) recording: bool,
    /// What is still to be kept.
    pub(crate) kept: (Vec<Kept>, Keeper),
    /// All that was used, but for what the transcriber heard in this worker.
    pub(crate) usage: Usage,
    /// What the log does not say yet.
    pub(crate) notes: Vec<String>,
    pub(crate) turns: Turns,
}

/// Closes a call.
///
/// The order matters. The conversation's end is written before the socket closes, since the carrier
/// then asks how the call goes on; and after the last piece of the recording is stored, since from then
/// on anybody may join it.
pub(crate) async fn close(worker: &Worker, address: Address, call: &CallSid, finished: Finished) {
    let Finished { over, at, carrier, ears, counted, hold, journal, recording, kept, .. } = finished;
    let Finished { mut usage, mut notes, turns, .. } = finished;
    turns.publish(address.conversation, at);
    if let Over::Lost = over {
        // Silence: another worker has the call, and nothing more is written in this one's name.
        return carrier.close().await;
    }
    let hang_up = async {
        if matches!(over, Over::Ended(EndedReason::AgentEnded | EndedReason::Unknown)) {
            self::hang_up(worker, address, call).await;
        }
    };
    let pieces = async {
        let (left, keeper) = kept;
        if timeout(LAST_PIECES, keeper.finish(left)).await.is_err() {
            tracing::warn!(conversation = %address.conversation, "the end of the recording was not stored");
        }
    };
    let ((), heard, ()) = tokio::join!(hang_up, ears.finish(counted), pieces);
    usage.transcriber_ms += heard;
    match over {
        Over::Ended(reason) => {
            notes.extend(turns.note());
            journal.finish(Last { usage, end: Some(End { reason, at, notes }) }).await;
            carrier.close().await;
            if recording {
                join(worker, address).await;
            }
        }
        Over::Handed(unsaid) => {
            journal.finish(Last { usage, end: None }).await;
            let unsaid = unsaid.map(|unheard| Speaking { heard: String::new(), unheard, started_at: at });
            hold.release(unsaid).await;
            carrier.close().await;
        }
        Over::Lost => {}
    }
}

/// Ends the carrier's call. Where that fails, closing the stream does: the carrier asks how the call
/// goes on, and is told that it does not.
pub(crate) async fn hang_up(worker: &Worker, address: Address, call: &CallSid) {
    match timeout(HANG_UP, try_to_hang_up(worker, address, call)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the carrier did not hang up"),
        Err(_) => tracing::warn!("the carrier took too long to hang up"),
    }
}

async fn try_to_hang_up(worker: &Worker, address: Address, call: &CallSid) -> anyhow::Result<()> {
    let found = worker.store.conversation(address.account, address.conversation).await?;
    let account = match &found {
        Some(snapshot) => worker.store.call_account(&worker.sealer, &snapshot.conversation).await?,
        None => CallAccount::Deployments,
    };
    let calls = worker.calls.through(&account);
    Ok(calls.context("its number was released")?.hang_up(call).await?)
}

async fn join(worker: &Worker, address: Address) {
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
async fn join_if_kept(worker: &Worker, Address { account, conversation }: Address) -> Result<(), StoreError> {
    worker.recordings.join(account, conversation).await?;
    if worker.store.conversation(account, conversation).await?.is_none() {
        worker.recordings.remove(account, conversation).await?;
    }
    Ok(())
}
