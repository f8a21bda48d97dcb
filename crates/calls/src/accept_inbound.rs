//! Accepts an inbound call: finds its agent, stores the conversation, or turns the call away.
//!
//! All reads come before the first write, and the conversation is stored in one write. Its id is derived from the
//! carrier's id of the call: if the carrier repeats its request because our response was lost, it is the same
//! conversation. `choice` decides which agent takes the call.

mod choice;

use std::{sync::atomic::AtomicU64, time::Duration};

use switchboard_aws::table::{Begun, Outcome, TableError};
use switchboard_model::{
    accounts::{Limits, sha256_hex},
    agents::AgentConfig,
    conversations::{Conversation, InvalidTransition, LegId, RejectReason, Snapshot, State, Transition},
    costs::Prices,
    egress_policy::EgressPolicy,
    event_names::EventName,
    ids::{AccountId, ConversationId},
    limits::is_spent,
    phone_numbers::PhoneNumber,
};
use switchboard_providers::{
    carrier::{CarrierCallId, callbacks::IncomingCall},
    webhooks::WebhookClient,
};
use switchboard_runtime::{now, random_hex, spans};

use self::choice::{AgentChoice, choose_agent};
use crate::{Backend, ClipPreparation, ResumeOutcome, prepare_clips, resume};

/// Maximum time for preparing clips, after up to five seconds for the number's webhooks. The caller hears ringing.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(3);

/// The clients and settings for inbound calls, beside the [`Backend`].
#[derive(Debug, Clone)]
pub struct InboundContext {
    /// Calls the numbers' webhooks.
    pub sender: WebhookClient,
    /// The addresses that an agent's URLs may point to.
    pub egress_policy: EgressPolicy,
    /// How long the conversation is kept.
    pub retention: Duration,
    /// Synthesizes the greeting.
    pub preparation: ClipPreparation,
    /// The deployment's own prices.
    pub prices: Prices,
}

/// The response to the carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundOutcome {
    /// Answer the call, and connect a media stream of this conversation with this one-use token.
    Connect {
        /// The conversation of the call.
        conversation: ConversationId,
        /// 64 hexadecimal digits. The table has only its hash.
        token: String,
    },
    /// Turn the call away without answering it.
    Reject,
    /// Turn the call away as busy: the account or the number is at a limit.
    Busy,
    /// End the call, which was answered before.
    HangUp,
}

/// An inbound call was not accepted, nor turned away.
#[derive(Debug, thiserror::Error)]
pub enum InboundError {
    /// The table cannot be read or written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The new conversation refused its first transition, which is a defect.
    #[error("a new inbound conversation refused its first transition")]
    Defect(#[from] InvalidTransition),
}

/// Accepts a call to `number`, or turns it away.
///
/// # Errors
/// Nothing is stored, and the carrier may repeat its request.
pub async fn accept_inbound(
    backend: &Backend,
    context: &InboundContext,
    account: AccountId,
    number: &PhoneNumber,
    call: &IncomingCall,
) -> Result<InboundOutcome, InboundError> {
    let (id, received_at) = (ConversationId::of_call(account, call.call.id()), now());
    spans::record_conversation(account, id);
    if let Some(snapshot) = backend.table.conversation(account, id).await? {
        return Ok(accept_again(backend, &context.prices, snapshot, &call.call).await?);
    }
    let limits = backend.table.limits(account).await?;
    if let Some(wait) = backend.table.take_inbound_request(number, &limits, received_at).await? {
        // Nothing is stored: the requests of somebody who forges them would fill the account's list.
        tracing::warn!(
            wait_ms = wait.as_millis(),
            "inbound call rejected: too many requests about this number"
        );
        return Ok(InboundOutcome::Busy);
    }
    let (to, from) = (number.phone_number.clone(), call.from_number.clone());
    let ringing = Conversation::inbound(id, account, to, from, call.call.clone(), received_at)
        .with_own_carrier(number.is_imported())
        .with_retention(context.retention);
    let full = format!("the account has {} live inbound calls, as many as it may", limits.inbound_calls);
    if !backend.table.counters(account).await?.admits_inbound(&limits) {
        return reject_over_limit(backend, &ringing, &limits, full).await;
    }
    if is_spent(backend.table.spent(account, received_at).await?, &limits) {
        let spent =
            format!("the account has reached its spend limit of {} USD a day", limits.daily_spend_usd);
        return reject_over_limit(backend, &ringing, &limits, spent).await;
    }
    let choice = choose_agent(backend, context, number, &ringing).await?;
    let token = random_hex::<32>();
    let (transition, agent) = first_transition(backend, context, ringing.clone(), choice, &token).await?;
    match backend.table.begin(&transition, &agent, &limits).await? {
        Begun::Stored => {}
        // Another call took the last slot meanwhile.
        Begun::Full => return reject_over_limit(backend, &ringing, &limits, full).await,
        Begun::Exists => {
            // The carrier asked twice at the same time, and the other request was faster.
            let Some(snapshot) = backend.table.conversation(account, id).await? else {
                return Err(TableError::Conflict.into());
            };
            return Ok(accept_again(backend, &context.prices, snapshot, &call.call).await?);
        }
    }
    if transition.conversation.ended().is_some() {
        tracing::info!("inbound call turned away");
        return Ok(InboundOutcome::Reject);
    }
    tracing::info!("inbound call accepted");
    Ok(InboundOutcome::Connect { conversation: id, token })
}

/// Stores a call that is turned away because its account is at a limit.
async fn reject_over_limit(
    backend: &Backend,
    ringing: &Conversation,
    limits: &Limits,
    reason: String,
) -> Result<InboundOutcome, InboundError> {
    let (none, received_at) = (AgentConfig::default(), ringing.created_at);
    tracing::warn!(reason, "inbound call rejected: the account is at a limit");
    let transition = ringing.reject_inbound(&none, RejectReason::Limit, vec![], vec![reason], received_at)?;
    // If it exists, another request about it was faster.
    backend.table.begin(&transition, &none, limits).await?;
    Ok(InboundOutcome::Busy)
}

/// The first transition of a new call, and the agent configuration that is stored with it.
async fn first_transition(
    backend: &Backend,
    context: &InboundContext,
    ringing: Conversation,
    choice: AgentChoice,
    token: &str,
) -> Result<(Transition, AgentConfig), InvalidTransition> {
    let AgentChoice { agent, calls, faults } = choice;
    let received_at = ringing.created_at;
    let Some((agent_id, agent)) = agent else {
        let none = AgentConfig::default();
        let transition = ringing.reject_inbound(&none, RejectReason::Failed, calls, faults, received_at)?;
        return Ok((transition, none));
    };
    let mut ringing = Conversation { agent_id, ..ringing };
    if ringing.hook_hangs_up(&agent, EventName::ConnectionRequested) {
        let transition = ringing.reject_inbound(&agent, RejectReason::HungUp, calls, faults, received_at)?;
        return Ok((transition, agent));
    }
    let characters = AtomicU64::new(0);
    let account = ringing.account_id;
    prepare_clips(backend, &context.preparation, account, &agent, PREPARE_TIMEOUT, &characters).await;
    let stand_in = context.preparation.stand_in(&agent);
    ringing.usage.of(stand_in.as_ref()).characters += characters.into_inner();
    Ok((ringing.accept_inbound(&agent, sha256_hex(token), calls, faults, now())?, agent))
}

/// The carrier repeats its request about a call: our response was lost.
async fn accept_again(
    backend: &Backend,
    prices: &Prices,
    snapshot: Snapshot,
    call: &CarrierCallId,
) -> Result<InboundOutcome, TableError> {
    let Conversation { account_id: account, id, .. } = snapshot.conversation;
    let token = random_hex::<32>();
    let hash = sha256_hex(&token);
    let transition = |now: &Snapshot| now.conversation.replace_media_token(LegId::CALLER, hash.clone());
    match backend.table.transition(account, id, transition).await? {
        Outcome::Changed(_) => Ok(InboundOutcome::Connect { conversation: id, token }),
        Outcome::Unchanged(snapshot) => match snapshot.conversation.state {
            State::Started { .. } => match resume(backend, prices, account, id, call).await? {
                ResumeOutcome::Connect { token, .. } => {
                    Ok(InboundOutcome::Connect { conversation: id, token })
                }
                ResumeOutcome::HangUp => Ok(InboundOutcome::HangUp),
                ResumeOutcome::NotFound => Err(TableError::Conflict),
            },
            State::Ended { .. } if snapshot.conversation.answered_at().is_some() => {
                Ok(InboundOutcome::HangUp)
            }
            _ => Ok(InboundOutcome::Reject),
        },
        Outcome::LostLease | Outcome::NotFound => Err(TableError::Conflict),
    }
}
