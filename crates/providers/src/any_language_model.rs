//! The language models that an agent's configuration can name, by vendor. [`LanguageModel`] says what they do.

use std::sync::Arc;

use switchboard_model::agents;

use crate::{
    Providers,
    google::generate::GenerateContent,
    language_model::{LanguageModel, TIMEOUTS},
    openai::chat::ChatCompletions,
};

impl Providers {
    /// With the keys as they are now.
    pub(crate) fn keyed_language_model(
        &self,
        configuration: &agents::LanguageModel,
    ) -> Arc<dyn LanguageModel> {
        match configuration {
            agents::LanguageModel::Openai(settings) => match ChatCompletions::new(self, settings, TIMEOUTS) {
                Ok(model) => Arc::new(model),
                Err(unusable) => Arc::new(unusable),
            },
            agents::LanguageModel::Google(settings) => match GenerateContent::new(self, settings, TIMEOUTS) {
                Ok(model) => Arc::new(model),
                Err(unusable) => Arc::new(unusable),
            },
        }
    }
}
