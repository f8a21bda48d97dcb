//! The stored facts from which [`switchboard_model::sweep`] decides about a conversation.

use switchboard_aws::table::{Table, TableError};
use switchboard_model::{
    conversations::{Lease, Snapshot},
    costs::Prices,
    messages::Message,
    sweep::{Carrier, Case, Verdict},
    time::Timestamp,
};

/// A conversation, its lease and its messages, read one after the other.
#[derive(Debug, Clone)]
pub struct SweepInput {
    /// The conversation and its agent.
    pub snapshot: Snapshot,
    /// The worker's lease, also an expired one.
    pub lease: Option<Lease>,
    /// The stored messages. Empty for a conversation that never started.
    pub messages: Vec<Message>,
}

impl SweepInput {
    /// The sweeper's action on the conversation at `now`. `carrier` is what the carrier reports of its call, if it was asked.
    pub fn verdict(&self, carrier: Option<&Carrier>, prices: &Prices, now: Timestamp) -> Verdict {
        let Self { snapshot, lease, messages } = self;
        Case { snapshot, lease: lease.as_ref(), messages, carrier, prices }.verdict(now)
    }
}

/// Reads the lease and the messages of a conversation that was just read.
pub async fn sweep_input(table: &Table, snapshot: Snapshot) -> Result<SweepInput, TableError> {
    let (account, id) = (snapshot.conversation.account_id, snapshot.conversation.id);
    let lease = table.lease(account, id).await?;
    let has_started = snapshot.conversation.started_at().is_some();
    let messages = if has_started { table.messages(account, id).await? } else { vec![] };
    Ok(SweepInput { snapshot, lease, messages })
}
