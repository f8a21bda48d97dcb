//! The transcribers that an agent's configuration can name, by vendor. [`Transcriber`] says what they do.

use std::sync::Arc;

use switchboard_model::agents;

use crate::{
    Providers,
    deepgram::listen::{Listen, Settings, Timing},
    transcriber::Transcriber,
    unusable::Unusable,
};

impl Providers {
    /// The transcriber that the agent's configuration names. A missing key and a vendor without an adapter are
    /// reported by [`Transcriber::connect`].
    #[must_use]
    pub fn transcriber(&self, configuration: &agents::Transcriber) -> Arc<dyn Transcriber> {
        match configuration {
            agents::Transcriber::Deepgram { model, language, keywords, .. } => {
                let settings = Settings { model, language, key_terms: keywords };
                match Listen::new(self, &settings, Timing::default()) {
                    Ok(transcriber) => Arc::new(transcriber),
                    Err(unusable) => Arc::new(unusable),
                }
            }
            agents::Transcriber::Azure { .. } => Arc::new(Unusable::no_adapter(configuration.provider())),
        }
    }
}
