//! Leases: who holds a live conversation.

use std::time::Duration;

use switchboard_model::{
    conversations::Lease,
    ids::{AccountId, ConversationId},
};

use super::{
    ATTEMPTS, Table, TableError, back_off, conditions::Condition, items, single_writes::Refusal,
    transactions::Guard,
};
use crate::keys::{self, LEASE, STATE};

/// How long a lease that was given back lives on: the carrier connects a draining worker's call to
/// another one in a second or two, and until then nobody else is to end it.
const GRACE: Duration = Duration::from_secs(20);

impl Table {
    /// Takes the lease from whoever has it. False, and nothing is written, if the conversation is over
    /// or was never there. Who has a change to write with it uses [`Table::transition_taking`].
    pub async fn take_lease(
        &self,
        account: AccountId,
        conversation: ConversationId,
        lease: &Lease,
    ) -> Result<bool, TableError> {
        let pk = keys::conversation_pk(account, conversation);
        for attempt in 0..ATTEMPTS {
            let goes_on = Condition::new("attribute_exists(pk) AND #state <> :ended")
                .name("#state", "state")
                .text(":ended", &"ended");
            let writes = vec![
                self.check(pk.clone(), STATE, &goes_on).guarded_by(Guard::Forbidden),
                self.put(items::lease_item(pk.clone(), lease)?),
            ];
            match self.transact(writes).await {
                // The worker that held it until now may be writing.
                Err(TableError::Conflict) => back_off(attempt).await,
                written => return Ok(written?.is_none()),
            }
        }
        Err(TableError::Conflict)
    }

    /// Stores `lease`, longer or with other words, for its holder. False if it is another's by now or
    /// gone: then the holder must fall silent.
    pub async fn renew_lease(
        &self,
        account: AccountId,
        conversation: ConversationId,
        lease: &Lease,
    ) -> Result<bool, TableError> {
        for attempt in 0..ATTEMPTS {
            let pk = keys::conversation_pk(account, conversation);
            let item = items::lease_item(pk, lease)?;
            let held = Condition::new("holder = :holder").text(":holder", &lease.holder);
            match self.put_one_if(item, &held).await? {
                None => return Ok(true),
                Some(Refusal::Condition) => return Ok(false),
                Some(Refusal::Conflict) => back_off(attempt).await,
            }
        }
        Err(TableError::Conflict)
    }

    /// Gives the lease back, for a worker that hands the call over: it lives for 20 s from `lease.last_seen_at` on, with
    /// the words that `lease` has, and is due then if no worker took it. Nothing happens if it was lost.
    pub async fn release_lease(
        &self,
        account: AccountId,
        conversation: ConversationId,
        lease: &Lease,
    ) -> Result<(), TableError> {
        let released = Lease { until: lease.last_seen_at.after(GRACE), ..lease.clone() };
        self.renew_lease(account, conversation, &released).await?;
        Ok(())
    }

    /// The lease as it is now, live or not; none if the conversation is over or never had one.
    pub async fn lease(
        &self,
        account: AccountId,
        conversation: ConversationId,
    ) -> Result<Option<Lease>, TableError> {
        let item = self.get(keys::conversation_pk(account, conversation), LEASE).await?;
        item.map(|item| item.read(LEASE)).transpose()
    }
}
