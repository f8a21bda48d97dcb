//! Ends a conversation on request, in whatever state it is.
//!
//! A conversation that has not started is ended at once. One that a worker holds is ended by that worker, which alone
//! has the last words and the usage: it is left a worker signal. If the worker is gone, the conversation ends here.

use std::time::Duration;

use switchboard_aws::table::{Outcome, TableError};
use switchboard_model::{
    conversations::{Conversation, EndedReason, InvalidTransition, Leg, Snapshot, State},
    costs::Prices,
    ids::{AccountId, ConversationId},
    sweep::{Carrier, Verdict},
    time::Timestamp,
};
use switchboard_providers::carrier::Carrier as _;

use crate::{Backend, HangUpError, hang_up, sweep_input};

/// Maximum time for ending the carrier's call; the rest of the request's time is for the response.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(4);
/// How often the state is read again when another writer was faster.
const MAX_READS: usize = 4;

/// The result of a request to end a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOutcome {
    /// It has ended, now or before, or its worker ends it within a second or so.
    Accepted,
    /// There is no such conversation.
    NotFound,
}

/// Ends the conversation, and its call at the carrier.
///
/// # Errors
/// The table cannot be read or written. An error of the carrier is logged only: the conversation ends all the same.
pub async fn end(
    backend: &Backend,
    prices: &Prices,
    account: AccountId,
    id: ConversationId,
    now: fn() -> Timestamp,
) -> Result<EndOutcome, TableError> {
    for _ in 0..MAX_READS {
        match end_before_start(backend, prices, account, id, now()).await? {
            Outcome::NotFound => return Ok(EndOutcome::NotFound),
            Outcome::Changed(snapshot) => {
                // Not before the write: a report or a stream of this call must find the conversation ended.
                hang_up_known(backend, &snapshot.conversation).await;
                break;
            }
            Outcome::Unchanged(snapshot) if snapshot.conversation.ended().is_some() => break,
            Outcome::Unchanged(_) | Outcome::LostLease => {
                if end_started(backend, prices, account, id, now()).await? {
                    break;
                }
            }
        }
    }
    Ok(EndOutcome::Accepted)
}

/// Ends a conversation that has not started: no worker holds it.
async fn end_before_start(
    backend: &Backend,
    prices: &Prices,
    account: AccountId,
    id: ConversationId,
    now: Timestamp,
) -> Result<Outcome, TableError> {
    let transition = |Snapshot { conversation, agent }: &Snapshot| {
        if let State::Started { .. } = conversation.state {
            return Err(InvalidTransition);
        }
        conversation.end(agent, EndedReason::AgentEnded, &[], &conversation.usage, prices, now)
    };
    backend.table.transition(account, id, transition).await
}

/// Signals the worker that holds the conversation, or ends it if no worker does. `false` if it changed meanwhile.
async fn end_started(
    backend: &Backend,
    prices: &Prices,
    account: AccountId,
    id: ConversationId,
    now: Timestamp,
) -> Result<bool, TableError> {
    let signal = |snapshot: &Snapshot| snapshot.conversation.request_end(now);
    let signalled = backend.table.transition(account, id, signal).await?;
    let (Outcome::Changed(snapshot) | Outcome::Unchanged(snapshot)) = signalled else { return Ok(false) };
    let input = sweep_input(&backend.table, snapshot).await?;
    // The call is hung up here, so the carrier need not be asked about it.
    let Verdict::End { change, .. } = input.verdict(Some(&Carrier::Unknown), prices, now) else {
        return Ok(true);
    };
    hang_up_known(backend, &input.snapshot.conversation).await;
    match backend.table.commit(&input.snapshot.conversation, &change).await {
        Ok(()) => Ok(true),
        Err(TableError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends the carrier's calls whose ids are known.
async fn hang_up_known(backend: &Backend, conversation: &Conversation) {
    let stored = conversation.legs.iter().filter_map(Leg::carrier_call_id);
    for call in stored.filter_map(|call| backend.carrier.call_id(call.id()).ok()) {
        match hang_up(backend, conversation, &call, HANG_UP_TIMEOUT).await {
            Ok(()) | Err(HangUpError::NumberReleased) => {}
            Err(error) => tracing::error!(%error, "call not hung up"),
        }
    }
}
