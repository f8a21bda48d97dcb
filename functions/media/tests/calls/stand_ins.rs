//! Scripted providers that stand in for others: a second script.

use std::sync::{Arc, atomic::Ordering};

use switchboard_media::ProviderSource;
use switchboard_model::{
    agents,
    catalogue::{Chain, Connection},
    credentials::OpenCredential,
    time::Timestamp,
};
use switchboard_providers::{
    language_model::LanguageModel, synthesizer::Synthesizer, transcriber::Transcriber,
};

use super::providers::ScriptedProviders;

/// The voice that stands in for others.
const STAND_IN_VOICE: &str = "aura-2-zeus-en";

impl ScriptedProviders {
    /// Adds providers that stand in for these ones, and returns them.
    pub(crate) fn add_stand_in(&self) -> Self {
        self.0.stand_in.get_or_init(|| Self::new(self.0.bytes_per_character)).clone()
    }

    /// Takes the deployment's keys for these providers away; those that stand in keep theirs.
    pub(crate) fn lose_keys(&self) {
        self.0.has_lost_keys.store(true, Ordering::Relaxed);
    }

    /// The providers that serve: these ones, or their stand-ins.
    fn of(&self, is_stand_in: bool) -> Self {
        if is_stand_in { self.0.stand_in.get().expect("it stands in").clone() } else { self.clone() }
    }

    fn chain<T: Clone>(&self, named: &T, stand_in: T) -> Chain<T> {
        let stand_ins = self.0.stand_in.get().map(|_| stand_in);
        let has_key = !self.0.has_lost_keys.load(Ordering::Relaxed);
        Chain { named: named.clone(), has_key, stand_ins: stand_ins.into_iter().collect() }
    }
}

impl ProviderSource for ScriptedProviders {
    fn has_keys(&self, _connection: &Connection) -> bool {
        false
    }

    fn language_model_chain(
        &self,
        named: &agents::LanguageModel,
        _now: Timestamp,
    ) -> Chain<agents::LanguageModel> {
        let settings = named.settings().clone();
        let model = "gemini-3.5-flash-lite".to_owned();
        let stand_in = agents::ModelSettings { model, credential_id: None, ..settings };
        self.chain(named, agents::LanguageModel::Google(stand_in))
    }

    fn transcriber_chain(&self, named: &agents::Transcriber) -> Chain<agents::Transcriber> {
        let languages = vec!["en-US".to_owned()];
        self.chain(named, agents::Transcriber::Azure { languages, credential_id: None })
    }

    fn voice_chain(&self, named: &agents::Voice, _language: &str, _now: Timestamp) -> Chain<agents::Voice> {
        self.chain(named, agents::Voice::Deepgram { model: STAND_IN_VOICE.to_owned(), credential_id: None })
    }

    fn language_model(
        &self,
        configuration: &agents::LanguageModel,
        _credential: Option<&OpenCredential>,
    ) -> anyhow::Result<Arc<dyn LanguageModel>> {
        Ok(Arc::new(self.of(configuration.provider() == "google")))
    }

    fn transcriber(
        &self,
        configuration: &agents::Transcriber,
        _credential: Option<&OpenCredential>,
    ) -> anyhow::Result<Arc<dyn Transcriber>> {
        Ok(Arc::new(self.of(configuration.provider() == "azure")))
    }

    fn synthesizer(
        &self,
        configuration: &agents::Voice,
        _credential: Option<&OpenCredential>,
    ) -> anyhow::Result<Arc<dyn Synthesizer>> {
        let is_stand_in =
            matches!(configuration, agents::Voice::Deepgram { model, .. } if model == STAND_IN_VOICE);
        Ok(Arc::new(self.of(is_stand_in)))
    }
}
