//! The voices that an agent's configuration can name, by vendor. [`Synthesizer`] says what they do.

use std::sync::Arc;

use switchboard_model::agents;

use crate::{
    Providers,
    deepgram::speak::Speak,
    playht, rime,
    synthesizer::{Synthesizer, TIMEOUTS},
    unusable::Unusable,
};

impl Providers {
    /// With the keys as they are now.
    pub(crate) fn keyed_synthesizer(&self, configuration: &agents::Voice) -> Arc<dyn Synthesizer> {
        match configuration {
            agents::Voice::Deepgram { model, .. } => match Speak::new(self, model, TIMEOUTS) {
                Ok(synthesizer) => Arc::new(synthesizer),
                Err(unusable) => Arc::new(unusable),
            },
            agents::Voice::Rimeai(voice) | agents::Voice::Rime(voice) => {
                match rime::speak::Speak::new(self, voice, TIMEOUTS) {
                    Ok(synthesizer) => Arc::new(synthesizer),
                    Err(unusable) => Arc::new(unusable),
                }
            }
            agents::Voice::Playht { .. } => match playht::speak::Speak::new(self, configuration, TIMEOUTS) {
                Ok(synthesizer) => Arc::new(synthesizer),
                Err(unusable) => Arc::new(unusable),
            },
            agents::Voice::Elevenlabs { .. } | agents::Voice::Azure { .. } => {
                Arc::new(Unusable::no_adapter(configuration.provider()))
            }
        }
    }
}
