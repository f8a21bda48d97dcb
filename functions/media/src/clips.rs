//! Clips: audio that was synthesized before the call, for the greeting and the engine's own phrases.
//!
//! The clips of a call are loaded during its admission. Live calls with the same agent share one copy in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use switchboard_aws::clips::Clips;
use switchboard_model::{
    agents::{AgentConfig, Voice},
    clips::ClipSet,
    ids::AccountId,
};
use switchboard_providers::audio::AudioFormat;
use tokio::time::timeout;

use crate::conversation_key::ConversationKey;

/// Maximum time to load the clips of a call. Texts whose clips are not loaded in time are synthesized in the call.
const LOAD_TIMEOUT: Duration = Duration::from_secs(1);

/// The format of the clips in the bucket: they are prepared for calls by telephone.
const STORED_FORMAT: AudioFormat = AudioFormat::TELEPHONE;

/// Audio by its text.
type ClipAudio = HashMap<String, Bytes>;
/// An account and the key of one of its clip sets.
type ClipSetKey = (AccountId, String);

/// The clips of all calls of this worker.
#[derive(Debug)]
pub(crate) struct ClipCache {
    stored: Clips,
    /// The sets that a live call uses.
    used: Mutex<HashMap<ClipSetKey, Weak<ClipAudio>>>,
}

/// The clips of one call.
#[derive(Debug)]
pub(crate) struct CallClips(Vec<Arc<ClipAudio>>);

impl CallClips {
    /// The audio of a text; `None` if there is no clip of it.
    pub(crate) fn get(&self, text: &str) -> Option<&Bytes> {
        self.0.iter().find_map(|set| set.get(text))
    }
}

impl ClipCache {
    /// A cache of the clips in the bucket.
    pub(crate) fn new(stored: Clips) -> Self {
        Self { stored, used: Mutex::default() }
    }

    /// Loads the clips of an agent for a call that begins with `voice` and whose audio has this `format`. Sets that
    /// cannot be loaded in time are left out. A call in another format than the clips' has none.
    pub(crate) async fn load(
        &self,
        key: ConversationKey,
        agent: &AgentConfig,
        voice: &Voice,
        format: AudioFormat,
    ) -> CallClips {
        if format != STORED_FORMAT {
            return CallClips(vec![]);
        }
        let sets = switchboard_calls::clip_sets(agent, voice);
        let sets = join_all(sets.iter().map(|set| self.load_set(key.account, set))).await;
        CallClips(sets.into_iter().flatten().collect())
    }

    async fn load_set(&self, account: AccountId, set: &ClipSet) -> Option<Arc<ClipAudio>> {
        let key = (account, set.key());
        if let Some(used) = self.used().get(&key).and_then(Weak::upgrade) {
            return Some(used);
        }
        match timeout(LOAD_TIMEOUT, self.stored.load(account, set)).await {
            Ok(Ok(Some(audio))) => {
                let audio = Arc::new(audio);
                let mut used = self.used();
                used.retain(|_, set| set.strong_count() > 0);
                used.insert(key, Arc::downgrade(&audio));
                return Some(audio);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "clips not loaded"),
            Err(_) => tracing::warn!("loading clips timed out"),
        }
        None
    }

    fn used(&self) -> MutexGuard<'_, HashMap<ClipSetKey, Weak<ClipAudio>>> {
        // No operation under the lock can leave the map half changed.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
