//! Synthesizes what a call says first ahead of the call, so that a person who answers is greeted at once.
//!
//! It is a convenience: if it fails or takes too long, the call goes on, and the worker synthesizes the greeting live.

use std::{sync::atomic::AtomicU64, time::Duration};

use switchboard_aws::clips::{Clips, NotPrepared};
use switchboard_model::{
    agents::{AgentConfig, Voice},
    catalogue::{self, StandIn},
    egress_policy::EgressPolicy,
    ids::AccountId,
};
use switchboard_providers::{Providers, clips::ClipSynthesizer};
use switchboard_runtime::now;
use tokio::time::timeout;

use crate::{Backend, clip_sets};

/// The clients that synthesize and store clips. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClipPreparation {
    /// Where clips are stored.
    pub clips: Clips,
    /// The synthesizers.
    pub providers: Providers,
    /// The addresses that a customer's own provider credential may point to.
    ///
    /// The dialer passes [`EgressPolicy::PublicOnly`] always: its environment has no `ALLOW_HTTP_WEBHOOKS`. On a local
    /// stack, clips of a voice at a local address are therefore prepared for inbound calls only.
    pub egress_policy: EgressPolicy,
}

impl ClipPreparation {
    /// The stand-in that speaks the clips of an agent whose voice has no key; none: the agent's own voice does.
    #[must_use]
    pub fn stand_in(&self, agent: &AgentConfig) -> Option<StandIn> {
        self.first_voice(agent).1
    }

    fn first_voice(&self, agent: &AgentConfig) -> (Voice, Option<StandIn>) {
        catalogue::first_voice(agent, now().date(), &|connection| self.providers.has_keys(connection))
    }
}

/// Synthesizes and stores the agent's clips that are missing, in at most `limit`.
///
/// `characters` counts the characters that are sent to the synthesizer, which is [`ClipPreparation::stand_in`] if there is
/// one: all of them before the first is synthesized, so the count is complete also if the time limit passes.
pub async fn prepare_clips(
    backend: &Backend,
    preparation: &ClipPreparation,
    account: AccountId,
    agent: &AgentConfig,
    limit: Duration,
    characters: &AtomicU64,
) {
    let ClipPreparation { clips, providers, egress_policy } = preparation;
    let keys = (&backend.table, &backend.sealer);
    let (voice, _) = preparation.first_voice(agent);
    let preparing = clips.prepare(keys, account, clip_sets(agent, &voice), now(), |set, own| {
        let clips = ClipSynthesizer::new(providers, *egress_policy, set, own, characters)?;
        Ok(move |text: &str| clips.synthesize(text))
    });
    match timeout(limit, preparing).await {
        Ok(Ok(())) => {}
        // The vendor's explanation may quote the text.
        Ok(Err(NotPrepared::Voice(error))) => {
            tracing::warn!(error = error.without_explanation(), "clips not prepared");
        }
        Ok(Err(error)) => tracing::warn!(%error, "clips not prepared"),
        Err(_elapsed) => tracing::warn!("clips not prepared in time"),
    }
}
