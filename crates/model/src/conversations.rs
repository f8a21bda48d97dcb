//! The life of a conversation: `queued -> dialing -> ringing -> answered -> started -> ended`.
//!
//! The process that learns something (the dialer, a callback's handler, the worker) reads the
//! [`Conversation`], calls the matching transition here and writes the [`Transition`] in one conditional
//! transaction. A transition that is no longer allowed is [`InvalidTransition`]: a callback that came twice
//! or late changes nothing. `transitions.rs` lists every allowed transition.

mod cost;
mod lease;
mod recipients;
mod summary;
mod transitions;

use std::{collections::BTreeSet, fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::lease::{Lease, UtteranceProgress};
pub use self::summary::{PhoneCallView, summary_at};
pub use self::transitions::{InvalidTransition, JournalEntry, RejectReason, Transition};
use crate::{
    agents::AgentConfig,
    costs::{CostBreakdown, Usage},
    ids::{AccountId, AgentId, ConversationId},
    limits::Slot,
    phone_numbers::E164,
    time::Timestamp,
};

/// How long a call may wait to be dialled.
pub const QUEUED: Duration = Duration::from_hours(1);
/// How long the other side's phone may ring: the carrier is told so, and gives up by itself.
pub const RING: Duration = Duration::from_mins(1);
/// From dialling to the answer at the latest: ringing, and a minute for the carrier to say what became of it.
const DIALED: Duration = Duration::from_mins(2);
/// From the answer to media at the latest: the carrier connects the stream in a second.
const ANSWERED: Duration = Duration::from_mins(1);
/// How long the worker has to end a conversation whose call the carrier has reported as over.
const CARRIER_ENDED: Duration = Duration::from_secs(20);
/// How often a call may be connected to another worker: more is a fault that would go on for ever.
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

/// Where a conversation stands, with the facts that are true there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Stored, not yet handed to the carrier.
    Queued,
    /// Handed to the carrier, perhaps without having heard its answer.
    Dialing {
        /// When it was.
        dialed_at: Timestamp,
    },
    /// The other side's phone rings.
    Ringing {
        /// When the call was handed to the carrier.
        dialed_at: Timestamp,
    },
    /// The other side answered.
    Answered {
        /// When it did.
        answered_at: Timestamp,
    },
    /// Media flows: agent and user talk.
    Started {
        /// When the other side answered.
        answered_at: Timestamp,
        /// When media began to flow.
        started_at: Timestamp,
    },
    /// Over. Nothing changes any more.
    Ended {
        /// When the other side answered, if it did.
        answered_at: Option<Timestamp>,
        /// When media began to flow, if it did.
        started_at: Option<Timestamp>,
        /// When it ended.
        ended_at: Timestamp,
        /// Why.
        ended_reason: EndedReason,
        /// What it cost.
        cost: Box<CostBreakdown>,
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

/// What the API shows of [`State`].
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
    /// Each of them, in the order of a conversation's life.
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

/// The telephone side of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneCall {
    /// The called number.
    pub to_number: E164,
    /// The calling number.
    pub from_number: E164,
    /// The carrier's verdict (`human`, `machine_start`, ...), when it gave one.
    pub answered_by: Option<String>,
    /// It goes through the customer's own account at the carrier: our number was imported from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
}

/// What other parties learnt while the worker holds the conversation; the worker reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSignals {
    /// When somebody asked for the end.
    pub end_requested_at: Option<Timestamp>,
    /// When the carrier said that the call was over.
    pub carrier_ended_at: Option<Timestamp>,
    /// How long it lasted by the carrier's own count, in seconds from the answer.
    pub carrier_seconds: Option<u64>,
}

/// The state of a conversation: small, rewritten by every transition. The agent's configuration,
/// the messages and the events are stored beside it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Whose it is.
    pub account_id: AccountId,
    /// How it came to be.
    #[serde(rename = "type")]
    pub kind: ConversationType,
    /// The stored agent that was named, if the configuration did not come with the request.
    pub agent_id: Option<AgentId>,
    /// Its telephone side; none on the web.
    pub phone_call: Option<PhoneCall>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it is forgotten, with all that belongs to it; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
    /// What it counts as among the account's calls. Whatever writes it changes the account's counters in
    /// the same transaction, so every slot is given back, and once.
    #[serde(default)]
    pub slot: Slot,
    /// The carrier's id of the call, once it is known.
    pub carrier_call_id: Option<String>,
    /// SHA-256 of the one-use token that connects the media stream; none once it was used.
    pub media_token_sha256: Option<String>,
    /// How often the call was connected to another worker.
    pub resumes: u32,
    /// The signals that other processes left for the worker while the conversation was live.
    pub signals: WorkerSignals,
    /// What the providers did so far.
    pub usage: Usage,
    /// Which filters failed so far, by whose they are: each is noted once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed_filters: BTreeSet<String>,
    /// The sequence of the next event, from 1.
    pub next_sequence: u64,
    /// The place of the next message, from 1.
    pub next_message: u64,
    /// Grows by one with every write: a write is on condition that nobody else wrote meanwhile.
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
    /// A new outbound call, waiting to be dialled.
    #[must_use]
    pub fn outbound(
        id: ConversationId,
        account_id: AccountId,
        agent_id: Option<AgentId>,
        to_number: E164,
        from_number: E164,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            account_id,
            kind: ConversationType::OutboundPhoneCall,
            agent_id,
            phone_call: Some(PhoneCall { to_number, from_number, answered_by: None, imported: false }),
            created_at: now,
            expires_at: None,
            state: State::Queued,
            slot: Slot::Waiting,
            carrier_call_id: None,
            media_token_sha256: None,
            resumes: 0,
            signals: WorkerSignals::default(),
            usage: Usage::default(),
            failed_filters: BTreeSet::new(),
            next_sequence: 1,
            next_message: 1,
            version: 1,
        }
    }

    /// A call that comes in: `to_number` is ours, and rings.
    #[must_use]
    pub fn inbound(
        id: ConversationId,
        account_id: AccountId,
        to_number: E164,
        from_number: E164,
        carrier_call_id: String,
        now: Timestamp,
    ) -> Self {
        Self {
            kind: ConversationType::InboundPhoneCall,
            state: State::Ringing { dialed_at: now },
            slot: Slot::Live,
            carrier_call_id: Some(carrier_call_id),
            ..Self::outbound(id, account_id, None, to_number, from_number, now)
        }
    }

    /// The same conversation, whose call goes through the customer's own account at the carrier if our
    /// number was imported from there.
    #[must_use]
    pub fn with_own_carrier(mut self, imported: bool) -> Self {
        if let Some(call) = &mut self.phone_call {
            call.imported = imported;
        }
        self
    }

    /// Our number in a phone call.
    #[must_use]
    pub fn own_number(&self) -> Option<&E164> {
        let call = self.phone_call.as_ref()?;
        Some(match self.kind {
            ConversationType::InboundPhoneCall => &call.to_number,
            ConversationType::OutboundPhoneCall | ConversationType::WebCall => &call.from_number,
        })
    }

    /// The same conversation, to be forgotten when this time has passed since it was asked for.
    #[must_use]
    pub fn with_retention(self, retention: Duration) -> Self {
        Self { expires_at: Some(self.created_at.after(retention)), ..self }
    }

    /// Whether it is forgotten. The table takes it away some time later; until then nobody shows it.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What the API calls the state.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.state {
            State::Queued | State::Dialing { .. } | State::Ringing { .. } | State::Answered { .. } => {
                Status::Queued
            }
            State::Started { .. } => Status::Started,
            State::Ended { .. } => Status::Ended,
        }
    }

    /// When the other side answered, if it did.
    #[must_use]
    pub fn answered_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Queued | State::Dialing { .. } | State::Ringing { .. } => None,
            State::Answered { answered_at } | State::Started { answered_at, .. } => Some(answered_at),
            State::Ended { answered_at, .. } => answered_at,
        }
    }

    /// When media began to flow, if it did.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Started { started_at, .. } => Some(started_at),
            State::Ended { started_at, .. } => started_at,
            _ => None,
        }
    }

    /// When somebody must look after it if nothing has changed by then; none while a worker's
    /// [`Lease`] says so instead, and once it ended.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Queued => Some(self.created_at.after(QUEUED)),
            State::Dialing { dialed_at } | State::Ringing { dialed_at } => Some(dialed_at.after(DIALED)),
            State::Answered { answered_at } => Some(answered_at.after(ANSWERED)),
            State::Started { .. } => self.signals.carrier_ended_at.map(|at| at.after(CARRIER_ENDED)),
            State::Ended { .. } => None,
        }
    }

    /// When it ended, why, and what it cost; none while it goes on.
    #[must_use]
    pub fn ended(&self) -> Option<(Timestamp, EndedReason, &CostBreakdown)> {
        match &self.state {
            State::Ended { ended_at, ended_reason, cost, .. } => Some((*ended_at, *ended_reason, &**cost)),
            _ => None,
        }
    }
}

/// A conversation together with the configuration it was started with.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Its state.
    pub conversation: Conversation,
    /// How its agent is configured; written once.
    pub agent: AgentConfig,
}
