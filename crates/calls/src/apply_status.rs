//! Applies a call status that the carrier reported.
//!
//! Reports arrive late, twice and in any order. Each report alone is enough to move on from any earlier state, and a
//! report that says nothing new changes nothing.

use std::time::Duration;

use switchboard_aws::table::{Outcome, TableError};
use switchboard_model::{
    conversations::{
        EndedReason, InvalidTransition, Leg, LegState, RejectReason, Snapshot, State, Transition,
    },
    costs::Prices,
    ids::{AccountId, ConversationId},
    sweep::end_answered,
    time::Timestamp,
};
use switchboard_providers::carrier::{callbacks::StatusReport, calls::CallStatus};
use switchboard_runtime::now;

use crate::{Backend, HangUpError, hang_up};

/// Maximum time for ending a call that must not go on.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(4);

/// The result of a status report.
#[derive(Debug)]
pub enum StatusOutcome {
    /// The conversation changed.
    Applied,
    /// The report said nothing new.
    Ignored,
    /// The conversation had ended while its call went on: the call was ended now.
    HungUp,
    /// The conversation had ended while its call goes on, and the call could not be ended.
    NotHungUp(HangUpError),
    /// There is no such conversation.
    NotFound,
}

/// Applies `report` to the conversation. A call that goes on after its conversation ended is hung up.
///
/// # Errors
/// The table cannot be read or written.
pub async fn apply_status(
    backend: &Backend,
    account: AccountId,
    id: ConversationId,
    report: &StatusReport,
) -> Result<StatusOutcome, TableError> {
    let (now, status) = (now(), report.status);
    let transition = |snapshot: &Snapshot| status_transition(snapshot, report, now);
    match backend.table.transition(account, id, transition).await? {
        Outcome::Changed(_) => {
            tracing::info!(?status, "call status applied");
            Ok(StatusOutcome::Applied)
        }
        Outcome::Unchanged(snapshot) if is_unwanted(&snapshot, report) => {
            tracing::warn!(?status, "call of an ended conversation reported");
            let conversation = &snapshot.conversation;
            match hang_up(backend, conversation, &report.call, HANG_UP_TIMEOUT).await {
                Ok(()) => Ok(StatusOutcome::HungUp),
                // A person who answers hears nothing: no stream is admitted for an ended conversation.
                Err(error) => {
                    tracing::error!(%error, "call not hung up");
                    Ok(StatusOutcome::NotHungUp(error))
                }
            }
        }
        Outcome::Unchanged(_) | Outcome::LostLease => {
            tracing::info!(?status, "call status ignored");
            Ok(StatusOutcome::Ignored)
        }
        Outcome::NotFound => Ok(StatusOutcome::NotFound),
    }
}

/// The transition that `report` asks for.
///
/// # Errors
/// The report says nothing new, or is about another call.
pub fn status_transition(
    snapshot: &Snapshot,
    report: &StatusReport,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    let Snapshot { conversation, agent } = snapshot;
    let (call, leg) = (&report.call, conversation.legs.of_call(&report.call).ok_or(InvalidTransition)?);
    let reject = |reason| conversation.reject(leg.id, agent, reason, &Prices::default(), now);
    match report.status {
        CallStatus::Queued | CallStatus::Initiated => conversation.record_placed(leg.id, call),
        CallStatus::Ringing => conversation.mark_ringing(leg.id, call, now),
        CallStatus::InProgress => conversation.mark_answered(leg.id, agent, call, now),
        CallStatus::Busy => reject(RejectReason::Busy),
        CallStatus::NoAnswer => reject(RejectReason::NoAnswer),
        CallStatus::Failed => reject(RejectReason::Failed),
        CallStatus::Canceled => reject(RejectReason::Canceled),
        CallStatus::Completed => complete(snapshot, leg, report, now),
        CallStatus::Unknown => Err(InvalidTransition),
    }
}

/// Whether the call must not go on: its conversation was ended before the id of the call was known, so that the call
/// could not be hung up then.
fn is_unwanted(snapshot: &Snapshot, report: &StatusReport) -> bool {
    let goes_on = matches!(
        report.status,
        CallStatus::Queued | CallStatus::Initiated | CallStatus::Ringing | CallStatus::InProgress
    );
    let conversation = &snapshot.conversation;
    conversation.ended().is_some() && goes_on && conversation.legs.of_call(&report.call).is_some()
}

/// The call of a leg has ended. If a worker holds the conversation, it is signalled: it alone has the last words.
fn complete(
    snapshot: &Snapshot,
    leg: &Leg,
    report: &StatusReport,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    let Snapshot { conversation, agent } = snapshot;
    let end =
        |answered_at| end_answered(snapshot, leg.id, &report.call, answered_at, EndedReason::UserEnded, now);
    match (&conversation.state, leg.state) {
        (State::Started { .. }, _) => {
            let seconds = report.duration.map(|duration| duration.as_secs());
            conversation.record_carrier_end(leg.id, seconds, now)
        }
        (_, LegState::Answered { answered_at }) => end(answered_at),
        // A duration proves that the call was answered, though the report of that was lost or is still to come.
        (_, LegState::Dialing { .. } | LegState::Ringing { .. })
            if report.duration.is_some_and(|talked| !talked.is_zero()) =>
        {
            end(before(now, report.duration.unwrap_or_default()))
        }
        (_, LegState::Waiting | LegState::Dialing { .. } | LegState::Ringing { .. }) => {
            conversation.reject(leg.id, agent, RejectReason::Failed, &Prices::default(), now)
        }
        (_, LegState::Ended { .. }) => Err(InvalidTransition),
    }
}

fn before(now: Timestamp, duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}
