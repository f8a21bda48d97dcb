//! Holds a call's lease: renews it, off the audio path, and tells when somebody else has taken it.

use std::time::Duration;

use switchboard_aws::store::Store;
use switchboard_model::conversations::{Lease, UtteranceProgress};
use switchboard_runtime as system;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::conversation_key::ConversationKey;

/// Between two writes at least, also when what the agent says has moved on, and after a failed one.
const PACE: Duration = Duration::from_secs(1);
/// How long giving the lease back may take.
const RELEASE: Duration = Duration::from_secs(5);

/// The call's end of its lease.
#[derive(Debug)]
pub(crate) struct HeldLease {
    store: Store,
    address: ConversationKey,
    /// As it was taken.
    lease: Lease,
    speaking: watch::Sender<Option<UtteranceProgress>>,
    lost: CancellationToken,
    task: JoinSet<()>,
}

impl HeldLease {
    /// Keeps a lease that was just taken.
    pub(crate) fn keep(store: Store, address: ConversationKey, lease: Lease) -> Self {
        let lost = CancellationToken::new();
        let (speaking, said) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(renew(store.clone(), address, lease.clone(), said, lost.clone()));
        Self { store, address, lease, speaking, lost, task }
    }

    /// Who holds it: writes are made in this name.
    pub(crate) fn holder(&self) -> &str {
        &self.lease.holder
    }

    /// What the agent is saying now, for the worker that takes over if this one dies.
    pub(crate) fn note(&self, speaking: Option<UtteranceProgress>) {
        self.speaking.send_if_modified(|noted| {
            let changed = *noted != speaking;
            *noted = speaking;
            changed
        });
    }

    /// Resolves when somebody else has the lease.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// For whoever finds out by other means that somebody else has it.
    pub(crate) fn lost_token(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives it back, with what is left to say.
    pub(crate) async fn release(mut self, unsaid: Option<UtteranceProgress>) {
        self.task.shutdown().await;
        let lease = self.lease.clone().renewed(system::now(), unsaid);
        let released = self.store.release_lease(self.address.account, self.address.conversation, &lease);
        match timeout(RELEASE, released).await {
            Ok(Ok(())) => {}
            // It runs out by itself.
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not given back"),
            Err(_) => tracing::warn!("the lease was not given back in time"),
        }
    }
}

async fn renew(
    store: Store,
    address: ConversationKey,
    mut lease: Lease,
    mut speaking: watch::Receiver<Option<UtteranceProgress>>,
    lost: CancellationToken,
) {
    let mut wait = Lease::HEARTBEAT;
    loop {
        sleep(PACE).await;
        tokio::select! {
            () = sleep(wait.saturating_sub(PACE)) => {}
            changed = speaking.changed() => if changed.is_err() { return },
        }
        lease = lease.renewed(system::now(), speaking.borrow_and_update().clone());
        wait = match store.renew_lease(address.account, address.conversation, &lease).await {
            Ok(true) => Lease::HEARTBEAT,
            Ok(false) => return lost.cancel(),
            Err(error) => {
                tracing::warn!(conversation = %address.conversation, %error, "the lease was not renewed");
                PACE
            }
        };
    }
}
