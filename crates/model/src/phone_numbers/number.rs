use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::E164;
use crate::{
    carriers::CarrierName,
    ids::{AccountId, AgentId, PhoneNumberId},
    secrets::{Sealed, Secret},
    time::Timestamp,
    webhooks::Webhook,
};

/// Maximum time for buying, importing or releasing a number. The sweeper removes a number that takes longer.
pub const SETTLED_WITHIN: Duration = Duration::from_mins(2);

/// A number of an account.
///
/// The API buys a number in three steps: it stores the number as [`Standing::Coming`], so that no other account gets
/// it; asks the carrier for it, under a name that contains its id; and stores it as [`Standing::Owned`]. A release
/// takes the same steps backwards. If a step fails, the sweeper finds the number at its deadline. No client has seen a
/// number that is still coming then, so the sweeper releases it, like one that is going.
#[derive(Clone, PartialEq)]
pub struct PhoneNumber {
    /// Its id.
    pub id: PhoneNumberId,
    /// The account that owns it.
    pub account_id: AccountId,
    /// The number.
    pub phone_number: E164,
    /// The stored agent that takes its calls.
    pub inbound_agent_id: Option<AgentId>,
    /// The customer's endpoints that choose the agent for a call.
    pub webhooks: Vec<Webhook>,
    /// Its standing.
    pub standing: Standing,
    /// Its registration at the carrier.
    pub carrier: Carrier,
    /// The time at which it was stored.
    pub created_at: Timestamp,
    /// The time of its last change.
    pub updated_at: Timestamp,
    /// Grows by one with every write, for optimistic concurrency.
    pub version: u64,
}

/// The stage of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", content = "since", rename_all = "snake_case")]
pub enum Standing {
    /// Its purchase or import began at this time. It is reserved for the account, which cannot use it yet.
    Coming(Timestamp),
    /// The account can use it.
    Owned,
    /// Its release began at this time. The account cannot use it any more.
    Going(Timestamp),
}

/// The registration of a number at the carrier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carrier {
    /// The carrier's id of the number, once it is known.
    #[serde(default)]
    pub sid: Option<String>,
    /// The customer's own account at the carrier, if the number was imported; none: the deployment's.
    #[serde(default)]
    pub own: Option<OwnAccount>,
}

/// A customer's own account at the carrier, with its token sealed for storage.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAccount {
    /// The carrier's id of the account.
    pub account_sid: String,
    /// The token that opens it.
    pub auth_token: Sealed,
}

impl fmt::Debug for OwnAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnAccount([redacted])")
    }
}

/// A customer's own account at the carrier, with its token in plain text.
#[derive(Clone, PartialEq, Eq)]
pub struct CarrierAccount {
    /// The carrier's id of the account: `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// The token that opens it, and that signs its callbacks.
    pub auth_token: Secret,
}

impl fmt::Debug for CarrierAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CarrierAccount([redacted])")
    }
}

/// The account at the carrier that a call goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallAccount {
    /// The deployment's.
    Deployments,
    /// The customer's own.
    Customers(CarrierAccount),
    /// The customer's own, of a number that was released since, so that its token is no longer known.
    Gone,
}

impl PhoneNumber {
    /// A number before its purchase, or before its import from the customer's `own` account.
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

    /// The number after its purchase or import, with the carrier's id.
    #[must_use]
    pub fn arrived(self, sid: String) -> Self {
        let carrier = Carrier { sid: Some(sid), ..self.carrier };
        Self { standing: Standing::Owned, carrier, ..self }
    }

    /// A number of the deployment's pool, which the carrier knows as `sid`, at the start of its purchase.
    #[must_use]
    pub fn from_pool(self, sid: String) -> Self {
        let carrier = Carrier { sid: Some(sid), ..self.carrier };
        Self { carrier, ..self }
    }

    /// Whether it is coming from the deployment's pool: then the carrier's id is known before it is owned.
    #[must_use]
    pub fn is_from_pool(&self) -> bool {
        matches!(self.standing, Standing::Coming(_)) && self.carrier.sid.is_some()
    }

    /// A number of the pool that the carrier does not have any more: it is to be bought like any other.
    #[must_use]
    pub fn not_in_pool(self) -> Self {
        let carrier = Carrier { sid: None, ..self.carrier };
        Self { carrier, ..self }
    }

    /// The number at the start of its release.
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

    /// Whether it belongs to the customer's own account at the carrier.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.carrier.own.is_some()
    }

    /// The deadline at which the sweeper removes it, if nothing has changed by then.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.standing {
            Standing::Coming(since) | Standing::Going(since) => Some(since.after(SETTLED_WITHIN)),
            Standing::Owned => None,
        }
    }

    /// The path, below our own address, at which the carrier asks about inbound calls to an account's numbers. Each of
    /// our numbers has it in its configuration at the carrier.
    #[must_use]
    pub fn voice_path(account: AccountId) -> String {
        format!("{}/inbound", CarrierName::default().callbacks_path(account))
    }

    /// The name for the carrier, which differs for every purchase of the same number; at most 64 characters.
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
