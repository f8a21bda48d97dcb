//! What an agent says first is spoken before the call is answered, unless it was for an earlier one: whoever
//! calls is greeted at once. It is a convenience: whatever goes wrong, the call is answered.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use switchboard_model::{agents::AgentConfig, conversations::Conversation};
use switchboard_providers::voices::Recorder;
use switchboard_runtime as system;
use tokio::time::timeout;

use crate::Callbacks;

/// How long the caller hears the ringing for it.
const PREPARE: Duration = Duration::from_secs(3);

impl Callbacks {
    /// The same conversation, with what the voice was asked to speak for it.
    pub(crate) async fn prepared(&self, mut rings: Conversation, agent: &AgentConfig) -> Conversation {
        let (conversation_id, characters) = (rings.id, &AtomicU64::new(0));
        let keys = (&self.store, &self.sealer);
        let preparing = self.clips.prepare(
            keys,
            rings.account_id,
            switchboard_calls::clip_sets(agent),
            system::now(),
            |voice, own| {
                let recorder = Recorder::new(&self.providers, self.egress_policy, voice, own, characters)?;
                Ok(move |text: &str| recorder.record(text))
            },
        );
        match timeout(PREPARE, preparing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%conversation_id, %error, "its first words are not prepared"),
            Err(_elapsed) => tracing::warn!(%conversation_id, "its first words are not prepared in time"),
        }
        rings.usage.characters += characters.load(Ordering::Relaxed);
        rings
    }
}
