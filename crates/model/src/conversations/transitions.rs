//! The transitions of a conversation. Each is a pure function that returns the new conversation with events and
//! messages.

mod calls;
mod inbound;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Conversation, EndedReason, Leg, LegId, LegRole, LegState, MAX_RESUMES, PhoneCallView, Quality, Reconnect,
    State,
};
use crate::{
    agents::AgentConfig,
    carriers::CarrierCallId,
    catalogue::StandIn,
    costs::{Prices, Usage},
    event_names::EventName,
    events::{Event, Recipients},
    ids::EventId,
    messages::Message,
    time::Timestamp,
};

/// The state of the conversation does not allow the transition. The caller writes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the conversation's state does not allow this transition")]
pub struct InvalidTransition;

/// The result of a transition. The table writes all of it or nothing.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Transition {
    /// The conversation afterwards. Its `version` is one more than before.
    pub conversation: Conversation,
    /// The new events, in order, numbered without gaps.
    pub events: Vec<Event>,
    /// The new messages with their numbers in the conversation, from 1.
    pub messages: Vec<(u64, Message)>,
}

/// An event that the worker records while the conversation is live.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalEntry {
    /// The time.
    pub at: Timestamp,
    /// The event's name.
    pub name: EventName,
    /// The event's data, without the message.
    pub data: Value,
    /// The message that enters the conversation with it.
    pub message: Option<Message>,
    /// Provider faults before the event. For the event log only; never delivered.
    pub faults: Vec<String>,
}

/// The reason for which a call was not taken, in the words of `phone_call:rejected`.
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
    /// The account was at its limit of inbound calls.
    Limit,
}

impl JournalEntry {
    /// The data of its event, with the message.
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
            Self::NoAnswer | Self::Failed | Self::Limit => EndedReason::Unknown,
        }
    }
}

impl Conversation {
    /// The voice, or its stand-in, synthesized so many characters for a call that is still queued.
    pub fn record_prepared(
        &self,
        stand_in: Option<&StandIn>,
        characters: u64,
    ) -> Result<Transition, InvalidTransition> {
        // Later the worker counts, and a number that is added beside its count would be lost.
        let State::Queued = self.state else { return Err(InvalidTransition) };
        let mut next = self.changed(self.state.clone());
        next.conversation.usage.of(stand_in).characters += characters;
        Ok(next)
    }

    /// Media flows on the leg. The stream may be faster than the callback that reports the answer: then it stands for
    /// the answer, and `phone_call:accepted` still comes first.
    pub fn mark_started(
        &self,
        leg: LegId,
        agent: &AgentConfig,
        call: &CarrierCallId,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let State::Connecting = self.state else { return Err(InvalidTransition) };
        let mut is_answer = false;
        let mut next = self.changed_leg(leg, |leg| {
            match leg.state {
                LegState::Dialing { .. } | LegState::Ringing { .. } => {
                    is_answer = true;
                    leg.state = LegState::Answered { answered_at: now };
                }
                LegState::Answered { .. } => {}
                LegState::Waiting | LegState::Ended { .. } => return Err(InvalidTransition),
            }
            leg.media_token_sha256 = None;
            leg.reconnect = None;
            leg.set_call_id(call);
            Ok(())
        })?;
        next.conversation.state = State::Started { started_at: now };
        if is_answer {
            next.emit(agent, now, EventName::Accepted, self.phone_call_data(leg));
        }
        next.emit(agent, now, EventName::Started, Value::Null);
        Ok(next)
    }

    /// The leg's media stream closed, and the carrier asks how the call goes on: it is to connect another stream, which
    /// the token with this hash will admit. The same for a call whose media has not begun: its stream was refused, perhaps
    /// before the callback that reports the answer. The carrier is to pause until [`Leg::reconnect`] says, longer after each
    /// stream that no worker admitted.
    pub fn begin_resume(
        &self,
        leg: LegId,
        media_token_sha256: String,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let has_begun = match self.state {
            State::Started { .. } => true,
            State::Connecting => false,
            State::Queued | State::Ended { .. } => return Err(InvalidTransition),
        };
        self.changed_leg(leg, |leg| {
            let is_ended = matches!(leg.state, LegState::Waiting | LegState::Ended { .. });
            if is_ended || leg.resumes >= MAX_RESUMES {
                return Err(InvalidTransition);
            }
            leg.resumes += 1;
            // The token of the stream before was never used.
            let failed = match leg.reconnect {
                Some(before) if leg.media_token_sha256.is_some() => before.failed + 1,
                _ => 0,
            };
            leg.reconnect = Some(Reconnect::next(failed, has_begun, now).0);
            leg.media_token_sha256 = Some(media_token_sha256);
            Ok(())
        })
    }

    /// A worker admitted another stream of a live leg; the token is used up.
    pub fn mark_resumed(&self, leg: LegId) -> Result<Transition, InvalidTransition> {
        let State::Started { .. } = self.state else { return Err(InvalidTransition) };
        self.changed_leg(leg, |leg| {
            leg.reconnect = None;
            leg.media_token_sha256.take().map(drop).ok_or(InvalidTransition)
        })
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

    /// The worker appends its journal.
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

    /// Like [`append`](Self::append), for entries whose recipients are known: filters are evaluated once per event.
    pub fn append_matched(
        &self,
        agent: &AgentConfig,
        entries: &[(JournalEntry, Recipients)],
        usage: &Usage,
    ) -> Result<Transition, InvalidTransition> {
        let State::Started { .. } = self.state else { return Err(InvalidTransition) };
        let mut next = self.changed(self.state.clone());
        next.conversation.usage = usage.clone();
        for (entry, recipients) in entries {
            next.add_one(agent, entry, Some(recipients.clone()));
        }
        Ok(next)
    }

    /// The call of the caller's leg was never taken: one `phone_call:rejected`, then the end.
    pub fn reject(
        &self,
        leg: LegId,
        agent: &AgentConfig,
        reason: RejectReason,
        prices: &Prices,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let leg = self.legs.get(leg).ok_or(InvalidTransition)?;
        if leg.answered_at().is_some() || self.ended().is_some() {
            return Err(InvalidTransition);
        }
        match leg.role {
            LegRole::Caller => Ok(self.close(agent, Some(reason), reason.ended_reason(), &[], prices, now)),
        }
    }

    /// The conversation is over, with the last `entries` and the final `usage` of its worker. Before the answer this
    /// is a rejection.
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
        // A call that was not taken costs the carrier's price only. The clips that were synthesized for it serve the
        // next one.
        let usage = if rejected.is_some() { Usage::default() } else { self.usage.clone() };
        let over = Self { usage, ..self.clone() };
        let cost = over.cost(agent, prices, now);
        let mut next = over.changed(State::Ended {
            started_at: self.started_at(),
            ended_at: now,
            ended_reason,
            cost: Box::new(cost),
            quality: None,
        });
        next.conversation.legs.iter_mut().for_each(|leg| leg.end(now));
        next.add(agent, entries);
        if rejected == Some(RejectReason::HungUp) && matches!(self.state, State::Queued) {
            // The hook acted on this event, which the dialling would have caused.
            next.emit(agent, now, EventName::ConnectionRequested, self.phone_call_data(LegId::CALLER));
        }
        if let Some(reason) = rejected {
            let mut data = self.phone_call_data(LegId::CALLER);
            data["reason"] = json!(reason);
            next.emit(agent, now, EventName::Rejected, data);
        }
        next.emit(agent, now, EventName::Ended, json!({ "ended_reason": ended_reason }));
        next
    }

    /// The data of an event about the call of a leg.
    #[must_use]
    pub fn phone_call_data(&self, leg: LegId) -> Value {
        let call = self.legs.get(leg).and_then(|leg| leg.phone_call.as_ref());
        json!({ "phone_call": call.map(PhoneCallView::from) })
    }

    /// Changes a leg of a conversation that has not ended, and nothing else.
    pub(super) fn changed_leg(
        &self,
        leg: LegId,
        change: impl FnOnce(&mut Leg) -> Result<(), InvalidTransition>,
    ) -> Result<Transition, InvalidTransition> {
        if self.ended().is_some() {
            return Err(InvalidTransition);
        }
        let mut next = self.changed(self.state.clone());
        change(next.conversation.legs.get_mut(leg).ok_or(InvalidTransition)?)?;
        Ok(next)
    }

    fn changed(&self, state: State) -> Transition {
        let conversation = Self { state, version: self.version + 1, ..self.clone() };
        Transition { conversation, events: vec![], messages: vec![] }
    }
}

impl Transition {
    /// Adds faults to the last of its events, for the event log.
    pub fn with_faults(mut self, faults: Vec<String>) -> Self {
        if let Some(last) = self.events.last_mut() {
            last.faults.extend(faults);
        }
        self
    }

    /// Adds the quality to the end of a conversation that had started.
    pub fn with_quality(mut self, measured: Option<Quality>) -> Self {
        if let State::Ended { started_at: Some(_), quality, .. } = &mut self.conversation.state {
            *quality = measured.map(Box::new);
        }
        self
    }

    /// Moves the end back to `ended_at`, the time at which the conversation was over, and counts duration and cost to
    /// then. The events keep the time at which the end was noticed.
    pub fn backdated(mut self, agent: &AgentConfig, prices: &Prices, ended_at: Timestamp) -> Self {
        self.conversation.legs.iter_mut().for_each(|leg| leg.backdate(ended_at));
        let counted = self.conversation.cost(agent, prices, ended_at);
        if let State::Ended { ended_at: at, cost, .. } = &mut self.conversation.state {
            *at = ended_at;
            **cost = counted;
        }
        self
    }

    fn add(&mut self, agent: &AgentConfig, entries: &[JournalEntry]) {
        for entry in entries {
            self.add_one(agent, entry, None);
        }
    }

    fn add_one(&mut self, agent: &AgentConfig, entry: &JournalEntry, recipients: Option<Recipients>) {
        if let Some(message) = &entry.message {
            self.messages.push((self.conversation.next_message, message.clone()));
            self.conversation.next_message += 1;
        }
        let (place, data) = (self.events.len(), entry.event_data());
        let matches = recipients.unwrap_or_else(|| self.conversation.recipients(agent, entry.name, &data));
        self.emit_matched(entry.at, entry.name, data, matches);
        if let Some(event) = self.events.get_mut(place) {
            event.faults.extend(entry.faults.iter().cloned());
        }
    }

    pub(super) fn emit(&mut self, agent: &AgentConfig, at: Timestamp, name: EventName, data: Value) {
        let matches = self.conversation.recipients(agent, name, &data);
        self.emit_matched(at, name, data, matches);
    }

    fn emit_matched(&mut self, at: Timestamp, name: EventName, data: Value, matches: Recipients) {
        let conversation = &mut self.conversation;
        if !matches.stores(name) {
            return;
        }
        let sequence = conversation.next_sequence;
        conversation.next_sequence += 1;
        conversation.takeovers = 0;
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
