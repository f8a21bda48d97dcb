use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::E164;
use crate::{
    ids::{AccountId, AgentId, PhoneNumberId},
    secrets::{Sealed, Secret},
    time::Timestamp,
    webhooks::Webhook,
};

/// How long buying, importing or releasing a number may take. What is not done by then was cut short, and
/// is cleared away.
pub const SETTLED_WITHIN: Duration = Duration::from_mins(2);

/// A number of an account.
///
/// A number is bought in three steps: it is stored as [`Standing::Coming`], so that nobody else gets it;
/// the carrier is asked for it, under a name that holds its id; it is stored as [`Standing::Owned`]. It
/// goes in the opposite order. Whatever is cut short is found by its deadline: a number that is still
/// coming then was never told to anybody, so it goes, like one that is going.
#[derive(Clone, PartialEq)]
pub struct PhoneNumber {
    /// Its id.
    pub id: PhoneNumberId,
    /// Whose it is.
    pub account_id: AccountId,
    /// The number.
    pub phone_number: E164,
    /// The stored agent that takes its calls.
    pub inbound_agent_id: Option<AgentId>,
    /// The customer's endpoints that choose the agent for a call.
    pub webhooks: Vec<Webhook>,
    /// Where it stands.
    pub standing: Standing,
    /// Where the carrier has it.
    pub carrier: Carrier,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Grows by one with every write: a write is on condition that nobody else wrote meanwhile.
    pub version: u64,
}

/// Where a number stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", content = "since", rename_all = "snake_case")]
pub enum Standing {
    /// It is being bought or imported since then. Nobody else can have it, and nobody can use it.
    Coming(Timestamp),
    /// It is the account's.
    Owned,
    /// It is being released since then, and nobody can use it.
    Going(Timestamp),
}

/// Where the carrier has a number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carrier {
    /// The carrier's id of it, once it is known.
    #[serde(default)]
    pub sid: Option<String>,
    /// The customer's own account at the carrier, if the number was imported; else it is the deployment's.
    #[serde(default)]
    pub own: Option<OwnAccount>,
}

/// A customer's own account at the carrier, as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAccount {
    /// The carrier's id of it.
    pub account_sid: String,
    /// What opens it.
    pub auth_token: Sealed,
}

impl fmt::Debug for OwnAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnAccount([redacted])")
    }
}

/// A customer's own account at the carrier, opened.
#[derive(Clone, PartialEq, Eq)]
pub struct CarrierAccount {
    /// The carrier's id of it: `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// What opens it, and signs what comes from it.
    pub auth_token: Secret,
}

impl fmt::Debug for CarrierAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CarrierAccount([redacted])")
    }
}

/// Through which account at the carrier a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallAccount {
    /// The deployment's.
    Deployments,
    /// The customer's own.
    Customers(CarrierAccount),
    /// It was the customer's own, of a number that was released since: nobody can ask the carrier any more.
    Gone,
}

impl PhoneNumber {
    /// A number that is about to be bought, or imported from the customer's `own` account.
    #[must_use]
    pub fn coming(
        id: PhoneNumberId,
        account_id: AccountId,
        phone_number: E164,
        own: Option<OwnAccount>,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            account_id,
            phone_number,
            inbound_agent_id: None,
            webhooks: vec![],
            standing: Standing::Coming(now),
            carrier: Carrier { sid: None, own },
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// It is the account's now, under this id of the carrier's.
    #[must_use]
    pub fn arrived(self, sid: String) -> Self {
        let carrier = Carrier { sid: Some(sid), ..self.carrier };
        Self { standing: Standing::Owned, carrier, ..self }
    }

    /// It is to be released.
    #[must_use]
    pub fn leaving(self, now: Timestamp) -> Self {
        Self { standing: Standing::Going(now), ..self }
    }

    /// Whether the account can use it.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.standing == Standing::Owned
    }

    /// Whether it is being released.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        matches!(self.standing, Standing::Going(_))
    }

    /// Whether it was brought from the customer's own account at the carrier.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.carrier.own.is_some()
    }

    /// When somebody must look after it if nothing has changed by then.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.standing {
            Standing::Coming(since) | Standing::Going(since) => Some(since.after(SETTLED_WITHIN)),
            Standing::Owned => None,
        }
    }

    /// Where the carrier asks about calls of an account's numbers, below our own address: what the wires of
    /// a number of ours end in.
    #[must_use]
    pub fn voice_path(account: AccountId) -> String {
        format!("/twilio/{account}/inbound")
    }

    /// The name it is bought under, which tells it from every other purchase of the same number; at most
    /// 64 characters.
    #[must_use]
    pub fn friendly_name(&self) -> String {
        format!("switchboard {}", self.id)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneNumber")
            .field("id", &self.id)
            .field("standing", &self.standing)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
