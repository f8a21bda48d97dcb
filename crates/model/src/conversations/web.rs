//! Calls from a browser. It opens the media stream itself, with a URL that holds a one-use token, so there is no carrier
//! and nothing rings: the leg counts as answered from the beginning.
//!
//! Each admitted stream replaces the token. The browser gets the new one at once, and resumes the call with it after its
//! socket broke or its worker stopped.

use std::time::Duration;

use serde_json::Value;

use super::{Conversation, ConversationType, InvalidTransition, Leg, LegId, Legs, State, Transition};
use crate::{
    agents::AgentConfig,
    costs::Usage,
    event_names::EventName,
    ids::{AccountId, AgentId, ConversationId},
    time::Timestamp,
};

/// Time in which the browser may open the media stream.
pub const WEB_URL_VALIDITY: Duration = Duration::from_mins(1);
/// Minimum time in which the browser may resume the call after its socket broke.
pub const WEB_RESUME: Duration = Duration::from_secs(30);
/// Maximum number of times that a browser resumes a call.
pub const MAX_WEB_RESUMES: u32 = 100;

impl Conversation {
    /// A new call from a browser, whose first media stream the token with this hash admits.
    #[must_use]
    pub fn web(
        id: ConversationId,
        account_id: AccountId,
        agent_id: Option<AgentId>,
        media_token_sha256: String,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            account_id,
            kind: ConversationType::WebCall,
            agent_id,
            legs: Legs::new(Leg::browser(now, media_token_sha256)),
            created_at: now,
            expires_at: None,
            state: State::Connecting,
            signals: super::WorkerSignals::default(),
            usage: Usage::default(),
            failed_filters: std::collections::BTreeSet::new(),
            next_sequence: 1,
            next_message: 1,
            version: 1,
            takeovers: 0,
        }
    }

    /// The time until which the browser may open the first media stream.
    #[must_use]
    pub fn web_url_expires_at(&self) -> Timestamp {
        self.created_at.after(WEB_URL_VALIDITY)
    }

    /// A worker admitted a media stream of a browser: media flows. Its token is used up, and the one with the hash
    /// `next_token_sha256` takes its place.
    pub fn mark_web_admitted(
        &self,
        leg: LegId,
        agent: &AgentConfig,
        next_token_sha256: String,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let is_first = match self.state {
            State::Connecting if now < self.web_url_expires_at() => true,
            State::Started { .. } => false,
            State::Queued | State::Connecting | State::Ended { .. } => return Err(InvalidTransition),
        };
        let mut next = self.changed_leg(leg, |leg| {
            if !leg.is_browser() || !leg.is_live() || leg.resumes >= MAX_WEB_RESUMES {
                return Err(InvalidTransition);
            }
            leg.resumes += u32::from(!is_first);
            leg.media_token_sha256 = Some(next_token_sha256);
            Ok(())
        })?;
        if is_first {
            next.conversation.state = State::Started { started_at: now };
            next.emit(agent, now, EventName::Started, Value::Null);
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        carriers::{CarrierCallId, CarrierName},
        conversations::{EndedReason, Lease, Snapshot, Status, summary_at},
        costs::Prices,
        limits::Slots,
        sweep::{Case, Verdict},
    };

    const LEG: LegId = LegId::CALLER;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000 + seconds * 1_000)
    }

    fn new() -> Conversation {
        let (id, account) = (ConversationId::new(at(0), 1), AccountId::new(at(0), 2));
        Conversation::web(id, account, None, "first".into(), at(0))
    }

    fn started() -> Conversation {
        new().mark_web_admitted(LEG, &AgentConfig::default(), "second".into(), at(5)).unwrap().conversation
    }

    fn verdict(conversation: Conversation, lease: Option<&Lease>, now: Timestamp) -> Verdict {
        let snapshot = Snapshot { conversation, agent: AgentConfig::default() };
        let prices = Prices { agent_per_minute: "0.06".parse().unwrap() };
        Case { snapshot: &snapshot, lease, messages: &[], carrier: None, prices: &prices }.verdict(now)
    }

    fn ended(verdict: Verdict) -> (Timestamp, EndedReason) {
        let Verdict::End { hang_up: false, change } = verdict else { panic!("{verdict:?}") };
        let (at, reason, cost) = change.conversation.ended().unwrap();
        assert_eq!(cost.telephony, None);
        assert_eq!(change.conversation.slots(), Slots::default());
        assert_eq!(change.events.last().unwrap().name, EventName::Ended);
        assert!(
            change.events.iter().all(|event| event.name != EventName::Rejected),
            "no phone call is rejected"
        );
        (at, reason)
    }

    #[test]
    fn it_waits_for_its_stream_and_takes_a_slot_of_inbound_calls() {
        let conversation = new();
        assert_eq!((conversation.kind, conversation.status()), (ConversationType::WebCall, Status::Queued));
        assert_eq!(conversation.slots(), Slots { inbound: 1, ..Slots::default() });
        assert_eq!(conversation.due_at(), Some(at(60)));
        assert_eq!(conversation.legs.invited("first").map(|leg| leg.id), Some(LEG));
        let summary = summary_at(EventName::Started, &conversation, &AgentConfig::default());
        assert_eq!((&summary["type"], &summary["phone_call"]), (&"web_call".into(), &Value::Null));
    }

    #[test]
    fn its_first_stream_starts_it_and_replaces_the_token() {
        let agent = AgentConfig::default();
        let begun = new().mark_web_admitted(LEG, &agent, "second".into(), at(59)).unwrap();
        assert_eq!(begun.events.iter().map(|event| event.name).collect::<Vec<_>>(), [EventName::Started]);
        let conversation = begun.conversation;
        assert_eq!((conversation.started_at(), conversation.legs.caller().resumes), (Some(at(59)), 0));
        assert!(
            conversation.legs.invited("first").is_none() && conversation.legs.invited("second").is_some()
        );
        assert_eq!(
            new().mark_web_admitted(LEG, &agent, "second".into(), at(60)),
            Err(InvalidTransition),
            "its URL has expired"
        );
    }

    #[test]
    fn it_is_resumed_again_and_again_but_not_for_ever() {
        let (agent, mut conversation) = (AgentConfig::default(), started());
        for resumes in 1..=MAX_WEB_RESUMES {
            let resumed = conversation.mark_web_admitted(LEG, &agent, resumes.to_string(), at(90)).unwrap();
            assert_eq!(resumed.events, []);
            conversation = resumed.conversation;
            assert_eq!(
                (conversation.started_at(), conversation.legs.caller().resumes),
                (Some(at(5)), resumes)
            );
        }
        assert_eq!(
            conversation.mark_web_admitted(LEG, &agent, "more".into(), at(90)),
            Err(InvalidTransition)
        );
    }

    #[test]
    fn no_report_and_no_stream_of_a_carrier_changes_it() {
        let call = CarrierCallId::new(CarrierName::default(), "CA1").unwrap();
        assert_eq!(started().legs.of_call(&call), None);
        let (to, from) = ("+14155550199".parse().unwrap(), "+14155550100".parse().unwrap());
        let phone = Conversation::outbound(new().id, new().account_id, None, to, from, at(0));
        let agent = AgentConfig::default();
        let dialing = phone.mark_dialing(LEG, &agent, "token".into(), at(1)).unwrap().conversation;
        assert_eq!(
            dialing.mark_web_admitted(LEG, &agent, "next".into(), at(2)),
            Err(InvalidTransition),
            "nor does a browser change a phone call"
        );
    }

    #[test]
    fn the_sweeper_ends_one_that_was_never_opened() {
        assert_eq!(verdict(new(), None, at(59)), Verdict::Nothing);
        assert_eq!(ended(verdict(new(), None, at(61))), (at(0), EndedReason::Unknown));
    }

    #[test]
    fn one_that_is_not_resumed_ends_with_its_user() {
        // Its worker gave the lease back when the socket broke.
        let lease = Lease { until: at(120), ..Lease::new("worker".into(), at(100)) };
        assert_eq!(verdict(started(), Some(&lease), at(119)), Verdict::Nothing);
        assert_eq!(verdict(started(), Some(&lease), at(121)), Verdict::Wait(at(130)));
        assert_eq!(ended(verdict(started(), Some(&lease), at(131))), (at(100), EndedReason::UserEnded));
    }

    #[test]
    fn one_whose_worker_died_ends_as_unknown() {
        let lease = Lease { last_seen_at: at(116), ..Lease::new("worker".into(), at(100)) };
        assert_eq!(ended(verdict(started(), Some(&lease), at(161))), (at(116), EndedReason::Unknown));
        let requested = started().request_end(at(110)).unwrap().conversation;
        assert_eq!(ended(verdict(requested, Some(&lease), at(161))), (at(116), EndedReason::AgentEnded));
    }

    #[test]
    fn it_ends_before_its_stream_without_a_rejection() {
        let agent = AgentConfig::default();
        let (usage, prices) = (Usage::default(), Prices::default());
        let end = new().end(&agent, EndedReason::AgentEnded, &[], &usage, &prices, at(3)).unwrap();
        assert_eq!(end.events.iter().map(|event| event.name).collect::<Vec<_>>(), [EventName::Ended]);
        assert_eq!(end.conversation.legs.invited("first"), None);
    }

    #[test]
    fn it_is_stored_and_read_back() {
        let stored = serde_json::to_value(started()).unwrap();
        assert_eq!(serde_json::from_value::<Conversation>(stored).unwrap(), started());
    }
}
