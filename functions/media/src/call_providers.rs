//! The providers of a call, and whose keys they use: the customer's own where the agent names a credential, else the
//! deployment's.
//!
//! A credential that cannot be opened fails the call: falling back to the deployment's key would bill the wrong account.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use switchboard_dialogue::TranscriberProfile;
use switchboard_model::{
    agents::AgentConfig,
    catalogue::{self, ResolvedProviders, Service},
    credentials::OpenCredential,
    ids::{AccountId, CredentialId},
};
use switchboard_providers::{
    audio::AudioFormat, language_model::LanguageModel, synthesizer::Synthesizer, transcriber::Transcriber,
};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::{transcriber::CallTranscriber, worker::Worker};

/// Maximum time to read and open the credentials; it takes some 20 ms, and the caller hears nothing meanwhile.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The providers of a call. Each role has keys of its own: one vendor may serve two roles with different keys.
pub(crate) struct CallProviders {
    pub(crate) resolved: ResolvedProviders,
    pub(crate) language_model: Arc<dyn LanguageModel>,
    pub(crate) transcriber: Arc<dyn Transcriber>,
    pub(crate) voice: Arc<dyn Synthesizer>,
}

impl CallProviders {
    /// Opens the credentials that the agent names.
    ///
    /// # Errors
    /// A credential was deleted, cannot be opened, or is not usable now.
    pub(crate) async fn load(
        worker: &Worker,
        account: AccountId,
        agent: &AgentConfig,
    ) -> anyhow::Result<Self> {
        let mut resolved = catalogue::resolve(agent, (worker.clock)().date());
        let opening = async {
            tokio::try_join!(
                open(worker, account, resolved.language_model.settings().credential_id),
                open(worker, account, resolved.transcriber.credential_id()),
                open(worker, account, resolved.voice.credential_id()),
            )
        };
        let (model, transcriber, voice) =
            timeout(LOAD_TIMEOUT, opening).await.context("the credentials were not opened in time")??;
        // On a customer's own server the models have the names that the customer gave them.
        if model.as_ref().is_some_and(|own| own.credential.base_url.is_some()) {
            resolved.language_model = agent.language_model.clone();
            resolved.adjustments.retain(|adjustment| adjustment.service != Service::LanguageModel);
        }
        let source = &worker.providers;
        Ok(Self {
            language_model: source.language_model(&resolved.language_model, model.as_ref())?,
            transcriber: source.transcriber(&resolved.transcriber, transcriber.as_ref())?,
            voice: source.synthesizer(&resolved.voice, voice.as_ref())?,
            resolved,
        })
    }

    /// The properties of the transcriber that serves.
    pub(crate) fn transcriber_profile(&self) -> TranscriberProfile {
        profile_of(self.resolved.transcriber.provider(), self.resolved.transcriber_model())
    }

    /// Starts to connect the transcriber, and opens connections ahead for the language model and the voice.
    pub(crate) fn connect(&self, worker: &Worker, format: AudioFormat) -> CallTranscriber {
        worker.tasks.spawn(self.language_model.connect_ahead().in_current_span());
        worker.tasks.spawn(self.voice.connect_ahead().in_current_span());
        CallTranscriber::new(Arc::clone(&self.transcriber), self.resolved.transcriber.provider(), format)
    }
}

/// The properties of a transcriber, as the catalogue has them. One without an adapter has the default ones: it refuses
/// every connection.
fn profile_of(transcriber: &str, model: &str) -> TranscriberProfile {
    let capabilities = catalogue::transcriber_capabilities(transcriber, model);
    capabilities.map_or_else(TranscriberProfile::default, |capabilities| TranscriberProfile {
        settles_within: capabilities.settles_within,
        words_within: capabilities.words_within,
        detects_turns: capabilities.detects_turns,
        can_finalize: true,
        understands_turns: capabilities.understands_turns,
    })
}

async fn open(
    worker: &Worker,
    account: AccountId,
    id: Option<CredentialId>,
) -> anyhow::Result<Option<OpenCredential>> {
    let Some(id) = id else { return Ok(None) };
    let opened = worker.table.open_credential(&worker.sealer, account, id).await;
    opened.with_context(|| id.to_string())?.ok_or_else(|| anyhow!("{id} was deleted")).map(Some)
}

#[cfg(test)]
mod tests {
    use switchboard_model::catalogue::{Capabilities, Service};

    use super::*;

    #[test]
    fn the_engine_gets_the_properties_of_the_transcriber_that_serves() {
        for row in catalogue::rows(Service::Transcriber) {
            let Some(adapter) = row.adapter else { continue };
            let Capabilities::Transcriber(capabilities) = adapter.capabilities else { panic!("{row:?}") };
            let profile = profile_of(row.provider, "");
            assert_eq!(profile.settles_within, capabilities.settles_within);
            assert_eq!(profile.words_within, capabilities.words_within);
            assert_eq!(profile.detects_turns, capabilities.detects_turns);
            assert_eq!(profile.understands_turns, capabilities.understands_turns);
        }
        assert!(profile_of("deepgram", "flux-general-multi").understands_turns);
    }
}
