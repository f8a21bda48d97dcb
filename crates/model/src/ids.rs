//! Identifiers: a prefix for the kind, then a ULID (26 characters, sortable by time).

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::time::Timestamp;

/// The text is not an id of the kind that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind")]
pub struct InvalidId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
        #[schemars(with = "String", extend("pattern" = concat!("^", $prefix, "[0-7][0-9A-HJKMNP-TV-Z]{25}$")))]
        pub struct $name(Ulid);

        impl $name {
            /// The prefix of every id of this kind.
            pub const PREFIX: &'static str = $prefix;

            /// A new id of the time `at` and 80 random bits (the upper 48 of `random` are not used).
            #[must_use]
            pub fn new(at: Timestamp, random: u128) -> Self {
                Self(Ulid::from_parts(u64::try_from(at.as_millis()).unwrap_or(0), random))
            }

            /// The id of the resource that a request creates: the same for every run of the request.
            #[must_use]
            pub fn of_request(RequestId(ulid): RequestId) -> Self {
                Self(ulid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let ulid = text.strip_prefix($prefix).ok_or(InvalidId)?;
                // `Ulid` also parses lower case and look-alike letters, but an id has one spelling.
                Ulid::from_string(ulid).ok().map(Self).filter(|id| id.to_string() == text).ok_or(InvalidId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A customer of this deployment; everything belongs to one.
    AccountId = "acc_";
    /// A stored agent.
    AgentId = "agt_";
    /// A conversation: one phone or web call.
    ConversationId = "cnv_";
    /// A phone number the account owns.
    PhoneNumberId = "num_";
    /// A customer's own provider key.
    CredentialId = "crd_";
    /// One event of one conversation.
    EventId = "evt_";
    /// A request that makes something. It is nobody's to see.
    RequestId = "req_";
}

impl ConversationId {
    /// The id of an inbound call, derived from the carrier's id: a repeated report of the call finds the same
    /// conversation. Unlike other ids it contains no time.
    #[must_use]
    pub fn of_call(account: AccountId, carrier_call_id: &str) -> Self {
        let digest = Sha256::digest(format!("{account}/{carrier_call_id}"));
        Self(Ulid(digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))))
    }
}

impl EventId {
    /// The id of the `sequence`-th event of a conversation. It is derived, so that a repeated write (after a lost
    /// response) has the same id.
    #[must_use]
    pub fn of(conversation: ConversationId, sequence: u64, at: Timestamp) -> Self {
        let digest = Sha256::digest(format!("{conversation}/{sequence}"));
        let random = digest.iter().take(10).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        Self::new(at, random)
    }

    /// The sequence of this event in the conversation, if it is below `next`. It tries every sequence: a long call has
    /// a few thousand, and each takes less than a microsecond.
    #[must_use]
    pub fn sequence_in(self, conversation: ConversationId, next: u64) -> Option<u64> {
        let at = Timestamp::from_millis(i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX));
        (1..next).find(|sequence| Self::of(conversation, *sequence, at) == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself_and_as_nothing_else() {
        let id = ConversationId::new(Timestamp::from_millis(1_795_339_800_120), 42);
        let text = id.to_string();
        assert_eq!(text.len(), 30);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.parse::<AgentId>(), Err(InvalidId));
        assert_eq!(text.to_lowercase().parse::<ConversationId>(), Err(InvalidId));
        assert_eq!("cnv_".parse::<ConversationId>(), Err(InvalidId));
    }

    #[test]
    fn an_inbound_call_has_one_id_per_account() {
        let account = |random| AccountId::new(Timestamp::from_millis(5), random);
        let id = ConversationId::of_call(account(1), "CA1");
        assert_eq!(id, ConversationId::of_call(account(1), "CA1"));
        assert_ne!(id, ConversationId::of_call(account(2), "CA1"));
        assert_ne!(id, ConversationId::of_call(account(1), "CA2"));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn ids_sort_by_the_time_of_their_creation() {
        let at = |ms| ConversationId::new(Timestamp::from_millis(ms), u128::MAX).to_string();
        assert!(at(1_000) < at(1_001));
    }

    #[test]
    fn an_event_keeps_its_id_when_it_is_written_again() {
        let at = Timestamp::from_millis(5);
        let conversation = ConversationId::new(at, 7);
        assert_eq!(EventId::of(conversation, 1, at), EventId::of(conversation, 1, at));
        assert_ne!(EventId::of(conversation, 1, at), EventId::of(conversation, 2, at));
    }

    #[test]
    fn an_event_id_has_a_sequence_in_its_own_conversation_only() {
        let at = Timestamp::from_millis(1_795_339_800_120);
        let (conversation, other) = (ConversationId::new(at, 7), ConversationId::new(at, 8));
        let id = EventId::of(conversation, 40, Timestamp::from_millis(1_795_339_811_003));
        assert_eq!(id.sequence_in(conversation, 41), Some(40));
        assert_eq!(id.sequence_in(conversation, 40), None);
        assert_eq!(id.sequence_in(other, 1_000), None);
    }
}
