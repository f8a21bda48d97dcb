//! The transitions that the carrier's call of a leg makes: dialled, placed, ringing, answered, over.

use super::{Conversation, InvalidTransition, Transition};
use crate::{
    agents::AgentConfig,
    carriers::CarrierCallId,
    conversations::{LegId, LegState, PhoneCall, ReportedEnd, State},
    event_names::EventName,
    time::Timestamp,
};

impl Conversation {
    /// The dialer hands a waiting leg to the carrier. From here on it counts as dialled, so that no second call is ever
    /// placed. The token with this hash will admit the leg's media stream.
    pub fn mark_dialing(
        &self,
        leg: LegId,
        agent: &AgentConfig,
        media_token_sha256: String,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let mut next = self.changed_leg(leg, |leg| {
            let LegState::Waiting = leg.state else { return Err(InvalidTransition) };
            leg.state = LegState::Dialing { dialed_at: now };
            leg.media_token_sha256 = Some(media_token_sha256);
            Ok(())
        })?;
        if let State::Queued = self.state {
            next.conversation.state = State::Connecting;
        }
        next.emit(agent, now, EventName::ConnectionRequested, self.phone_call_data(leg));
        Ok(next)
    }

    /// The carrier certainly did not take the call (it asked to come back later, or the connection to it never opened):
    /// the leg waits again. Its `connection_requested` stays in the log.
    pub fn return_to_queue(&self, leg: LegId) -> Result<Transition, InvalidTransition> {
        let mut next = self.changed_leg(leg, |leg| {
            if !matches!(leg.state, LegState::Dialing { .. }) || leg.carrier_call_id().is_some() {
                return Err(InvalidTransition);
            }
            leg.state = LegState::Waiting;
            leg.progressed_at = None;
            Ok(())
        })?;
        if let State::Connecting = self.state {
            next.conversation.state = State::Queued;
        }
        Ok(next)
    }

    /// The carrier took the call and named it.
    pub fn record_placed(&self, leg: LegId, call: &CarrierCallId) -> Result<Transition, InvalidTransition> {
        self.changed_leg(leg, |leg| {
            if !leg.is_live() || leg.carrier_call_id().is_some() {
                return Err(InvalidTransition);
            }
            leg.set_call_id(call);
            Ok(())
        })
    }

    /// The call waits in the carrier's own queue, which is not the same as a phone that nobody answers.
    pub fn record_carrier_queue(&self, leg: LegId, now: Timestamp) -> Result<Transition, InvalidTransition> {
        self.changed_leg(leg, |leg| {
            let LegState::Dialing { .. } = leg.state else { return Err(InvalidTransition) };
            leg.progressed_at = Some(now);
            Ok(())
        })
    }

    /// The other side's phone rings.
    pub fn mark_ringing(
        &self,
        leg: LegId,
        call: &CarrierCallId,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        self.changed_leg(leg, |leg| {
            let LegState::Dialing { dialed_at } = leg.state else { return Err(InvalidTransition) };
            leg.state = LegState::Ringing { dialed_at };
            leg.progressed_at = Some(now);
            leg.set_call_id(call);
            Ok(())
        })
    }

    /// The other side answered.
    pub fn mark_answered(
        &self,
        leg: LegId,
        agent: &AgentConfig,
        call: &CarrierCallId,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let mut next = self.changed_leg(leg, |leg| {
            let (LegState::Dialing { .. } | LegState::Ringing { .. }) = leg.state else {
                return Err(InvalidTransition);
            };
            leg.state = LegState::Answered { answered_at: now };
            leg.set_call_id(call);
            Ok(())
        })?;
        next.emit(agent, now, EventName::Accepted, self.phone_call_data(leg));
        Ok(next)
    }

    /// The carrier reports that the call of a leg is over whose media a worker holds. The worker reads the report.
    pub fn record_carrier_end(
        &self,
        leg: LegId,
        seconds: Option<u64>,
        now: Timestamp,
    ) -> Result<Transition, InvalidTransition> {
        let State::Started { .. } = self.state else { return Err(InvalidTransition) };
        self.changed_leg(leg, |leg| {
            if leg.reported_end.is_some() {
                return Err(InvalidTransition);
            }
            leg.reported_end = Some(ReportedEnd { at: now, seconds });
            Ok(())
        })
    }

    /// The carrier's answering machine detection gave its verdict on a leg. The first verdict counts.
    pub fn record_answered_by(
        &self,
        leg: LegId,
        call: &CarrierCallId,
        verdict: &str,
    ) -> Result<Transition, InvalidTransition> {
        self.changed_leg(leg, |leg| {
            let is_another = leg.carrier_call_id().is_some_and(|known| known != call);
            if !leg.is_live() || is_another {
                return Err(InvalidTransition);
            }
            leg.set_call_id(call);
            match &mut leg.phone_call {
                Some(PhoneCall { answered_by: answered_by @ None, .. }) => {
                    *answered_by = Some(verdict.to_owned());
                    Ok(())
                }
                _ => Err(InvalidTransition),
            }
        })
    }
}
