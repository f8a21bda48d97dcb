//! Every change a conversation can make, each a pure function to the new state and its events.

mod inbound;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Conversation, EndedReason, MAX_RESUMES, PhoneCall, State};
use crate::{
    agents::AgentConfig,
    costs::{Prices, Usage},
    event_names::EventName,
    events::Event,
    ids::EventId,
    limits::Slot,
    messages::Message,
    time::Timestamp,
};

/// The conversation is not (or no longer) where this change could happen; nothing is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the conversation is past this change")]
pub struct InvalidTransition;

/// What one change writes, all of it or nothing: the new state, its events and messages.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Transition {
    /// The state after the change; its `version` is one more than before.
    pub conversation: Conversation,
    /// New events, in order, numbered without gaps.
    pub events: Vec<Event>,
    /// New messages and their place in the conversation, from 1.
    pub messages: Vec<(u64, Message)>,
}

/// Something the worker noticed while the conversation was live.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalEntry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub name: EventName,
    /// What the event carries besides the message.
    pub data: Value,
    /// The message that entered the conversation with it.
    pub message: Option<Message>,
    /// What went wrong on the way to it, such as a provider that failed. For the log alone: never delivered.
    pub faults: Vec<String>,
}

/// Why a call was not taken, as `phone_call:rejected` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The line was busy, or the other side declined.
    Busy,
    /// The other side did not answer in time.
    NoAnswer,
    /// The carrier could not or would not place the call.
    Failed,
    /// The call was cancelled before the other side answered.
    Canceled,
    /// A hook hung up.
    HungUp,
}

impl JournalEntry {
    /// What its event carries, the message included.
    #[must_use]
    pub fn event_data(&self) -> Value {
        let mut data = self.data.clone();
        if let Some(message) = &self.message {
            if data.is_null() {
                data = json!({});
            }
            data["message"] = json!(message);
        }
        data
    }
}

impl RejectReason {
    fn ended_reason(self) -> EndedReason {
        match self {
            Self::Busy => EndedReason::UserEnded,
            Self::HungUp | Self::Canceled => EndedReason::AgentEnded,
            Self::NoAnswer | Self::Failed => EndedReason::Unknown,
        }
    }
}

impl Conversation {
    /// The dialer hands a queued call to the carrier. From here on it counts as dialled, so that no
    /// second call is ever placed. The stream will be let in with the token of this hash.
    pub fn mark_dialing(
        &self,
        agent: &AgentConfig,
        media_token_sha256: String,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let State::Queued = self.state else { return Err(InvalidTransition) };
        let mut next = self.changed(State::Dialing { dialed_at: now });
        next.conversation.slot = Slot::Live;
        next.conversation.media_token_sha256 = Some(media_token_sha256);
        next.emit(agent, now, EventName::ConnectionRequested, json!({ "phone_call": self.phone_call }));
        Ok(next)
    }

    /// The carrier certainly did not take the call (it asked to come back later, or the connection to
    /// it never opened): the call waits again. Its `connection_requested` stays in the log.
    pub fn return_to_queue(&self) -> Result<Transition, InvalidTransition> {
        if !matches!(self.state, State::Dialing { .. }) || self.carrier_call_id.is_some() {
            return Err(InvalidTransition);
        }
        let mut next = self.changed(State::Queued);
        next.conversation.slot = Slot::Waiting;
        Ok(next)
    }

    /// The carrier took the call and named it.
    pub fn record_placed(&self, carrier_call_id: &str) -> Result<Transition, InvalidTransition> {
        if matches!(self.state, State::Queued | State::Ended { .. }) || self.carrier_call_id.is_some() {
            return Err(InvalidTransition);
        }
        let mut next = self.changed(self.state.clone());
        next.conversation.carrier_call_id = Some(carrier_call_id.to_owned());
        Ok(next)
    }

    /// The voice was asked for what a queued call is going to say: so many characters.
    pub fn record_prepared(&self, characters: u64) -> Result<Transition, InvalidTransition> {
        // Later the worker counts, and what is added beside it would be lost.
        let State::Queued = self.state else { return Err(InvalidTransition) };
        let mut next = self.changed(self.state.clone());
        next.conversation.usage.characters += characters;
        Ok(next)
    }

    /// The other side's phone rings.
    pub fn mark_ringing(&self, carrier_call_id: &str) -> Result<Transition, InvalidTransition> {
        let State::Dialing { dialed_at } = self.state else { return Err(InvalidTransition) };
        Ok(self.changed(State::Ringing { dialed_at }).on_call(carrier_call_id))
    }

    /// The other side answered.
    pub fn mark_answered(
        &self,
        agent: &AgentConfig,
        carrier_call_id: &str,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let (State::Dialing { .. } | State::Ringing { .. }) = self.state else {
            return Err(InvalidTransition);
        };
        let mut next = self.changed(State::Answered { answered_at: now }).on_call(carrier_call_id);
        next.emit(agent, now, EventName::Accepted, json!({ "phone_call": self.phone_call }));
        Ok(next)
    }

    /// Media flows. The stream may be faster than the callback that tells of the answer: then this is
    /// how we learn of it, and `phone_call:accepted` still comes first.
    pub fn mark_started(
        &self,
        agent: &AgentConfig,
        carrier_call_id: &str,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let answered_at = match self.state {
            State::Dialing { .. } | State::Ringing { .. } => now,
            State::Answered { answered_at } => answered_at,
            _ => return Err(InvalidTransition),
        };
        let mut next = self.changed(State::Started { answered_at, started_at: now }).on_call(carrier_call_id);
        next.conversation.media_token_sha256 = None;
        if self.answered_at().is_none() {
            next.emit(agent, now, EventName::Accepted, json!({ "phone_call": self.phone_call }));
        }
        next.emit(agent, now, EventName::Started, Value::Null);
        Ok(next)
    }

    /// The carrier asks how a live call goes on, since its stream closed: it is to connect another one,
    /// which will be let in with the token of this hash.
    pub fn begin_resume(&self, media_token_sha256: String) -> Result<Transition, InvalidTransition> {
        if !matches!(self.state, State::Started { .. }) || self.resumes >= MAX_RESUMES {
            return Err(InvalidTransition);
        }
        let mut next = self.changed(self.state.clone());
        next.conversation.resumes += 1;
        next.conversation.media_token_sha256 = Some(media_token_sha256);
        Ok(next)
    }

    /// Another stream of a live call was let in; the token is used up.
    pub fn mark_resumed(&self) -> Result<Transition, InvalidTransition> {
        if !matches!(self.state, State::Started { .. }) || self.media_token_sha256.is_none() {
            return Err(InvalidTransition);
        }
        let mut next = self.changed(self.state.clone());
        next.conversation.media_token_sha256 = None;
        Ok(next)
    }

    /// Leaves a signal for the worker that holds the media: it is to end the conversation.
    pub fn request_end(&self, now: Timestamp) -> Result<Transition, InvalidTransition> {
        if !matches!(self.state, State::Started { .. }) || self.signals.end_requested_at.is_some() {
            return Err(InvalidTransition);
        }
        let mut next = self.changed(self.state.clone());
        next.conversation.signals.end_requested_at = Some(now);
        Ok(next)
    }

    /// The worker stores what happened since it last did.
    pub fn append(
        &self,
        agent: &AgentConfig,
        entries: &[JournalEntry],
        usage: &Usage,
    ) -> Result<Transition, InvalidTransition> {
        let State::Started { .. } = self.state else { return Err(InvalidTransition) };
        let mut next = self.changed(self.state.clone());
        next.conversation.usage = usage.clone();
        next.add(agent, entries);
        Ok(next)
    }

    /// The carrier says that a call is over whose media a worker holds: a note for that worker.
    pub fn record_carrier_end(
        &self,
        seconds: Option<u64>,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        if !matches!(self.state, State::Started { .. }) || self.signals.carrier_ended_at.is_some() {
            return Err(InvalidTransition);
        }
        let mut next = self.changed(self.state.clone());
        next.conversation.signals.carrier_ended_at = Some(now);
        next.conversation.signals.carrier_seconds = seconds;
        Ok(next)
    }

    /// The carrier found out who answered: a note for whoever holds the conversation. The first word counts.
    pub fn record_answered_by(
        &self,
        carrier_call_id: &str,
        verdict: &str,
    ) -> Result<Transition, InvalidTransition> {
        let is_another = self.carrier_call_id.as_deref().is_some_and(|known| known != carrier_call_id);
        if matches!(self.state, State::Queued | State::Ended { .. }) || is_another {
            return Err(InvalidTransition);
        }
        let mut next = self.changed(self.state.clone()).on_call(carrier_call_id);
        match &mut next.conversation.phone_call {
            Some(PhoneCall { answered_by: answered_by @ None, .. }) => {
                *answered_by = Some(verdict.to_owned());
            }
            _ => return Err(InvalidTransition),
        }
        Ok(next)
    }

    /// The call was never taken: one `phone_call:rejected`, then the end.
    pub fn reject(
        &self,
        agent: &AgentConfig,
        reason: RejectReason,
        prices: &Prices,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        if self.answered_at().is_some() || self.ended().is_some() {
            return Err(InvalidTransition);
        }
        Ok(self.close(agent, Some(reason), reason.ended_reason(), &[], prices, now))
    }

    /// The conversation is over, with the last `entries` and the final `usage` of whoever held it.
    /// Before the answer this is a rejection (somebody cancelled).
    pub fn end(
        &self,
        agent: &AgentConfig,
        reason: EndedReason,
        entries: &[JournalEntry],
        usage: &Usage,
        prices: &Prices,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        if self.ended().is_some() {
            return Err(InvalidTransition);
        }
        let rejected = self.answered_at().is_none().then_some(match reason {
            EndedReason::AgentEnded => RejectReason::Canceled,
            EndedReason::UserEnded => RejectReason::Busy,
            EndedReason::Unknown => RejectReason::Failed,
        });
        let mut ending = self.clone();
        ending.usage = usage.clone();
        Ok(ending.close(agent, rejected, reason, entries, prices, now))
    }

    fn close(
        &self,
        agent: &AgentConfig,
        rejected: Option<RejectReason>,
        ended_reason: EndedReason,
        entries: &[JournalEntry],
        prices: &Prices,
        now: Timestamp,
    ) -> Transition {
        // A call that nobody took costs what the carrier takes. What was spoken for it is kept for the next one.
        let usage = if rejected.is_some() { Usage::default() } else { self.usage.clone() };
        let over = Self { usage, ..self.clone() };
        let cost = over.cost(agent, prices, now);
        let mut next = over.changed(State::Ended {
            answered_at: self.answered_at(),
            started_at: self.started_at(),
            ended_at: now,
            ended_reason,
            cost: Box::new(cost),
        });
        next.conversation.slot = Slot::None;
        next.conversation.media_token_sha256 = None;
        next.add(agent, entries);
        if rejected == Some(RejectReason::HungUp) && matches!(self.state, State::Queued) {
            // The event that the hook acted on: it would have been the dialling's.
            let data = json!({ "phone_call": self.phone_call });
            next.emit(agent, now, EventName::ConnectionRequested, data);
        }
        if let Some(reason) = rejected {
            let data = json!({ "phone_call": self.phone_call, "reason": reason });
            next.emit(agent, now, EventName::Rejected, data);
        }
        next.emit(agent, now, EventName::Ended, json!({ "ended_reason": ended_reason }));
        next
    }

    fn changed(&self, state: State) -> Transition {
        let conversation = Self { state, version: self.version + 1, ..self.clone() };
        Transition { conversation, events: vec![], messages: vec![] }
    }
}

impl Transition {
    /// The same change; the log says this beside the last of its events.
    pub fn with_faults(mut self, faults: Vec<String>) -> Self {
        if let Some(last) = self.events.last_mut() {
            last.faults.extend(faults);
        }
        self
    }

    /// The same end, noticed only now, of a conversation that was over at `ended_at`: how long it lasted
    /// and what it cost is counted to then. Nothing else is changed.
    pub fn backdated(mut self, agent: &AgentConfig, prices: &Prices, ended_at: Timestamp) -> Self {
        let counted = self.conversation.cost(agent, prices, ended_at);
        if let State::Ended { ended_at: at, cost, .. } = &mut self.conversation.state {
            *at = ended_at;
            **cost = counted;
        }
        self
    }

    /// A callback may name the call before the answer to our own request does.
    fn on_call(mut self, carrier_call_id: &str) -> Self {
        self.conversation.carrier_call_id.get_or_insert_with(|| carrier_call_id.to_owned());
        self
    }

    fn add(&mut self, agent: &AgentConfig, entries: &[JournalEntry]) {
        for entry in entries {
            if let Some(message) = &entry.message {
                self.messages.push((self.conversation.next_message, message.clone()));
                self.conversation.next_message += 1;
            }
            let place = self.events.len();
            self.emit(agent, entry.at, entry.name, entry.event_data());
            if let Some(event) = self.events.get_mut(place) {
                event.faults.extend(entry.faults.iter().cloned());
            }
        }
    }

    fn emit(&mut self, agent: &AgentConfig, at: Timestamp, name: EventName, data: Value) {
        let conversation = &mut self.conversation;
        let matches = conversation.recipients(agent, name, &data);
        if !matches.stores(name) {
            return;
        }
        let sequence = conversation.next_sequence;
        conversation.next_sequence += 1;
        let faults = conversation.record_failed_filters(matches.failures);
        let id = EventId::of(conversation.id, sequence, at);
        let mut webhooks = matches.webhooks;
        let synchronous =
            (name == EventName::FunctionCallTriggered && !webhooks.is_empty()).then(|| webhooks.remove(0));
        let number_webhook_calls = vec![];
        self.events.push(Event {
            id,
            name,
            sequence,
            created_at: at,
            data,
            webhooks,
            synchronous,
            number_webhook_calls,
            faults,
        });
    }
}

#[cfg(test)]
#[path = "transitions_tests.rs"]
mod tests;
