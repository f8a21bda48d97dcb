//! The legs of a conversation: its connections to people.
//!
//! Each leg has its own life: `waiting -> dialing -> ringing -> answered -> ended`. The first leg is the caller's, and
//! today it is the only one. A carrier's report addresses a leg ([`Legs::of_call`]).

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    carriers::{CarrierCallId, CarrierName},
    phone_numbers::E164,
    time::Timestamp,
};

/// The number of a leg in its conversation, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LegId(u32);

impl LegId {
    /// The leg that every conversation begins with.
    pub const CALLER: Self = Self(1);
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part that the person on a leg has in the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegRole {
    /// The person that the agent talks with, regardless of which side placed the call.
    Caller,
}

/// The state of a leg, with the facts that are true there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LegState {
    /// Not handed to the carrier yet.
    Waiting,
    /// Handed to the carrier. The carrier's response may be lost or still to come.
    Dialing {
        /// The time at which the dialer marked it.
        dialed_at: Timestamp,
    },
    /// The other side's phone rings.
    Ringing {
        /// The time at which the call was handed to the carrier, or came in.
        dialed_at: Timestamp,
    },
    /// The other side answered.
    Answered {
        /// The time of the answer.
        answered_at: Timestamp,
    },
    /// The connection is over.
    Ended {
        /// The time of the answer; none if the other side did not answer.
        answered_at: Option<Timestamp>,
        /// The time of the end.
        ended_at: Timestamp,
    },
}

/// One connection of a conversation to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// Its number in the conversation.
    pub id: LegId,
    /// The part of its person.
    pub role: LegRole,
    /// Its state.
    #[serde(flatten)]
    pub state: LegState,
    /// The carrier's call; none for a browser.
    pub phone_call: Option<PhoneCall>,
    /// SHA-256 of the one-use token that admits its media stream; none once the token was used.
    pub media_token_sha256: Option<String>,
    /// How often it was connected to another worker.
    pub resumes: u32,
    /// The last time at which the carrier was known to get on with it before the answer: it waited in the carrier's own
    /// queue, or began to ring. None: not since it was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progressed_at: Option<Timestamp>,
    /// The stream that the carrier was last told to connect again, until a worker admits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnect: Option<Reconnect>,
    /// The carrier's report of its end, while a worker holds the conversation. The worker reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_end: Option<ReportedEnd>,
}

/// A stream that the carrier was told to connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconnect {
    /// The streams before it that no worker admitted, one after the other.
    pub failed: u32,
    /// When the carrier connects it: after a pause.
    pub at: Timestamp,
}

/// Time within which a worker admits a stream once the carrier connects it, or the carrier asks again.
const CONNECTS_WITHIN: Duration = Duration::from_secs(30);
/// The pause before each attempt of a live call: at once if its worker handed it over or died, then in growing steps, 90 s
/// in all, in which a container starts.
const LIVE_PAUSES: [u64; 5] = [0, 2, 8, 20, 60];
/// The pause before each attempt of a call that nobody has talked on yet: its first stream was refused. The person hears
/// silence meanwhile, and does not wait for long.
const FIRST_PAUSES: [u64; 5] = [1, 1, 2, 4, 8];

impl Reconnect {
    /// The next attempt after `failed` ones, at `now`. Returns the pause before it.
    pub(super) fn next(failed: u32, has_begun: bool, now: Timestamp) -> (Self, Duration) {
        let pauses = if has_begun { LIVE_PAUSES } else { FIRST_PAUSES };
        let at = usize::try_from(failed).unwrap_or(usize::MAX).min(pauses.len() - 1);
        let pause = Duration::from_secs(pauses[at]);
        (Self { failed, at: now.after(pause) }, pause)
    }

    /// The time until which a call waits for it.
    #[must_use]
    pub fn deadline(self) -> Timestamp {
        self.at.after(CONNECTS_WITHIN)
    }
}

/// The carrier's call of a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneCall {
    /// The side that placed it.
    pub direction: Direction,
    /// The called number.
    pub to_number: E164,
    /// The calling number.
    pub from_number: E164,
    /// Whether it goes through the customer's own account at the carrier: our number was imported from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
    /// The carrier's id of it, once it is known.
    pub carrier_call_id: Option<CarrierCallId>,
    /// The verdict of the carrier's answering machine detection (`human`, `machine_start`, ...), if there is one.
    pub answered_by: Option<String>,
}

impl PhoneCall {
    /// The carrier that connects it; before the carrier has given it an id, the one that will.
    #[must_use]
    pub fn carrier(&self) -> CarrierName {
        self.carrier_call_id.as_ref().map_or_else(CarrierName::default, |call| call.carrier)
    }
}

/// The side that placed a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A person called one of our numbers.
    Inbound,
    /// We called a person.
    Outbound,
}

/// The carrier's report that a call is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedEnd {
    /// The time at which the report arrived.
    pub at: Timestamp,
    /// Seconds from the answer to the end by the carrier's count, if it gave one.
    pub seconds: Option<u64>,
}

impl Leg {
    pub(super) fn caller(state: LegState, phone_call: PhoneCall) -> Self {
        Self {
            id: LegId::CALLER,
            role: LegRole::Caller,
            state,
            phone_call: Some(phone_call),
            media_token_sha256: None,
            resumes: 0,
            progressed_at: None,
            reconnect: None,
            reported_end: None,
        }
    }

    /// The caller's leg in a browser, which the token with this hash will admit.
    pub(super) fn browser(answered_at: Timestamp, media_token_sha256: String) -> Self {
        Self {
            id: LegId::CALLER,
            role: LegRole::Caller,
            state: LegState::Answered { answered_at },
            phone_call: None,
            media_token_sha256: Some(media_token_sha256),
            resumes: 0,
            progressed_at: None,
            reconnect: None,
            reported_end: None,
        }
    }

    /// Whether it is a browser's.
    #[must_use]
    pub fn is_browser(&self) -> bool {
        self.phone_call.is_none()
    }

    /// The time of the answer, if the other side answered.
    #[must_use]
    pub fn answered_at(&self) -> Option<Timestamp> {
        match self.state {
            LegState::Waiting | LegState::Dialing { .. } | LegState::Ringing { .. } => None,
            LegState::Answered { answered_at } => Some(answered_at),
            LegState::Ended { answered_at, .. } => answered_at,
        }
    }

    /// Whether it was handed to the carrier and is not over.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.state, LegState::Waiting | LegState::Ended { .. })
    }

    /// The carrier's id of its call, once it is known.
    #[must_use]
    pub fn carrier_call_id(&self) -> Option<&CarrierCallId> {
        self.phone_call.as_ref()?.carrier_call_id.as_ref()
    }

    /// A callback may bring the id before the response to our own request does. The first id stays.
    pub(super) fn set_call_id(&mut self, call: &CarrierCallId) {
        if let Some(phone_call) = &mut self.phone_call {
            phone_call.carrier_call_id.get_or_insert_with(|| call.clone());
        }
    }

    /// Ends it at `now`, unless it has ended.
    pub(super) fn end(&mut self, now: Timestamp) {
        self.media_token_sha256 = None;
        if !matches!(self.state, LegState::Ended { .. }) {
            self.state = LegState::Ended { answered_at: self.answered_at(), ended_at: now };
        }
    }

    /// Moves a later end to `at`.
    pub(super) fn backdate(&mut self, at: Timestamp) {
        if let LegState::Ended { ended_at, .. } = &mut self.state {
            *ended_at = at.min(*ended_at);
        }
    }
}

impl PhoneCall {
    /// The number of the two that is the account's.
    #[must_use]
    pub fn own_number(&self) -> &E164 {
        match self.direction {
            Direction::Inbound => &self.to_number,
            Direction::Outbound => &self.from_number,
        }
    }
}

/// The legs of a conversation in the order of their ids; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Leg>", into = "Vec<Leg>")]
pub struct Legs {
    caller: Leg,
    others: Vec<Leg>,
}

/// A stored conversation has no legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a conversation has at least one leg")]
pub struct NoLegs;

impl Legs {
    pub(super) fn new(caller: Leg) -> Self {
        Self { caller, others: vec![] }
    }

    /// The first leg: the caller's.
    #[must_use]
    pub fn caller(&self) -> &Leg {
        &self.caller
    }

    /// The first leg: the caller's.
    pub fn caller_mut(&mut self) -> &mut Leg {
        &mut self.caller
    }

    /// The leg with this id.
    #[must_use]
    pub fn get(&self, id: LegId) -> Option<&Leg> {
        self.iter().find(|leg| leg.id == id)
    }

    pub(super) fn get_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.iter_mut().find(|leg| leg.id == id)
    }

    /// The leg that a report about `call` addresses: the one whose call has this id, or else the first whose id is not
    /// known yet. None if `call` is not a call of the conversation.
    #[must_use]
    pub fn of_call(&self, call: &CarrierCallId) -> Option<&Leg> {
        let is_unknown = |leg: &&Leg| leg.phone_call.is_some() && leg.carrier_call_id().is_none();
        self.iter().find(|leg| leg.carrier_call_id() == Some(call)).or_else(|| self.iter().find(is_unknown))
    }

    /// The leg whose media stream the token with this hash admits.
    #[must_use]
    pub fn invited(&self, token_sha256: &str) -> Option<&Leg> {
        self.iter().find(|leg| leg.media_token_sha256.as_deref() == Some(token_sha256))
    }

    /// All legs, the caller's first.
    pub fn iter(&self) -> impl Iterator<Item = &Leg> {
        std::iter::once(&self.caller).chain(&self.others)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        std::iter::once(&mut self.caller).chain(&mut self.others)
    }
}

impl TryFrom<Vec<Leg>> for Legs {
    type Error = NoLegs;

    fn try_from(legs: Vec<Leg>) -> Result<Self, NoLegs> {
        let mut legs = legs.into_iter();
        Ok(Self { caller: legs.next().ok_or(NoLegs)?, others: legs.collect() })
    }
}

impl From<Legs> for Vec<Leg> {
    fn from(Legs { caller, others }: Legs) -> Self {
        std::iter::once(caller).chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agents::AgentConfig,
        conversations::{Conversation, EndedReason},
        costs::Prices,
        ids::{AccountId, ConversationId},
        limits::Slots,
    };

    fn call(id: &str) -> CarrierCallId {
        CarrierCallId::new(CarrierName::default(), id).unwrap()
    }

    fn leg(id: u32, call: Option<CarrierCallId>) -> Leg {
        let phone_call = PhoneCall {
            direction: Direction::Outbound,
            to_number: "+14155550100".parse().unwrap(),
            from_number: "+14155550199".parse().unwrap(),
            imported: false,
            carrier_call_id: call,
            answered_by: None,
        };
        let state = LegState::Dialing { dialed_at: Timestamp::from_millis(0) };
        Leg { id: LegId(id), ..Leg::caller(state, phone_call) }
    }

    fn addressed(legs: &Legs, id: &str) -> Option<u32> {
        legs.of_call(&call(id)).map(|leg| leg.id.0)
    }

    #[test]
    fn a_report_addresses_the_leg_of_its_call() {
        let legs = Legs { caller: leg(1, Some(call("CA1"))), others: vec![leg(2, Some(call("CA2")))] };
        assert_eq!(addressed(&legs, "CA1"), Some(1));
        assert_eq!(addressed(&legs, "CA2"), Some(2));
        assert_eq!(addressed(&legs, "CA3"), None);
        let legs = Legs { caller: leg(1, Some(call("CA1"))), others: vec![leg(2, None)] };
        assert_eq!(addressed(&legs, "CA2"), Some(2), "its id is not known yet");
        assert_eq!(addressed(&legs, "CA1"), Some(1));
    }

    #[test]
    fn legs_are_stored_as_a_list() {
        let legs = Legs { caller: leg(1, Some(call("CA1"))), others: vec![leg(2, None)] };
        let stored = serde_json::to_value(&legs).unwrap();
        assert_eq!((&stored[0]["id"], &stored[1]["state"]), (&1.into(), &"dialing".into()));
        assert_eq!(serde_json::from_value::<Legs>(stored).unwrap(), legs);
        assert!(serde_json::from_str::<Legs>("[]").is_err());
    }

    #[test]
    fn a_second_leg_has_its_own_reports_slot_and_cost() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let (id, account) = (ConversationId::new(at(0), 1), AccountId::new(at(0), 2));
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        let (agent, prices) = (AgentConfig::default(), Prices::default());
        let one = Conversation::outbound(id, account, None, to, from, at(0));
        let one = one.mark_dialing(LegId::CALLER, &agent, "hash".into(), at(0)).unwrap().conversation;
        let mut both = one.mark_started(LegId::CALLER, &agent, &call("CA1"), at(0)).unwrap().conversation;
        both.legs.others.push(leg(2, None));
        assert_eq!(both.slots(), Slots { live: 2, ..Slots::default() });

        let addressed = both.legs.of_call(&call("CA2")).unwrap().id;
        let both = both.mark_answered(addressed, &agent, &call("CA2"), at(90)).unwrap().conversation;
        assert_eq!((both.legs.caller().answered_at(), both.answered_at()), (Some(at(0)), Some(at(0))));
        assert_eq!(both.legs.get(addressed).unwrap().answered_at(), Some(at(90)));

        let end = both.end(&agent, EndedReason::AgentEnded, &[], &both.usage, &prices, at(100)).unwrap();
        let (.., cost) = end.conversation.ended().unwrap();
        // Two started minutes and one, at 0.018 each.
        let telephony = cost.telephony.as_ref().unwrap();
        assert_eq!((telephony.ms, telephony.cost.to_string().as_str()), (110_000, "0.054000"));
        assert_eq!(end.conversation.slots(), Slots::default());
    }

    #[test]
    fn an_ended_leg_keeps_its_end() {
        let [first, second] = [1_000, 2_000].map(Timestamp::from_millis);
        let mut leg = leg(1, None);
        leg.end(first);
        leg.end(second);
        assert_eq!(leg.state, LegState::Ended { answered_at: None, ended_at: first });
    }
}
