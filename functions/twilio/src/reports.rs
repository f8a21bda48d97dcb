//! What a report of the carrier means for a conversation.

use std::time::Duration;

use domain::{
    conversations::{EndedReason, NotPossible, RejectReason, Snapshot, State, Transition},
    costs::Prices,
    time::Timestamp,
};
use vendors::twilio::{CallStatus, callbacks::StatusCallback};

/// The change that `report` asks for; not possible if it says nothing new.
pub fn change(
    snapshot: &Snapshot,
    report: &StatusCallback,
    now: Timestamp,
) -> Result<Transition, NotPossible> {
    let Snapshot { conversation, agent } = snapshot;
    let call = report.call_sid.as_str();
    // A conversation is one call; what another one does is not its concern.
    if conversation.carrier_call_id.as_deref().is_some_and(|known| known != call) {
        return Err(NotPossible);
    }
    let rejected = |reason| conversation.rejected(agent, reason, &Prices::default(), now);
    match report.status {
        CallStatus::Queued | CallStatus::Initiated => conversation.placed(call),
        CallStatus::Ringing => conversation.ringing(call),
        CallStatus::InProgress => conversation.answered(agent, call, now),
        CallStatus::Busy => rejected(RejectReason::Busy),
        CallStatus::NoAnswer => rejected(RejectReason::NoAnswer),
        CallStatus::Failed => rejected(RejectReason::Failed),
        CallStatus::Canceled => rejected(RejectReason::Canceled),
        CallStatus::Completed => completed(snapshot, report, now),
        CallStatus::Unknown => Err(NotPossible),
    }
}

/// The call is over. While a worker holds it, only that worker has its last words: it is told.
fn completed(
    snapshot: &Snapshot,
    report: &StatusCallback,
    now: Timestamp,
) -> Result<Transition, NotPossible> {
    let Snapshot { conversation, agent } = snapshot;
    let seconds = report.duration.map(|duration| duration.as_secs());
    match conversation.state {
        State::Started { .. } => conversation.carrier_ended(seconds, now),
        State::Answered { .. } => hung_up(snapshot, now),
        // The report of the answer is lost or still to come, but there was one: somebody talked.
        State::Dialing | State::Ringing if seconds.is_some_and(|seconds| seconds > 0) => {
            let answered_at = before(now, report.duration.unwrap_or_default());
            let answered = conversation.answered(agent, report.call_sid.as_str(), answered_at)?;
            let between = Snapshot { conversation: answered.conversation.clone(), agent: agent.clone() };
            Ok(together(answered, hung_up(&between, now)?))
        }
        State::Queued | State::Dialing | State::Ringing => {
            conversation.rejected(agent, RejectReason::Failed, &Prices::default(), now)
        }
        State::Ended { .. } => Err(NotPossible),
    }
}

/// Answered, but over before media flowed: nothing was used that a price of ours could be for.
fn hung_up(snapshot: &Snapshot, now: Timestamp) -> Result<Transition, NotPossible> {
    let Snapshot { conversation, agent } = snapshot;
    conversation.end(agent, EndedReason::UserEnded, &[], &conversation.usage, &Prices::default(), now)
}

/// Two changes as one write.
fn together(first: Transition, second: Transition) -> Transition {
    let events = first.events.into_iter().chain(second.events).collect();
    let messages = first.messages.into_iter().chain(second.messages).collect();
    Transition { conversation: second.conversation, events, messages }
}

fn before(now: Timestamp, duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}
