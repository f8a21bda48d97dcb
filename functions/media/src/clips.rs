//! What was spoken before: the greeting and the phrases of a call, read while its stream is let in.
//!
//! Calls of one agent say the same, so those that go on at the same time share their clips.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use switchboard_aws::clips::Clips as Stored;
use switchboard_model::{agents::AgentConfig, clips::ClipSet, ids::AccountId};
use tokio::time::timeout;

use crate::conversation_key::ConversationKey;

/// How long reading may take; the voice speaks what does not come.
const PATIENCE: Duration = Duration::from_secs(1);

/// Audio by its text.
type Set = HashMap<String, Bytes>;

/// The clips of all calls of this worker.
#[derive(Debug)]
pub(crate) struct ClipCache {
    stored: Stored,
    /// Those that a call has, by whose they are and their key.
    used: Mutex<HashMap<(AccountId, String), Weak<Set>>>,
}

/// The clips of one call.
#[derive(Debug)]
pub(crate) struct Clips(Vec<Arc<Set>>);

impl Clips {
    /// The audio of a text, if it was spoken before.
    pub(crate) fn get(&self, text: &str) -> Option<&Bytes> {
        self.0.iter().find_map(|set| set.get(text))
    }
}

impl ClipCache {
    /// Of what is kept there.
    pub(crate) fn new(stored: Stored) -> Self {
        Self { stored, used: Mutex::default() }
    }

    /// What was spoken before of all that an agent may say; what cannot be read now is left out.
    pub(crate) async fn of(&self, address: ConversationKey, agent: &AgentConfig) -> Clips {
        let sets = switchboard_calls::clip_sets(agent);
        let sets = join_all(sets.iter().map(|set| self.set(address, set))).await;
        Clips(sets.into_iter().flatten().collect())
    }

    async fn set(&self, address: ConversationKey, set: &ClipSet) -> Option<Arc<Set>> {
        let key = (address.account, set.key());
        if let Some(used) = self.used().get(&key).and_then(Weak::upgrade) {
            return Some(used);
        }
        match timeout(PATIENCE, self.stored.load(address.account, set)).await {
            Ok(Ok(Some(audio))) => {
                let audio = Arc::new(audio);
                let mut used = self.used();
                used.retain(|_, set| set.strong_count() > 0);
                used.insert(key, Arc::downgrade(&audio));
                return Some(audio);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::warn!(conversation = %address.conversation, %error, "no clips");
            }
            Err(_) => tracing::warn!(conversation = %address.conversation, "no clips in time"),
        }
        None
    }

    fn used(&self) -> std::sync::MutexGuard<'_, HashMap<(AccountId, String), Weak<Set>>> {
        // Nothing that is done under the lock can leave the map half changed.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
