//! The providers of a call, and whose keys they use: the customer's own where the agent names a credential, else the
//! deployment's.
//!
//! A credential that cannot be opened fails the call: falling back to the deployment's key would bill the wrong account. A
//! provider that fails before its first word is replaced by another vendor ([`switchboard_providers::chain`]), which uses
//! the deployment's key; the event log says so.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use switchboard_dialogue::TranscriberProfile;
use switchboard_model::{
    agents::{self, AgentConfig},
    catalogue::{self, Adjustment, Chain, ResolvedProviders, Service, StandIn},
    credentials::OpenCredential,
    ids::{AccountId, CredentialId},
    time::Timestamp,
};
use switchboard_providers::{
    audio::AudioFormat,
    chain::{Candidate, ChainedModel, ChainedTranscriber, ChainedVoice, ProviderId},
    language_model::LanguageModel,
    synthesizer::{CallContext, Synthesizer},
    transcriber::Transcriber,
};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::{transcriber::CallTranscriber, worker::Worker};

/// Maximum time to read and open the credentials; it takes some 20 ms, and the caller hears nothing meanwhile.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The providers of a call. Each role has keys of its own: one vendor may serve two roles with different keys.
pub(crate) struct CallProviders {
    /// The providers that the catalogue chooses for the agent. Others may stand in for them.
    pub(crate) resolved: ResolvedProviders,
    pub(crate) language_model: Arc<dyn LanguageModel>,
    pub(crate) transcriber: Arc<dyn Transcriber>,
    /// The properties of the transcriber with which the call begins, and the times of the slowest that may serve.
    pub(crate) transcriber_profile: TranscriberProfile,
    pub(crate) voice: Arc<dyn Synthesizer>,
}

impl CallProviders {
    /// Opens the credentials that the agent names, for a call whose audio has this `format`.
    ///
    /// # Errors
    /// A credential was deleted, cannot be opened, or is not usable now.
    pub(crate) async fn load(
        worker: &Worker,
        account: AccountId,
        agent: &AgentConfig,
        format: AudioFormat,
    ) -> anyhow::Result<Self> {
        let now = (worker.clock)();
        let mut resolved = catalogue::resolve(agent, now.date());
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
        if has_own_server(model.as_ref()) {
            resolved.language_model = agent.language_model.clone();
            resolved.adjustments.retain(|adjustment| adjustment.service != Service::LanguageModel);
        }
        let chains = Chains { worker, now, format, adjustments: &mut resolved.adjustments };
        let Roles { language_model, transcriber, transcriber_profile, voice } = chains.build(
            &resolved.language_model,
            &resolved.transcriber,
            &resolved.voice,
            [model.as_ref(), transcriber.as_ref(), voice.as_ref()],
        )?;
        Ok(Self { resolved, language_model, transcriber, transcriber_profile, voice })
    }

    /// The facts of a call with audio of this format that its voice needs. A voice that does not speak it speaks the
    /// telephone's.
    pub(crate) fn voice_context(&self, format: AudioFormat) -> CallContext {
        let format = if self.voice.speaks(format) { format } else { AudioFormat::TELEPHONE };
        CallContext { format, language: self.resolved.transcriber.language().to_owned() }
    }

    /// Starts to connect the transcriber, and opens connections ahead for the language model and the voice.
    pub(crate) fn connect(&self, worker: &Worker, format: AudioFormat) -> CallTranscriber {
        worker.tasks.spawn(self.language_model.connect_ahead().in_current_span());
        worker.tasks.spawn(self.voice.connect_ahead(&self.voice_context(format)).in_current_span());
        CallTranscriber::new(Arc::clone(&self.transcriber), self.resolved.transcriber.provider(), format)
    }
}

/// Whether the words of the call go to a server of the customer's own. It has no stand-in: its owner chose where they
/// go.
fn has_own_server(own: Option<&OpenCredential>) -> bool {
    own.is_some_and(|own| own.credential.base_url.is_some())
}

/// Builds the chains of a call. A role without a stand-in has its provider alone.
struct Chains<'a> {
    worker: &'a Worker,
    now: Timestamp,
    format: AudioFormat,
    /// Receives the providers that are replaced from the start.
    adjustments: &'a mut Vec<Adjustment>,
}

/// The three roles of a call. The fields are those of [`CallProviders`].
struct Roles {
    language_model: Arc<dyn LanguageModel>,
    transcriber: Arc<dyn Transcriber>,
    transcriber_profile: TranscriberProfile,
    voice: Arc<dyn Synthesizer>,
}

impl Chains<'_> {
    fn build(
        mut self,
        language_model: &agents::LanguageModel,
        transcriber: &agents::Transcriber,
        voice: &agents::Voice,
        [model_key, transcriber_key, voice_key]: [Option<&OpenCredential>; 3],
    ) -> anyhow::Result<Roles> {
        let source = &self.worker.providers;
        let outages = || self.worker.outages.clone();

        let chain = source.language_model_chain(language_model, self.now);
        let name = |model: &_| (StandIn::language_model(model), String::new());
        let models =
            self.candidates(&chain, model_key, name, |model, own| source.language_model(model, own))?;
        let models = alone(models).unwrap_or_else(|models| Arc::new(ChainedModel::new(models, outages())));

        let chain = source.transcriber_chain(transcriber);
        let name = |one: &_| (StandIn::transcriber(one), String::new());
        let transcribers =
            self.candidates(&chain, transcriber_key, name, |one, own| source.transcriber(one, own))?;
        let profiles: Vec<_> = transcribers
            .iter()
            .map(|candidate| profile_of(configuration_of(&chain, candidate.stand_in.as_ref())))
            .collect();
        let transcribers = alone(transcribers).unwrap_or_else(|transcribers| {
            let detects_turns = profiles.iter().map(|profile| profile.detects_turns);
            let detecting = transcribers.into_iter().zip(detects_turns);
            Arc::new(ChainedTranscriber::new(detecting.collect(), outages()))
        });

        let mut chain = source.voice_chain(voice, transcriber.language(), self.now);
        chain.stand_ins.retain(|voice| catalogue::voice_yields(voice.provider(), self.format));
        let name = |voice: &_| (StandIn::voice(voice), catalogue::spoken_voice(voice).to_owned());
        let voices = self.candidates(&chain, voice_key, name, |voice, own| source.synthesizer(voice, own))?;
        let voices = alone(voices).unwrap_or_else(|voices| Arc::new(ChainedVoice::new(voices, outages())));
        Ok(Roles {
            language_model: models,
            transcriber: transcribers,
            transcriber_profile: profile_of_chain(&profiles),
            voice: voices,
        })
    }

    /// The candidates of a chain, in their order, each with its `name` and that of its voice. One without a key is left out
    /// if another one can serve.
    fn candidates<C, P: ?Sized>(
        &mut self,
        chain: &Chain<C>,
        own: Option<&OpenCredential>,
        name: impl Fn(&C) -> (StandIn, String),
        build: impl Fn(&C, Option<&OpenCredential>) -> anyhow::Result<Arc<P>>,
    ) -> anyhow::Result<Vec<Candidate<P>>> {
        let (named, voice) = name(&chain.named);
        let mut candidates = vec![];
        if chain.is_replaced() {
            let text = format!("this deployment has no key for it, so {} serves", name(chain.first()).0);
            self.adjustments.push(Adjustment { service: named.service, text });
        } else {
            let provider = build(&chain.named, own)?;
            let id = id(named, voice, own.map(|own| own.credential.id));
            candidates.push(Candidate { provider, id, stand_in: None });
        }
        if !has_own_server(own) {
            for stand_in in &chain.stand_ins {
                let (name, voice) = name(stand_in);
                let provider = build(stand_in, None)?;
                candidates.push(Candidate {
                    provider,
                    id: id(name.clone(), voice, None),
                    stand_in: Some(name),
                });
            }
        }
        Ok(candidates)
    }
}

fn id(
    StandIn { service, provider, model }: StandIn,
    voice: String,
    credential: Option<CredentialId>,
) -> ProviderId {
    ProviderId { service, provider, model, voice, credential }
}

/// The provider of a chain that is the agent's own one and has no stand-in; else the candidates.
fn alone<P: ?Sized>(mut candidates: Vec<Candidate<P>>) -> Result<Arc<P>, Vec<Candidate<P>>> {
    match &candidates[..] {
        [Candidate { stand_in: None, .. }] => Ok(candidates.remove(0).provider),
        _ => Err(candidates),
    }
}

/// The configuration of a transcriber of the chain.
fn configuration_of<'a>(
    chain: &'a Chain<agents::Transcriber>,
    stand_in: Option<&StandIn>,
) -> &'a agents::Transcriber {
    let found = chain.stand_ins.iter().find(|one| stand_in == Some(&StandIn::transcriber(one)));
    found.unwrap_or(&chain.named)
}

/// The properties of a transcriber, as the catalogue has them. One without an adapter has the default ones: it refuses
/// every connection.
fn profile_of(transcriber: &agents::Transcriber) -> TranscriberProfile {
    let model = catalogue::served_transcriber_model(transcriber);
    let capabilities = catalogue::transcriber_capabilities(transcriber.provider(), model);
    capabilities.map_or_else(TranscriberProfile::default, |capabilities| TranscriberProfile {
        settles_within: capabilities.settles_within,
        words_within: capabilities.words_within,
        detects_turns: capabilities.detects_turns,
        can_finalize: true,
        understands_turns: capabilities.understands_turns,
    })
}

/// The properties of a chain: those of the first one, which serves unless it fails, and the times of the slowest. The chain
/// ends the turns of one that does not detect them.
fn profile_of_chain(profiles: &[TranscriberProfile]) -> TranscriberProfile {
    let slowest = |time: fn(&TranscriberProfile) -> Duration| profiles.iter().map(time).max();
    let Some(first) = profiles.first().copied() else { return TranscriberProfile::default() };
    TranscriberProfile {
        settles_within: slowest(|profile| profile.settles_within).unwrap_or(first.settles_within),
        words_within: slowest(|profile| profile.words_within).unwrap_or(first.words_within),
        ..first
    }
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
    use super::*;

    fn deepgram(model: &str) -> agents::Transcriber {
        agents::Transcriber::Deepgram {
            model: model.into(),
            language: "en".into(),
            keywords: vec![],
            credential_id: None,
        }
    }

    fn azure() -> agents::Transcriber {
        agents::Transcriber::Azure { languages: vec!["en-US".into()], credential_id: None }
    }

    #[test]
    fn a_transcriber_has_the_properties_of_the_model_that_is_asked_for() {
        for (transcriber, model) in
            [(deepgram("nova-3"), "nova-3"), (azure(), ""), (deepgram("flux"), "flux-general-en")]
        {
            let capabilities = catalogue::transcriber_capabilities(transcriber.provider(), model).unwrap();
            let profile = profile_of(&transcriber);
            assert_eq!(profile.settles_within, capabilities.settles_within);
            assert_eq!(profile.words_within, capabilities.words_within);
            assert_eq!(profile.detects_turns, capabilities.detects_turns);
            assert_eq!(profile.understands_turns, capabilities.understands_turns);
        }
        assert!(profile_of(&deepgram("flux")).understands_turns);
    }

    #[test]
    fn the_engine_gets_the_properties_of_the_transcriber_that_serves() {
        let chain = Chain { named: deepgram("flux"), has_key: false, stand_ins: vec![azure()] };
        let azure_serves = StandIn::transcriber(&azure());
        let of = |serving: &[Option<&StandIn>]| {
            let profiles = serving.iter().map(|stand_in| profile_of(configuration_of(&chain, *stand_in)));
            profile_of_chain(&profiles.collect::<Vec<_>>())
        };
        let (flux, azure) = (of(&[None]), of(&[Some(&azure_serves)]));
        assert!(flux.understands_turns && !azure.understands_turns);
        let both = of(&[None, Some(&azure_serves)]);
        assert_eq!((both.words_within, both.understands_turns), (azure.words_within, true));
        assert!(azure.words_within > flux.words_within);
    }
}
