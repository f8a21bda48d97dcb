//! Teardown: ends a call for this worker, from the end of its loop to the end of its stream.

use std::time::Duration;

use serde_json::json;
use switchboard_aws::table::{Outcome, TableError};
use switchboard_calls::HangUpError;
use switchboard_model::{
    conversations::{Conversation, EndedReason, Snapshot, UtteranceProgress},
    event_names::EventName,
    messages::MessageKind,
};
use switchboard_providers::carrier::CarrierCallId;
use tokio::time::timeout;

use crate::{
    call::{CallOutcome, FinishedCall},
    conversation_key::ConversationKey,
    journal::{ConversationEnd, LastEntry},
    media_stream::Closing,
    provider_faults::fault,
    stored_text::{self, MAX_UNHEARD_BYTES},
    uploader::{Upload, Uploader},
    worker::Worker,
};

/// Maximum time for the carrier to hang up.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time by which the last uploads delay the end of the conversation.
const LAST_UPLOADS_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time to join the recording. After it the first request for the recording joins it.
const JOIN_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum time to read how a conversation stands whose lease is gone.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time to delete the recording of a deleted conversation.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Stores the rest of a call, hangs up if it is over, and closes its stream.
///
/// The order matters. The end of the conversation is written before the socket closes, because the carrier then asks
/// how the call continues; and after the last piece of the recording is stored, because from then on any request for
/// the recording joins it.
pub(crate) async fn close(
    worker: &Worker,
    conversation: &Conversation,
    call: Option<&CarrierCallId>,
    finished: FinishedCall,
) {
    let key = ConversationKey::of(conversation);
    let FinishedCall { outcome, at, mut stream, transcriber, counted, lease, journal, is_recorded, .. } =
        finished;
    let FinishedCall {
        uploads: (last_uploads, uploader),
        mut usage,
        mut faults,
        response_times,
        transcribes,
        quality,
        ..
    } = finished;
    response_times.publish(key, call, at);
    if let CallOutcome::LeaseLost | CallOutcome::EndedElsewhere = outcome {
        // This worker writes the conversation no more: it stores its audio only, which is in no other place. If the
        // recording was made meanwhile, the audio is dropped. The carrier's call goes on.
        let close = async {
            let is_over = outcome == CallOutcome::EndedElsewhere || is_over(worker, key).await;
            stream.close(if is_over { Closing::Ended } else { Closing::Replaced }).await;
        };
        tokio::join!(close, finish_uploads(uploader, last_uploads));
        return remove_if_deleted(worker, key).await;
    }
    let hang_up = async {
        if matches!(outcome, CallOutcome::Ended(EndedReason::AgentEnded | EndedReason::Unknown)) {
            self::hang_up(worker, conversation, call).await;
        }
    };
    let pieces = uploader.pieces();
    let upload = finish_uploads(uploader, last_uploads);
    let ((), (transcriber_ms, is_estimated), ()) = tokio::join!(hang_up, transcriber.finish(counted), upload);
    let transcribed = usage.of(transcribes.as_ref());
    transcribed.transcriber_ms += transcriber_ms;
    transcribed.transcriber_estimated |= is_estimated;
    match outcome {
        CallOutcome::Ended(reason) => {
            faults.extend(pieces.fault());
            faults.extend(response_times.note());
            faults.extend(usage.estimates());
            journal
                .finish(LastEntry { usage, end: Some(ConversationEnd { reason, at, faults, quality }) })
                .await;
            stream.send_event(EventName::Ended, || json!({ "ended_reason": reason }));
            stream.close(Closing::Ended).await;
            if is_recorded {
                join_recording(worker, key).await;
            }
        }
        CallOutcome::HandedOver(unspoken) => {
            journal.finish(LastEntry { usage, end: None }).await;
            let unspoken = unspoken.map(|mut unheard| {
                stored_text::cut(&mut unheard, MAX_UNHEARD_BYTES);
                let (heard, kind) = (String::new(), MessageKind::Speech);
                UtteranceProgress { heard, unheard, started_at: at, kind }
            });
            lease.release(unspoken).await;
            stream.close(Closing::HandedOver).await;
        }
        CallOutcome::LeaseLost | CallOutcome::EndedElsewhere => {}
    }
}

/// Ends a conversation whose call panicked or could not begin. The call's state is lost, its stored part is not.
pub(crate) async fn abandon(
    worker: &Worker,
    conversation: &Conversation,
    call: Option<&CarrierCallId>,
    holder: &str,
) {
    hang_up(worker, conversation, call).await;
    let key = ConversationKey::of(conversation);
    let ended = worker.table.transition_as(holder, key.account, key.conversation, |snapshot| {
        let Snapshot { conversation, agent } = snapshot;
        let (usage, now) = (&conversation.usage, (worker.clock)());
        conversation.end(agent, EndedReason::Unknown, &[], usage, &worker.prices, now)
    });
    // If it is not written the lease expires, and the sweeper ends the conversation.
    match ended.await {
        Ok(Outcome::Changed(_)) => {}
        Ok(_) => tracing::error!("conversation not ended: its lease was lost"),
        Err(error) => tracing::error!(%error, "conversation not ended"),
    }
}

/// Ends the carrier's call, if there is one. If that fails, closing the stream ends it: the carrier then asks how the
/// call continues, and the response is to hang up.
async fn hang_up(worker: &Worker, conversation: &Conversation, call: Option<&CarrierCallId>) {
    let Some(call) = call else { return };
    if let Err(error) = worker.carrier.hang_up(conversation, call, HANG_UP_TIMEOUT).await {
        // The carrier's own text may name the number.
        let error = match &error {
            HangUpError::Carrier(error) => fault(error),
            error => error.to_string(),
        };
        tracing::warn!(error, "hang-up failed");
    }
}

/// Whether a conversation has ended, or was deleted since; false also if the table does not tell in time.
async fn is_over(worker: &Worker, key: ConversationKey) -> bool {
    match timeout(READ_TIMEOUT, worker.table.conversation(key.account, key.conversation)).await {
        Ok(Ok(found)) => found.is_none_or(|found| found.conversation.ended().is_some()),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Makes the last uploads.
async fn finish_uploads(uploader: Uploader, last: Vec<Upload>) {
    if timeout(LAST_UPLOADS_TIMEOUT, uploader.finish(last)).await.is_err() {
        tracing::warn!("last uploads timed out");
    }
}

async fn join_recording(worker: &Worker, key: ConversationKey) {
    match timeout(JOIN_TIMEOUT, join_or_remove(worker, key)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "recording not joined"),
        Err(_) => tracing::warn!("joining the recording timed out"),
    }
}

/// Deletes the recording of a conversation that has ended without this worker and was deleted meanwhile.
async fn remove_if_deleted(worker: &Worker, key: ConversationKey) {
    match timeout(REMOVE_TIMEOUT, remove_deleted(worker, key)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "recording of a deleted conversation not looked for"),
        Err(_) => tracing::warn!("looking for the recording of a deleted conversation timed out"),
    }
}

/// Joins the recording. If the conversation was deleted meanwhile, the recording is deleted as well.
async fn join_or_remove(worker: &Worker, key: ConversationKey) -> Result<(), TableError> {
    worker.recordings.join(key.account, key.conversation).await?;
    remove_deleted(worker, key).await
}

async fn remove_deleted(worker: &Worker, key: ConversationKey) -> Result<(), TableError> {
    let ConversationKey { account, conversation } = key;
    if worker.table.conversation(account, conversation).await?.is_none() {
        worker.recordings.remove(account, conversation).await?;
    }
    Ok(())
}
