//! A chain of language models.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{
    Candidate, Chain, ProviderOutages,
    stream::{ChainEvent, Stage, in_turn},
};
use crate::{
    language_model::{ChatMessage, Conversation, Generation, GenerationEvent, LanguageModel},
    stand_in_report::StandInReport,
};

/// Maximum time to the first word of a model while another one can be asked. A good model takes less than a second; the
/// caller hears a hold phrase at about this time.
const FIRST_EVENT_TIMEOUT: Duration = Duration::from_millis(2_500);

/// The language models of one call.
pub struct ChainedModel(Arc<Chain<dyn LanguageModel>>);

impl ChainedModel {
    /// In the order in which they are asked.
    #[must_use]
    pub fn new(candidates: Vec<Candidate<dyn LanguageModel>>, outages: ProviderOutages) -> Self {
        Self(Chain::new(candidates, outages))
    }
}

impl LanguageModel for ChainedModel {
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        self.0.candidates[self.0.best()].provider.connect_ahead()
    }

    fn generate(&self, conversation: &Conversation<'_>) -> Generation {
        let chain = Arc::clone(&self.0);
        let (prompt, messages): (_, Vec<ChatMessage>) =
            (conversation.prompt.map(str::to_owned), conversation.messages.to_vec());
        let generate = move |place: usize| {
            let conversation = Conversation { prompt: prompt.as_deref(), messages: &messages };
            chain.candidates[place].provider.generate(&conversation)
        };
        in_turn(Arc::clone(&self.0), generate, FIRST_EVENT_TIMEOUT)
    }
}

impl ChainEvent for GenerationEvent {
    fn fallback(fallback: StandInReport) -> Self {
        Self::Fallback(fallback)
    }

    fn stage(&self) -> Stage {
        match self {
            Self::Usage { .. } | Self::Fallback(_) => Stage::Accepted,
            Self::Text(_) | Self::ToolCall(_) | Self::Finished(_) => Stage::Serving,
        }
    }
}
