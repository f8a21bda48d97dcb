//! Which agent takes an inbound call.
//!
//! All webhooks of the number that match the event are called at the same time. The first of them, in their order,
//! that names an agent or rejects the call decides. A response that is empty chooses nothing; neither does one that
//! cannot be used. If none decides, the number's own agent takes the call. Notes of the first event say how it was decided.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use switchboard_aws::table::TableError;
use switchboard_contract::{
    conversations::{ChosenAgent, NumberChoice},
    events::payload::Payload,
    references::Reference,
    validation::{FieldError, LocStep},
};
use switchboard_model::{
    agents::{Agent, AgentConfig},
    conversations::{Conversation, LegId},
    deliveries::Attempt,
    egress_policy::EgressPolicy,
    event_names::EventName,
    events::{Event, NumberWebhookCall},
    ids::{AccountId, AgentId, EventId},
    phone_numbers::PhoneNumber,
    webhooks::Webhook,
};
use switchboard_providers::webhooks::{WebhookRequest, WebhookResponse};
use switchboard_runtime::now;

use crate::{Backend, InboundContext};

/// Maximum time for the number's webhooks. The caller hears ringing.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// An agent's configuration, and its id if it is a stored one.
type ChosenConfig = (Option<AgentId>, AgentConfig);
/// The decision in a webhook's response; an error says why it cannot be used.
type WebhookChoice = Result<Decision, String>;

/// The decision of a webhook.
enum Decision {
    Agent(Box<ChosenConfig>),
    Reject,
    None,
}

/// Maximum size of a webhook's response: an `agent_config` of 40 KiB, with room for white space.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The agent of a call, and how it was found.
pub(super) struct AgentChoice {
    /// `None` turns the call away.
    pub(super) agent: Option<ChosenConfig>,
    pub(super) calls: Vec<NumberWebhookCall>,
    /// How the agent was chosen, and the faults on the way; for the event log.
    pub(super) faults: Vec<String>,
}

/// Finds the agent of a call to `number`.
pub(super) async fn choose_agent(
    backend: &Backend,
    context: &InboundContext,
    number: &PhoneNumber,
    ringing: &Conversation,
) -> Result<AgentChoice, TableError> {
    let (name, data) = (EventName::ConnectionRequested, ringing.phone_call_data(LegId::CALLER));
    // The number's webhooks are matched as if they were an agent's.
    let agent = AgentConfig { webhooks: number.webhooks.clone(), ..AgentConfig::default() };
    let recipients = ringing.recipients(&agent, name, &data);
    let mut faults: Vec<_> =
        recipients.failures.into_iter().map(|failure| format!("the number's {}", failure.fault)).collect();
    let event = event(ringing, data);
    let responses = call_webhooks(backend, context, ringing, &event, &agent, &recipients.webhooks).await?;
    let mut calls = Vec::with_capacity(responses.len());
    let mut decided = None;
    for (place, webhook, (attempt, response)) in responses {
        let choice = match &response {
            Some(response) if attempt.delivered() => {
                read_choice(backend, context.egress_policy, ringing.account_id, response).await?
            }
            Some(response) => Err(format!("it answered with status {}", response.status)),
            None => Err(attempt.answer.clone().unwrap_or_default()),
        };
        let (url, method) = (webhook.url.clone(), webhook.method);
        calls.push(NumberWebhookCall { webhook: place, url, method, attempt });
        match choice {
            Ok(Decision::Agent(agent)) if decided.is_none() => {
                let named = match agent.0 {
                    Some(id) => format!("chose the agent {id}"),
                    None => "gave the agent's configuration".to_owned(),
                };
                faults.push(format!("the number's webhooks.{place} {named}"));
                decided = Some(Some(*agent));
            }
            Ok(Decision::Reject) if decided.is_none() => {
                faults.push(format!("the number's webhooks.{place} rejected the call"));
                decided = Some(None);
            }
            // One before it has decided, or it leaves the decision to others.
            Ok(Decision::Agent(_) | Decision::Reject | Decision::None) => {}
            Err(problem) => {
                faults.push(format!("the number's webhooks.{place} chose no agent: {problem}"));
            }
        }
    }
    let agent = match (decided, number.inbound_agent_id) {
        (Some(decided), _) => decided,
        (None, Some(id)) => {
            let agent = backend.table.agent(ringing.account_id, id).await?;
            if agent.is_none() {
                faults.push("the number's agent does not exist any more".to_owned());
            } else if !calls.is_empty() {
                faults
                    .push("no webhook of the number chose an agent: its own agent takes the call".to_owned());
            }
            agent.map(|Agent { id, config, .. }| (Some(id), config))
        }
        (None, None) => {
            faults.push("the number has no agent".to_owned());
            None
        }
    };
    Ok(AgentChoice { agent, calls, faults })
}

/// Calls webhooks of a number at the same time. The responses are in the order of the webhooks.
async fn call_webhooks<'a>(
    backend: &Backend,
    context: &InboundContext,
    ringing: &Conversation,
    event: &Event,
    agent: &'a AgentConfig,
    places: &[usize],
) -> Result<Vec<(usize, &'a Webhook, (Attempt, Option<WebhookResponse>))>, TableError> {
    if places.is_empty() {
        return Ok(vec![]);
    }
    let (account, now) = (backend.table.account(ringing.account_id).await?, now());
    let secrets: Vec<&str> = account.iter().flat_map(|account| account.signing_secrets(now)).collect();
    let webhooks = places.iter().filter_map(|place| Some((*place, agent.webhooks.get(*place)?)));
    let sender = context.sender.clone().reading_at_most(MAX_RESPONSE_BYTES);
    let calls = webhooks.map(async |(place, webhook)| {
        let payload = Payload::new(event, ringing, agent, webhook.method, None);
        // The agent's webhooks receive the same event: their ids must differ.
        let id = format!("{}_number_{place}", event.id);
        let request = WebhookRequest {
            webhook,
            payload: &payload,
            id: &id,
            secrets: &secrets,
            now,
            timeout: WEBHOOK_TIMEOUT,
        };
        (place, webhook, sender.send(request).await)
    });
    Ok(join_all(calls).await)
}

/// Reads a webhook's response.
async fn read_choice(
    backend: &Backend,
    policy: EgressPolicy,
    account: AccountId,
    response: &WebhookResponse,
) -> Result<WebhookChoice, TableError> {
    if response.text.trim().is_empty() {
        return Ok(Ok(Decision::None));
    }
    let Ok(body) = serde_json::from_str::<Value>(&response.text) else {
        return Ok(Err("its answer is not JSON, or too long".to_owned()));
    };
    let mut chosen = NumberChoice::read(&body, policy);
    let mut stored = None;
    for (loc, reference) in std::mem::take(&mut chosen.references) {
        let exists = match reference {
            Reference::Agent(id) => {
                stored = backend.table.agent(account, id).await?;
                stored.is_some()
            }
            Reference::Credential { id, provider } => {
                let credential = backend.table.credential(account, id).await?;
                credential.is_some_and(|(credential, _)| {
                    provider.is_none_or(|provider| credential.provider.serves(provider))
                })
            }
            Reference::PhoneNumber(_) | Reference::Destination(_) => true,
        };
        if !exists {
            chosen.errors.push(FieldError::not_found(loc));
        }
    }
    Ok(match (chosen.into_valid(), stored) {
        (Err(errors), _) => Err(describe(&errors)),
        (Ok(NumberChoice::None), _) => Ok(Decision::None),
        (Ok(NumberChoice::Reject), _) => Ok(Decision::Reject),
        (Ok(NumberChoice::Agent(ChosenAgent::Given(config))), _) => {
            Ok(Decision::Agent(Box::new((None, *config))))
        }
        (Ok(NumberChoice::Agent(ChosenAgent::Stored(_))), Some(Agent { id, config, .. })) => {
            Ok(Decision::Agent(Box::new((Some(id), config))))
        }
        (Ok(NumberChoice::Agent(ChosenAgent::Stored(_))), None) => {
            Err("its answer cannot be used".to_owned())
        }
    })
}

/// The event as it will be stored, for the number's webhooks, which are called before.
fn event(ringing: &Conversation, data: Value) -> Event {
    let (sequence, created_at) = (ringing.next_sequence, ringing.created_at);
    Event {
        id: EventId::of(ringing.id, sequence, created_at),
        name: EventName::ConnectionRequested,
        sequence,
        created_at,
        data,
        webhooks: vec![],
        synchronous: None,
        number_webhook_calls: vec![],
        faults: vec![],
    }
}

/// The first wrong field with its path: `agent_config.voice.speed: Input should be ...`.
fn describe(errors: &[FieldError]) -> String {
    let Some(FieldError { loc, msg, .. }) = errors.first() else { return String::new() };
    let steps = loc.iter().skip(1).map(|step| match step {
        LocStep::Field(name) => name.clone(),
        LocStep::Index(index) => index.to_string(),
    });
    let path = steps.collect::<Vec<_>>().join(".");
    if path.is_empty() { msg.clone() } else { format!("{path}: {msg}") }
}
