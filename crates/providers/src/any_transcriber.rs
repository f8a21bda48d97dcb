//! The transcribers that an agent's configuration can name, by vendor. [`Transcriber`] says what they do.

use std::sync::Arc;

use switchboard_model::{
    agents,
    catalogue::deepgram::{is_flux, nearest_model},
};

use crate::{
    Providers, azure,
    deepgram::{
        flux::{self, Flux},
        listen::{Listen, Settings, Timing},
    },
    transcriber::Transcriber,
};

impl Providers {
    /// With the keys as they are now.
    pub(crate) fn keyed_transcriber(&self, configuration: &agents::Transcriber) -> Arc<dyn Transcriber> {
        match configuration {
            agents::Transcriber::Deepgram { model, language, keywords, .. } => {
                let settings = Settings { model, language, key_terms: keywords };
                if is_flux(nearest_model(model, language).0) {
                    return match Flux::new(self, &settings, flux::Timing::default()) {
                        Ok(transcriber) => Arc::new(transcriber),
                        Err(unusable) => Arc::new(unusable),
                    };
                }
                match Listen::new(self, &settings, Timing::default()) {
                    Ok(transcriber) => Arc::new(transcriber),
                    Err(unusable) => Arc::new(unusable),
                }
            }
            agents::Transcriber::Azure { languages, .. } => {
                match azure::listen::Listen::new(self, languages, azure::listen::Timing::default()) {
                    Ok(transcriber) => Arc::new(transcriber),
                    Err(unusable) => Arc::new(unusable),
                }
            }
        }
    }
}
