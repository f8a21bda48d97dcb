//! What a report of the carrier means for a conversation.

use std::time::Duration;

use switchboard_model::{
    conversations::{EndedReason, InvalidTransition, RejectReason, Snapshot, State, Transition},
    costs::Prices,
    sweep::end_answered,
    time::Timestamp,
};
use switchboard_providers::twilio::{CallStatus, callbacks::StatusCallback};

/// The change that `report` asks for; not possible if it says nothing new.
pub fn change(
    snapshot: &Snapshot,
    report: &StatusCallback,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    let Snapshot { conversation, agent } = snapshot;
    let call = report.call_sid.as_str();
    // A conversation is one call; what another one does is not its concern.
    if conversation.carrier_call_id.as_deref().is_some_and(|known| known != call) {
        return Err(InvalidTransition);
    }
    let rejected = |reason| conversation.reject(agent, reason, &Prices::default(), now);
    match report.status {
        CallStatus::Queued | CallStatus::Initiated => conversation.record_placed(call),
        CallStatus::Ringing => conversation.mark_ringing(call),
        CallStatus::InProgress => conversation.mark_answered(agent, call, now),
        CallStatus::Busy => rejected(RejectReason::Busy),
        CallStatus::NoAnswer => rejected(RejectReason::NoAnswer),
        CallStatus::Failed => rejected(RejectReason::Failed),
        CallStatus::Canceled => rejected(RejectReason::Canceled),
        CallStatus::Completed => completed(snapshot, report, now),
        CallStatus::Unknown => Err(InvalidTransition),
    }
}

/// Whether a call goes on that nobody wants any more: its conversation was ended while its id was not
/// known, so that it could not be hung up.
#[must_use]
pub fn is_unwanted(snapshot: &Snapshot, report: &StatusCallback) -> bool {
    let conversation = &snapshot.conversation;
    let goes_on = matches!(
        report.status,
        CallStatus::Queued | CallStatus::Initiated | CallStatus::Ringing | CallStatus::InProgress
    );
    let is_another =
        conversation.carrier_call_id.as_ref().is_some_and(|known| known != report.call_sid.as_str());
    conversation.ended().is_some() && goes_on && !is_another
}

/// The call is over. While a worker holds it, only that worker has its last words: it is told.
fn completed(
    snapshot: &Snapshot,
    report: &StatusCallback,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    let Snapshot { conversation, agent } = snapshot;
    let call = report.call_sid.as_str();
    let hung_up = |answered_at| end_answered(snapshot, call, answered_at, EndedReason::UserEnded, now);
    match conversation.state {
        State::Started { .. } => {
            conversation.record_carrier_end(report.duration.map(|duration| duration.as_secs()), now)
        }
        State::Answered { answered_at } => hung_up(answered_at),
        // The report of the answer is lost or still to come, but there was one: somebody talked.
        State::Dialing { .. } | State::Ringing { .. }
            if report.duration.is_some_and(|talked| !talked.is_zero()) =>
        {
            hung_up(before(now, report.duration.unwrap_or_default()))
        }
        State::Queued | State::Dialing { .. } | State::Ringing { .. } => {
            conversation.reject(agent, RejectReason::Failed, &Prices::default(), now)
        }
        State::Ended { .. } => Err(InvalidTransition),
    }
}

fn before(now: Timestamp, duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}
