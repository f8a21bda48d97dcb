//! The voices that an agent's configuration can name, by vendor. [`Synthesizer`] says what they do.

use std::sync::Arc;

use switchboard_model::agents;

use crate::{
    Providers, azure,
    deepgram::speak::Speak,
    elevenlabs,
    synthesizer::{Synthesizer, TIMEOUTS},
    unusable::Unusable,
};

impl Providers {
    /// The voice that the agent's configuration names. A missing key and a vendor without an adapter are reported by
    /// each clause.
    #[must_use]
    pub fn synthesizer(&self, configuration: &agents::Voice) -> Arc<dyn Synthesizer> {
        match configuration {
            agents::Voice::Deepgram { model, .. } => match Speak::new(self, model, TIMEOUTS) {
                Ok(synthesizer) => Arc::new(synthesizer),
                Err(unusable) => Arc::new(unusable),
            },
            agents::Voice::Elevenlabs { .. } => boxed(elevenlabs::speak::Speak::new(
                self,
                configuration,
                elevenlabs::speak::Timing::default(),
            )),
            agents::Voice::Azure { model, pitch, rate, .. } => {
                boxed(azure::speak::Speak::new(self, model, *pitch, *rate, TIMEOUTS))
            }
            agents::Voice::Playht { .. } | agents::Voice::Rimeai(_) | agents::Voice::Rime(_) => {
                Arc::new(Unusable::no_adapter(configuration.provider()))
            }
        }
    }
}

fn boxed(voice: Result<impl Synthesizer + 'static, Unusable>) -> Arc<dyn Synthesizer> {
    match voice {
        Ok(voice) => Arc::new(voice),
        Err(unusable) => Arc::new(unusable),
    }
}
