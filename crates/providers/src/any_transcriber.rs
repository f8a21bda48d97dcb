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
    /// With the keys as they are now.
    pub(crate) fn keyed_transcriber(&self, configuration: &agents::Transcriber) -> Arc<dyn Transcriber> {
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
