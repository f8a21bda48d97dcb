//! The voices that an agent's configuration can name, by vendor. [`Synthesizer`] says what they do.

use std::sync::Arc;

use switchboard_model::agents;

use crate::{
    Providers,
    deepgram::speak::Speak,
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
            agents::Voice::Playht { .. }
            | agents::Voice::Elevenlabs { .. }
            | agents::Voice::Azure { .. }
            | agents::Voice::Rimeai(_)
            | agents::Voice::Rime(_) => Arc::new(Unusable::no_adapter(configuration.provider())),
        }
    }
}
