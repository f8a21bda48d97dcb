//! Decides how a call goes on when its media stream has ended: with another stream, or not at all.

use std::time::Duration;

use switchboard_aws::table::{Outcome, TableError};
use switchboard_model::{
    accounts::sha256_hex,
    conversations::{EndedReason, InvalidTransition, LegState, MAX_RESUMES, Snapshot, State, Transition},
    costs::Prices,
    ids::{AccountId, ConversationId},
    sweep::{Carrier, Verdict, end_answered},
    time::Timestamp,
};
use switchboard_providers::carrier::CarrierCallId;
use switchboard_runtime::{now, random_hex};
use tokio::time::timeout;

use crate::{Backend, sweep_input};

/// Maximum time for writing the end of a call that is not resumed; the sweeper writes it otherwise.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// How a call goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumeOutcome {
    /// With a new media stream, which the worker admits by this one-use token.
    Connect {
        /// 64 hexadecimal digits. The table has only its hash.
        token: String,
        /// After this pause: the streams before were not admitted.
        pause: Duration,
    },
    /// It does not: it is to be hung up.
    HangUp,
    /// There is no such conversation.
    NotFound,
}

/// Decides how `call` goes on, and stores the decision.
///
/// # Errors
/// The table cannot be read or written.
pub async fn resume(
    backend: &Backend,
    prices: &Prices,
    account: AccountId,
    id: ConversationId,
    call: &CarrierCallId,
) -> Result<ResumeOutcome, TableError> {
    let token = random_hex::<32>();
    let (token_sha256, now) = (sha256_hex(&token), now());
    let transition = |snapshot: &Snapshot| resume_transition(snapshot, call, &token_sha256, now);
    match backend.table.transition(account, id, transition).await? {
        Outcome::Changed(snapshot) if snapshot.conversation.ended().is_none() => {
            let leg = snapshot.conversation.legs.of_call(call);
            let pause = leg.and_then(|leg| leg.reconnect).map_or(Duration::ZERO, |again| again.at.since(now));
            tracing::info!(resumes = leg.map(|leg| leg.resumes), pause_s = pause.as_secs(), "call resumed");
            Ok(ResumeOutcome::Connect { token, pause })
        }
        Outcome::Changed(_) | Outcome::LostLease => Ok(ResumeOutcome::HangUp),
        Outcome::Unchanged(snapshot) => {
            tracing::warn!("call not resumed");
            if let State::Started { .. } = snapshot.conversation.state {
                end_unless_held(backend, prices, snapshot).await;
            }
            Ok(ResumeOutcome::HangUp)
        }
        Outcome::NotFound => Ok(ResumeOutcome::NotFound),
    }
}

/// The transition for `call`, whose stream has ended. Another stream is admitted by the token with this hash. A call
/// whose media has not begun gets another one too: its worker was full, or could not reach the table. After the last
/// attempt it ends.
///
/// # Errors
/// The call does not go on: it has ended, was resumed as often as allowed, or is not the conversation's.
pub fn resume_transition(
    snapshot: &Snapshot,
    call: &CarrierCallId,
    token_sha256: &str,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    let conversation = &snapshot.conversation;
    let leg = conversation.legs.of_call(call).ok_or(InvalidTransition)?;
    let end = |answered_at| end_answered(snapshot, leg.id, call, answered_at, EndedReason::Unknown, now);
    match (&conversation.state, leg.state) {
        (State::Started { .. }, _) => conversation.begin_resume(leg.id, token_sha256.to_owned(), now),
        (_, LegState::Dialing { .. } | LegState::Ringing { .. } | LegState::Answered { .. })
            if leg.resumes < MAX_RESUMES =>
        {
            conversation.begin_resume(leg.id, token_sha256.to_owned(), now)
        }
        (_, LegState::Dialing { .. } | LegState::Ringing { .. }) => end(now),
        (_, LegState::Answered { answered_at }) => end(answered_at),
        (_, LegState::Waiting | LegState::Ended { .. }) => Err(InvalidTransition),
    }
}

/// Ends a live conversation that cannot be resumed, unless a worker holds it. If this fails, the sweeper ends it at its
/// deadline.
async fn end_unless_held(backend: &Backend, prices: &Prices, snapshot: Snapshot) {
    let ending = async {
        let input = sweep_input(&backend.table, snapshot).await?;
        // The response hangs the call up, so the carrier need not be asked about it.
        match input.verdict(Some(&Carrier::Unknown), prices, now()) {
            Verdict::End { change, .. } => backend.table.commit(&input.snapshot.conversation, &change).await,
            Verdict::Nothing | Verdict::Wait(_) | Verdict::Wake(_) | Verdict::Record(_) | Verdict::Ask => {
                Ok(())
            }
        }
    };
    match timeout(END_TIMEOUT, ending).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "end not written; left to the sweeper"),
        Err(_elapsed) => tracing::warn!("end not written in time; left to the sweeper"),
    }
}
