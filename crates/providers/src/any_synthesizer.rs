//! The voices that an agent's configuration can name, by vendor. [`Synthesizer`] says what they do.

use std::sync::Arc;

use switchboard_model::agents;

use crate::{
    Providers, azure,
    deepgram::speak::Speak,
    elevenlabs, playht, rime,
    synthesizer::{Synthesizer, TIMEOUTS},
    unusable::Unusable,
};

impl Providers {
    /// With the keys as they are now.
    pub(crate) fn keyed_synthesizer(&self, configuration: &agents::Voice) -> Arc<dyn Synthesizer> {
        match configuration {
            agents::Voice::Deepgram { model, .. } => boxed(Speak::new(self, model, TIMEOUTS)),
            agents::Voice::Elevenlabs { .. } => boxed(elevenlabs::speak::Speak::new(
                self,
                configuration,
                elevenlabs::speak::Timing::default(),
            )),
            agents::Voice::Azure { model, pitch, rate, .. } => {
                boxed(azure::speak::Speak::new(self, model, *pitch, *rate, TIMEOUTS))
            }
            agents::Voice::Rimeai(voice) | agents::Voice::Rime(voice) => {
                boxed(rime::speak::Speak::new(self, voice, TIMEOUTS))
            }
            agents::Voice::Playht { .. } => boxed(playht::speak::Speak::new(self, configuration, TIMEOUTS)),
        }
    }
}

fn boxed(voice: Result<impl Synthesizer + 'static, Unusable>) -> Arc<dyn Synthesizer> {
    match voice {
        Ok(voice) => Arc::new(voice),
        Err(unusable) => Arc::new(unusable),
    }
}
