//! Somebody calls one of our numbers: which agent takes the call, if any.
//!
//! The number's webhooks that asked for it are all called at once. The first of them, in their order, that
//! does not answer with nothing decides: it names an agent, or whatever it does instead turns the call away.
//! If none decides, the number's own agent takes the call. Everything is found out before anything is
//! stored, and then stored at once: the conversation's id comes from the carrier's of the call, so if the
//! carrier asks again, since our answer was lost, it is the same conversation.

use std::time::Duration;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use switchboard_aws::store::{Outcome, StoreError};
use switchboard_contract::{
    payload::Payload,
    requests::ChosenAgent,
    validation::{Checks, Field, FieldError, Reference, Step},
};
use switchboard_model::{
    accounts::sha256_hex,
    agents::{Agent, AgentConfig, Webhook},
    conversations::{Conversation, RejectReason, Snapshot, State},
    events::{self, Event, EventContext, EventName, NumberWebhookCall},
    ids::{AccountId, AgentId, ConversationId, EventId},
    phone_numbers::PhoneNumber,
    time::Timestamp,
};
use switchboard_providers::{
    twilio::{callbacks::IncomingCall, twiml},
    webhooks::{Answer, Request},
};
use switchboard_runtime as system;
use tokio::time::timeout;

use crate::{Callbacks, answer, failure, xml};

/// How long the number's webhooks may take, and then, in `preparing.rs`, the agent's first words three more; the
/// caller hears the ringing meanwhile.
const ANSWER: Duration = Duration::from_secs(5);
/// All of it; below the carrier's patience and the function's own limit, both 15 s.
const ALL: Duration = Duration::from_secs(13);

/// Who takes a call, and how that was found out.
struct Choice {
    /// None: nobody, and the call is turned away.
    agent: Option<(Option<AgentId>, AgentConfig)>,
    asked: Vec<NumberWebhookCall>,
    notes: Vec<String>,
}

/// What a webhook's answer says.
type Said = Result<Option<(Option<AgentId>, AgentConfig)>, String>;

impl Callbacks {
    /// Answers the carrier's question what to do with a call to `number`.
    pub(crate) async fn answer_call(
        &self,
        account: AccountId,
        number: Option<PhoneNumber>,
        call: IncomingCall,
    ) -> Response {
        let Some(number) = number else {
            tracing::warn!(%account, "a call to a number that the account does not have: turned away");
            return xml(twiml::reject(twiml::RejectReason::Rejected));
        };
        // It holds an agent's configuration or two.
        match timeout(ALL, Box::pin(self.take_call(account, &number, &call))).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => answer(failure(&error)),
            Err(_elapsed) => {
                tracing::error!(%account, number = %number.id, "a call was not answered in time");
                answer(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    async fn take_call(
        &self,
        account: AccountId,
        number: &PhoneNumber,
        call: &IncomingCall,
    ) -> Result<Response, StoreError> {
        let (id, now) = (ConversationId::of_call(account, call.call_sid.as_str()), system::now());
        if let Some(snapshot) = self.store.conversation(account, id).await? {
            return self.take_again(snapshot, call).await;
        }
        let (to, from) = (number.phone_number.clone(), call.from_number.clone());
        let rings = Conversation::inbound(id, account, to, from, call.call_sid.to_string(), now)
            .with_own_carrier(number.is_imported())
            .with_retention(self.retention);
        let Choice { agent, asked, notes } = self.choose(number, &rings).await?;
        let token = system::random_hex::<32>();
        let (change, config) = match agent {
            None => {
                let nobody = AgentConfig::default();
                (rings.reject_inbound(&nobody, RejectReason::Failed, asked, notes, now), nobody)
            }
            Some((agent_id, config)) => {
                let rings = Conversation { agent_id, ..rings };
                let change = if rings.hook_hangs_up(&config, EventName::ConnectionRequested) {
                    rings.reject_inbound(&config, RejectReason::HungUp, asked, notes, now)
                } else {
                    let rings = self.prepared(rings, &config).await;
                    rings.accept_inbound(&config, sha256_hex(&token), asked, notes, system::now())
                };
                (change, config)
            }
        };
        // It rings: both are possible.
        let Ok(change) = change else { return Ok(answer(StatusCode::INTERNAL_SERVER_ERROR)) };
        if !self.store.begin(&change, &config).await? {
            // The carrier asked twice at the same time, and the other question was faster.
            let Some(snapshot) = self.store.conversation(account, id).await? else {
                return Err(StoreError::Conflict);
            };
            return self.take_again(snapshot, call).await;
        }
        let is_over = change.conversation.ended().is_some();
        tracing::info!(conversation = %id, taken = !is_over, "a call came in");
        Ok(if is_over { turned_away() } else { xml(self.next_stream(account, id, &token)) })
    }

    /// The carrier asks again about a call: our answer was lost.
    async fn take_again(&self, snapshot: Snapshot, call: &IncomingCall) -> Result<Response, StoreError> {
        let Conversation { account_id: account, id, .. } = snapshot.conversation;
        let token = system::random_hex::<32>();
        let hash = sha256_hex(&token);
        let change = |now: &Snapshot| now.conversation.replace_media_token(hash.clone());
        match self.store.transition(account, id, change).await? {
            Outcome::Changed(_) => Ok(xml(self.next_stream(account, id, &token))),
            Outcome::Unchanged(snapshot) => match snapshot.conversation.state {
                State::Started { .. } => Ok(self.go_on(account, id, &call.call_sid).await),
                State::Ended { answered_at: Some(_), .. } => Ok(xml(twiml::hangup())),
                _ => Ok(turned_away()),
            },
            Outcome::LostLease | Outcome::NotFound => Err(StoreError::Conflict),
        }
    }

    async fn choose(&self, number: &PhoneNumber, rings: &Conversation) -> Result<Choice, StoreError> {
        let (name, data) = (EventName::ConnectionRequested, json!({ "phone_call": rings.phone_call }));
        // The number's webhooks, as if they were an agent's.
        let asks = AgentConfig { webhooks: number.webhooks.clone(), ..AgentConfig::default() };
        let scope = EventContext { conversation: rings, agent: &asks, name, data: &data };
        let matches = events::recipients(&scope);
        let mut notes: Vec<_> =
            matches.failures.into_iter().map(|failure| format!("the number's {}", failure.fault)).collect();
        let event = event(rings, data);
        let answers = self.ask(rings, &event, &asks, &matches.webhooks).await?;
        let mut asked = Vec::with_capacity(answers.len());
        let mut decided = None;
        for (place, webhook, (attempt, answer)) in answers {
            let said = match &answer {
                Some(answer) if attempt.delivered() => self.said(rings.account_id, answer).await?,
                Some(answer) => Err(format!("it answered with status {}", answer.status)),
                None => Err(attempt.answer.clone().unwrap_or_default()),
            };
            let (url, method) = (webhook.url.clone(), webhook.method);
            asked.push(NumberWebhookCall { webhook: place, url, method, attempt });
            decided = decided.or(match said {
                Ok(None) => None,
                Ok(agent) => Some(agent),
                Err(why) => {
                    notes.push(format!("the number's webhooks.{place} chose no agent: {why}"));
                    Some(None)
                }
            });
        }
        let agent = match (decided, number.inbound_agent_id) {
            (Some(decided), _) => decided,
            (None, Some(id)) => {
                let agent = self.store.agent(rings.account_id, id).await?;
                if agent.is_none() {
                    notes.push("the number's agent does not exist any more".to_owned());
                }
                agent.map(|Agent { id, config, .. }| (Some(id), config))
            }
            (None, None) => {
                notes.push("the number has no agent".to_owned());
                None
            }
        };
        Ok(Choice { agent, asked, notes })
    }

    /// Calls these webhooks of a number, all at once; in their order.
    async fn ask<'a>(
        &self,
        rings: &Conversation,
        event: &Event,
        asks: &'a AgentConfig,
        places: &[usize],
    ) -> Result<Vec<(usize, &'a Webhook, (switchboard_model::deliveries::Attempt, Option<Answer>))>, StoreError>
    {
        if places.is_empty() {
            return Ok(vec![]);
        }
        let (account, now) = (self.store.account(rings.account_id).await?, system::now());
        let secrets: Vec<&str> = account.iter().flat_map(|account| account.signing_secrets(now)).collect();
        let asking = places.iter().filter_map(|place| Some((*place, asks.webhooks.get(*place)?))).map(
            async |(place, webhook)| {
                let payload = Payload::new(event, rings, asks, webhook.method, None);
                // The agent's webhooks are told of the same event: their ids are other ones.
                let id = format!("{}_number_{place}", event.id);
                let request =
                    Request { webhook, payload: &payload, id: &id, secrets: &secrets, now, timeout: ANSWER };
                (place, webhook, self.sender.send(request).await)
            },
        );
        Ok(join_all(asking).await)
    }

    /// The agent that an answer chooses; none: it says nothing.
    async fn said(&self, account: AccountId, answer: &Answer) -> Result<Said, StoreError> {
        if answer.body.trim_ascii().is_empty() {
            return Ok(Ok(None));
        }
        let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
            return Ok(Err("its answer is not JSON, or too long".to_owned()));
        };
        let (chosen, references, mut errors) = {
            let checks = Checks::default();
            let chosen = ChosenAgent::parse(&Field::body(&body, &checks), self.egress_policy).ok();
            (chosen, checks.references(), checks.into_errors())
        };
        let mut stored = None;
        for (loc, reference) in references {
            let exists = match reference {
                Reference::Agent(id) => {
                    stored = self.store.agent(account, id).await?;
                    stored.is_some()
                }
                Reference::Credential { id, provider } => {
                    let credential = self.store.credential(account, id).await?;
                    credential.is_some_and(|(credential, _)| {
                        provider.is_none_or(|provider| credential.provider.serves(provider))
                    })
                }
                Reference::PhoneNumber(_) | Reference::Destination(_) => true,
            };
            if !exists {
                errors.push(FieldError::not_found(loc));
            }
        }
        Ok(match (chosen, stored) {
            _ if !errors.is_empty() => Err(in_words(&errors)),
            (Some(None), _) => Ok(None),
            (Some(Some(ChosenAgent::Given(config))), _) => Ok(Some((None, *config))),
            (Some(Some(ChosenAgent::Stored(_))), Some(Agent { id, config, .. })) => {
                Ok(Some((Some(id), config)))
            }
            (Some(Some(ChosenAgent::Stored(_))) | None, _) => Err("its answer cannot be used".to_owned()),
        })
    }
}

/// The event as it will be stored, for those who are asked before.
fn event(rings: &Conversation, data: Value) -> Event {
    let (sequence, created_at): (u64, Timestamp) = (rings.next_sequence, rings.created_at);
    Event {
        id: EventId::of(rings.id, sequence, created_at),
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

/// `agent_config.voice.speed: Input should be ...`, of the first wrong field.
fn in_words(errors: &[FieldError]) -> String {
    let Some(FieldError { loc, msg, .. }) = errors.first() else { return String::new() };
    let steps = loc.iter().skip(1).map(|step| match step {
        Step::Field(name) => name.clone(),
        Step::Index(index) => index.to_string(),
    });
    let place = steps.collect::<Vec<_>>().join(".");
    if place.is_empty() { msg.clone() } else { format!("{place}: {msg}") }
}

fn turned_away() -> Response {
    xml(twiml::reject(twiml::RejectReason::Rejected)).into_response()
}
