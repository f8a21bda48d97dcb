//! The transitions of an inbound call. It is stored once the decision about it is made, so its first write is one of
//! the first two transitions.

use super::{Conversation, InvalidTransition, RejectReason, Transition};
use crate::{
    agents::AgentConfig,
    conversations::{LegId, LegState, State},
    costs::Prices,
    event_names::EventName,
    events::NumberWebhookCall,
    time::Timestamp,
};

impl Conversation {
    /// An agent takes the call. The token with this hash will admit the media stream. `number_webhook_calls` and
    /// `faults` are for the event log: the calls of the number's webhooks, which chose the agent, and their faults.
    pub fn accept_inbound(
        &self,
        agent: &AgentConfig,
        media_token_sha256: String,
        number_webhook_calls: Vec<NumberWebhookCall>,
        faults: Vec<String>,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let mut next = self.arrived(agent, number_webhook_calls, faults)?;
        let leg = next.conversation.legs.caller_mut();
        leg.state = LegState::Answered { answered_at: now };
        leg.media_token_sha256 = Some(media_token_sha256);
        next.emit(agent, now, EventName::Accepted, self.phone_call_data(LegId::CALLER));
        Ok(next)
    }

    /// The call is turned away. It is not answered and costs nothing.
    pub fn reject_inbound(
        &self,
        agent: &AgentConfig,
        reason: RejectReason,
        number_webhook_calls: Vec<NumberWebhookCall>,
        faults: Vec<String>,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let arrived = self.arrived(agent, number_webhook_calls, faults)?;
        let (conversation, prices) = (&arrived.conversation, Prices::default());
        let ended = conversation.close(agent, Some(reason), reason.ended_reason(), &[], &prices, now);
        let version = conversation.version;
        let events = arrived.events.into_iter().chain(ended.events).collect();
        let conversation = Self { version, ..ended.conversation };
        Ok(Transition { conversation, events, messages: vec![] })
    }

    /// The leg was answered, and the carrier asks again how to treat the call, since our response was lost: the token
    /// with this hash will admit the stream, and no earlier one will.
    pub fn replace_media_token(
        &self,
        leg: LegId,
        media_token_sha256: String,
    ) -> Result<Transition, InvalidTransition> {
        let State::Connecting = self.state else { return Err(InvalidTransition) };
        self.changed_leg(leg, |leg| {
            let LegState::Answered { .. } = leg.state else { return Err(InvalidTransition) };
            leg.media_token_sha256 = Some(media_token_sha256);
            Ok(())
        })
    }

    fn arrived(
        &self,
        agent: &AgentConfig,
        number_webhook_calls: Vec<NumberWebhookCall>,
        faults: Vec<String>,
    ) -> Result<Transition, InvalidTransition> {
        let LegState::Ringing { .. } = self.legs.caller().state else { return Err(InvalidTransition) };
        let mut next = self.changed(self.state.clone());
        // The number's webhooks received this event already, before it was stored.
        let data = self.phone_call_data(LegId::CALLER);
        next.emit(agent, self.created_at, EventName::ConnectionRequested, data);
        if let Some(event) = next.events.last_mut() {
            event.number_webhook_calls = number_webhook_calls;
            event.faults.splice(0..0, faults);
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        carriers::{CarrierCallId, CarrierName},
        conversations::{ConversationType, EndedReason, Status},
        hooks::{Hook, Instruction},
        ids::{AccountId, ConversationId},
        limits::Slots,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000 + seconds * 1_000)
    }

    fn call() -> CarrierCallId {
        CarrierCallId::new(CarrierName::default(), "CA1").unwrap()
    }

    fn ringing() -> Conversation {
        let (id, account) = (ConversationId::new(at(0), 1), AccountId::new(at(0), 2));
        let (to, from) = ("+14155550199".parse().unwrap(), "+14155550100".parse().unwrap());
        Conversation::inbound(id, account, to, from, call(), at(0))
    }

    fn names(transition: &Transition) -> Vec<EventName> {
        transition.events.iter().map(|event| event.name).collect()
    }

    #[test]
    fn an_accepted_call_waits_for_its_stream_and_takes_a_slot() {
        let agent = AgentConfig::default();
        let taken =
            ringing().accept_inbound(&agent, "hash".into(), vec![], vec!["a note".into()], at(2)).unwrap();
        assert_eq!(names(&taken), [EventName::ConnectionRequested, EventName::Accepted]);
        assert_eq!(taken.events[0].faults, ["a note"]);
        let conversation = taken.conversation;
        assert_eq!(conversation.kind, ConversationType::InboundPhoneCall);
        assert_eq!((conversation.slots().inbound, conversation.status()), (1, Status::Queued));
        assert_eq!(conversation.answered_at(), Some(at(2)));
        assert_eq!(conversation.due_at(), Some(at(62)));
        let started = conversation.mark_started(LegId::CALLER, &agent, &call(), at(3)).unwrap();
        assert_eq!(names(&started), [EventName::Started]);
        assert_eq!(
            conversation.accept_inbound(&agent, "hash".into(), vec![], vec![], at(3)),
            Err(InvalidTransition)
        );
        let again = conversation.replace_media_token(LegId::CALLER, "other".into()).unwrap();
        assert_eq!(again.conversation.legs.caller().media_token_sha256.as_deref(), Some("other"));
        assert_eq!(
            started.conversation.replace_media_token(LegId::CALLER, "other".into()),
            Err(InvalidTransition)
        );
    }

    #[test]
    fn a_rejected_call_ends_with_its_first_write() {
        let agent = AgentConfig::default();
        for (reason, ended) in
            [(RejectReason::HungUp, EndedReason::AgentEnded), (RejectReason::Failed, EndedReason::Unknown)]
        {
            let before = ringing();
            let over = before.reject_inbound(&agent, reason, vec![], vec![], at(1)).unwrap();
            let events = [EventName::ConnectionRequested, EventName::Rejected, EventName::Ended];
            assert_eq!(names(&over), events);
            assert_eq!(over.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
            let (at_end, why, cost) = over.conversation.ended().unwrap();
            assert_eq!((at_end, why, cost.total.to_f64()), (at(1), ended, 0.0));
            assert_eq!(
                (over.conversation.slots(), over.conversation.version),
                (Slots::default(), before.version + 1)
            );
            assert_eq!(over.conversation.next_sequence, 4);
        }
    }

    #[test]
    fn a_hook_may_hang_up_on_an_inbound_call() {
        let hook = Hook {
            events: vec![EventName::ConnectionRequested],
            filter: None,
            instructions: vec![Instruction::HangUp],
        };
        let agent = AgentConfig { hooks: vec![hook], ..AgentConfig::default() };
        assert!(ringing().hook_hangs_up(&agent, EventName::ConnectionRequested));
    }
}
