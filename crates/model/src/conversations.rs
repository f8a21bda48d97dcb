//! The life of a conversation: `queued -> connecting -> started -> ended`.
//!
//! While it is `connecting`, the caller's [`Leg`] is dialled, rings, or was answered.
//!
//! The dialer, the handlers of callbacks, the worker and the sweeper read a [`Conversation`], call a transition here,
//! and write the [`Transition`] in one conditional transaction. A transition that is no longer allowed returns
//! [`InvalidTransition`], so a repeated or late callback changes nothing. `transitions.rs` has all transitions.

mod cost;
mod lease;
mod legs;
mod progress;
mod quality;
mod recipients;
mod summary;
mod transitions;
mod web;

use std::{collections::BTreeSet, fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::lease::{Lease, UtteranceProgress};
pub use self::legs::{
    Direction, Leg, LegId, LegRole, LegState, Legs, NoLegs, PhoneCall, Reconnect, ReportedEnd,
};
pub use self::progress::Progress;
pub use self::quality::{Backchannels, Noises, Quality, ResponseTimes, Silence, SilentSide, YieldTimes};
pub use self::summary::{PhoneCallView, summary_at};
pub use self::transitions::{InvalidTransition, JournalEntry, RejectReason, Transition};
pub use self::web::{MAX_WEB_RESUMES, WEB_RESUME, WEB_URL_VALIDITY};
use crate::{
    agents::AgentConfig,
    audio::AudioFormat,
    carriers::CarrierCallId,
    costs::{CostBreakdown, Usage},
    ids::{AccountId, AgentId, ConversationId},
    limits::Slots,
    phone_numbers::E164,
    time::Timestamp,
};

/// Maximum time that a call waits to be dialled.
pub const QUEUED: Duration = Duration::from_hours(1);
/// Time after which a waiting call is looked at, in case that its message was lost or no freed slot woke it.
pub const WAITING: Duration = Duration::from_mins(2);
/// Maximum time that the other side's phone rings. The carrier gets this limit, and then gives up.
pub const RING: Duration = Duration::from_mins(1);
/// Maximum time from dialling to the answer: ringing, and a minute for the carrier's report.
const DIALED: Duration = Duration::from_mins(2);
/// Maximum time from the answer to media. The carrier connects the stream in a second.
const ANSWERED: Duration = Duration::from_mins(1);
/// Maximum time that the worker takes to end a conversation after the carrier reported the end of its call.
const CARRIER_ENDED: Duration = Duration::from_secs(20);
/// Maximum number of times that a leg is connected to another worker. A call that needs more has a fault that would
/// never end.
pub const MAX_RESUMES: u32 = 5;

/// How a conversation came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationType {
    /// A caller dialled one of our numbers.
    InboundPhoneCall,
    /// We called a phone number.
    OutboundPhoneCall,
    /// A browser.
    WebCall,
}

impl ConversationType {
    /// The format of the recording, whatever the format of a stream: all streams of a conversation share one recording.
    #[must_use]
    pub const fn recording_format(self) -> AudioFormat {
        match self {
            Self::InboundPhoneCall | Self::OutboundPhoneCall => AudioFormat::TELEPHONE,
            Self::WebCall => AudioFormat::WIDEBAND,
        }
    }
}

/// The state of a conversation, with the facts that are true there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Stored. The caller's leg waits to be dialled.
    Queued,
    /// The caller's leg is dialled, rings, or was answered; no media flows yet.
    Connecting,
    /// Media flows: agent and caller talk.
    Started {
        /// The time at which media began to flow.
        started_at: Timestamp,
    },
    /// Over. It never changes again.
    Ended {
        /// The time at which media began to flow, if it did.
        started_at: Option<Timestamp>,
        /// The time of the end.
        ended_at: Timestamp,
        /// The reason.
        ended_reason: EndedReason,
        /// The cost.
        cost: Box<CostBreakdown>,
        /// The quality, if a worker measured it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quality: Option<Box<Quality>>,
    },
}

/// The party or fault that ended a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndedReason {
    /// A hook's `hang_up`, the end route, the maximum duration.
    AgentEnded,
    /// The other side hung up or declined.
    UserEnded,
    /// Anything else: no answer, a carrier's failure, a lost worker.
    Unknown,
}

/// The API's name of a [`State`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not started yet.
    Queued,
    /// Media flows.
    Started,
    /// Over.
    Ended,
}

impl Status {
    /// All, in the order of a conversation's life.
    pub const ALL: [Self; 3] = [Self::Queued, Self::Started, Self::Ended];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Ended => "ended",
        }
    }
}

/// The signals that other processes leave while a worker holds the conversation. The worker reads them, and the
/// [`ReportedEnd`] of each leg.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSignals {
    /// The time of a request to end the conversation.
    pub end_requested_at: Option<Timestamp>,
}

/// A conversation. It is small, and every transition rewrites it, except for the events that a worker appends: they carry its
/// [`Progress`]. The agent's configuration, the messages and the events are items beside it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The account that owns it.
    pub account_id: AccountId,
    /// Its origin.
    #[serde(rename = "type")]
    pub kind: ConversationType,
    /// The stored agent; none if the configuration came with the request.
    pub agent_id: Option<AgentId>,
    /// Its connections to people.
    pub legs: Legs,
    /// The time of the request for it.
    pub created_at: Timestamp,
    /// The time at which the table removes it and all its items; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Its state.
    #[serde(flatten)]
    pub state: State,
    /// The signals for its worker.
    pub signals: WorkerSignals,
    /// The usage of the providers so far.
    pub usage: Usage,
    /// The owners of the filters that failed so far, such as `webhooks.0`. The event log has the first failure of each.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed_filters: BTreeSet<String>,
    /// The sequence of the next event, from 1.
    pub next_sequence: u64,
    /// The number of the next message, from 1.
    pub next_message: u64,
    /// The number of times that a worker took it over since its last event. It is a part of the place where the next event
    /// is stored, so that an earlier worker cannot store one there.
    #[serde(default, skip_serializing_if = "progress::is_zero")]
    pub takeovers: u32,
    /// Grows by one with every write, for optimistic concurrency.
    pub version: u64,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Conversation {
    /// A new outbound call. It waits to be dialled.
    #[must_use]
    pub fn outbound(
        id: ConversationId,
        account_id: AccountId,
        agent_id: Option<AgentId>,
        to_number: E164,
        from_number: E164,
        now: Timestamp,
    ) -> Self {
        let call = PhoneCall {
            direction: Direction::Outbound,
            to_number,
            from_number,
            imported: false,
            carrier_call_id: None,
            answered_by: None,
        };
        Self {
            id,
            account_id,
            kind: ConversationType::OutboundPhoneCall,
            agent_id,
            legs: Legs::new(Leg::caller(LegState::Waiting, call)),
            created_at: now,
            expires_at: None,
            state: State::Queued,
            signals: WorkerSignals::default(),
            usage: Usage::default(),
            failed_filters: BTreeSet::new(),
            next_sequence: 1,
            next_message: 1,
            takeovers: 0,
            version: 1,
        }
    }

    /// A new inbound call. It rings at `to_number`, which is ours.
    #[must_use]
    pub fn inbound(
        id: ConversationId,
        account_id: AccountId,
        to_number: E164,
        from_number: E164,
        carrier_call_id: CarrierCallId,
        now: Timestamp,
    ) -> Self {
        let call = PhoneCall {
            direction: Direction::Inbound,
            to_number: to_number.clone(),
            from_number: from_number.clone(),
            imported: false,
            carrier_call_id: Some(carrier_call_id),
            answered_by: None,
        };
        Self {
            kind: ConversationType::InboundPhoneCall,
            legs: Legs::new(Leg::caller(LegState::Ringing { dialed_at: now }, call)),
            state: State::Connecting,
            ..Self::outbound(id, account_id, None, to_number, from_number, now)
        }
    }

    /// Sets whether the caller's call goes through the customer's own account at the carrier: our number was `imported`
    /// from there.
    #[must_use]
    pub fn with_own_carrier(mut self, imported: bool) -> Self {
        if let Some(call) = &mut self.legs.caller_mut().phone_call {
            call.imported = imported;
        }
        self
    }

    /// Sets the time for which it is kept.
    #[must_use]
    pub fn with_retention(self, retention: Duration) -> Self {
        Self { expires_at: Some(self.created_at.after(retention)), ..self }
    }

    /// Whether its retention has passed. The table removes it some time later; no reader shows it meanwhile.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The API's name for the state.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.state {
            State::Queued | State::Connecting => Status::Queued,
            State::Started { .. } => Status::Started,
            State::Ended { .. } => Status::Ended,
        }
    }

    /// The time at which the caller answered, or at which we answered the caller; none before.
    #[must_use]
    pub fn answered_at(&self) -> Option<Timestamp> {
        self.legs.caller().answered_at()
    }

    /// The slots that it takes of its account's limits. A write of the conversation changes the account's counters in
    /// the same transaction, so that each slot is returned exactly once.
    #[must_use]
    pub fn slots(&self) -> Slots {
        self.legs.iter().fold(Slots::default(), |slots, leg| match leg.state {
            LegState::Waiting => Slots { waiting: slots.waiting + 1, ..slots },
            LegState::Ended { .. } => slots,
            LegState::Dialing { .. } | LegState::Ringing { .. } | LegState::Answered { .. } => {
                match self.kind {
                    ConversationType::OutboundPhoneCall => Slots { live: slots.live + 1, ..slots },
                    ConversationType::InboundPhoneCall | ConversationType::WebCall => {
                        Slots { inbound: slots.inbound + 1, ..slots }
                    }
                }
            }
        })
    }

    /// The time at which media began to flow, if it did.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Started { started_at, .. } => Some(started_at),
            State::Ended { started_at, .. } => started_at,
            _ => None,
        }
    }

    /// The deadline at which the sweeper acts, if nothing has changed by then. None after the end, and while media
    /// flows: then the worker's [`Lease`] is the deadline.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        let caller = self.legs.caller();
        let reconnected_by = |due: Timestamp| caller.reconnect.map_or(due, |again| due.max(again.deadline()));
        match (&self.state, caller.state) {
            (State::Ended { .. }, _) => None,
            (State::Started { .. }, _) => caller.reported_end.map(|report| report.at.after(CARRIER_ENDED)),
            (_, LegState::Waiting) if caller.phone_call.is_some() => Some(self.created_at.after(WAITING)),
            (_, LegState::Waiting) => Some(self.created_at.after(QUEUED)),
            (_, LegState::Dialing { dialed_at } | LegState::Ringing { dialed_at }) => {
                let progressed_at = caller.progressed_at.unwrap_or(dialed_at).max(dialed_at);
                Some(reconnected_by(progressed_at.after(DIALED)))
            }
            (_, LegState::Answered { answered_at }) if caller.is_browser() => {
                Some(answered_at.after(WEB_URL_VALIDITY))
            }
            (_, LegState::Answered { answered_at }) => Some(reconnected_by(answered_at.after(ANSWERED))),
            (_, LegState::Ended { ended_at, .. }) => Some(ended_at),
        }
    }

    /// The quality; none before the end, and of a conversation that no worker ended.
    #[must_use]
    pub fn quality(&self) -> Option<&Quality> {
        match &self.state {
            State::Ended { quality, .. } => quality.as_deref(),
            _ => None,
        }
    }

    /// The time, the reason and the cost of the end; none before.
    #[must_use]
    pub fn ended(&self) -> Option<(Timestamp, EndedReason, &CostBreakdown)> {
        match &self.state {
            State::Ended { ended_at, ended_reason, cost, .. } => Some((*ended_at, *ended_reason, &**cost)),
            _ => None,
        }
    }
}

/// A conversation with its agent's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Its state.
    pub conversation: Conversation,
    /// The configuration of its agent, which is written once.
    pub agent: AgentConfig,
}
