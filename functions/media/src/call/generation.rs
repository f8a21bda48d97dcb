//! Asks the model, and hears its answer.

use futures_util::StreamExt;
use switchboard_dialogue::{GenerationId, Input, ProviderRole, ToolCall};
use switchboard_providers::language_models::{self, Answer, ModelEvent};

use super::Call;
use crate::{call_providers::CallProviders, token_estimate::TokenEstimate};

/// A question to the model that is still being answered.
pub(super) struct Asking {
    pub(super) generation: GenerationId,
    answer: Answer,
    /// What it would cost if the vendor never says, as it does not when we cancel.
    estimate: TokenEstimate,
}

impl Call<'_> {
    pub(super) fn ask(&mut self, generation: GenerationId) {
        self.stop_asking();
        let lines = self.dialogue.history();
        let estimate = TokenEstimate::of(self.agent, &lines);
        let CallProviders { serving, language_model: providers, .. } = self.providers;
        let (model, prompt) = (&serving.language_model, self.agent.prompt.as_deref());
        let answer = language_models::ask(providers, model, prompt, &lines);
        self.asking = Some(Asking { generation, answer, estimate });
    }

    /// Drops the current answer, and counts what the vendor did not.
    pub(super) fn stop_asking(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.estimate.count(&mut self.usage);
        }
    }

    pub(super) fn model_says(&mut self, event: Option<Result<ModelEvent, switchboard_providers::Error>>) {
        let Some(asking) = &mut self.asking else { return };
        let generation = asking.generation;
        match event {
            Some(Ok(ModelEvent::Text(text))) => {
                asking.estimate.received(&text);
                self.feed(Input::ModelText { generation, text });
            }
            Some(Ok(ModelEvent::ToolCall(call))) => {
                asking.estimate.received(&call.arguments);
                let call = ToolCall { id: call.id, name: call.name, arguments: call.arguments };
                self.feed(Input::ModelToolCall { generation, call });
            }
            Some(Ok(ModelEvent::Usage { input_tokens, output_tokens, cached_tokens })) => {
                asking.estimate.reported();
                self.usage.input_tokens += input_tokens;
                self.usage.output_tokens += output_tokens;
                self.usage.cached_input_tokens += cached_tokens;
            }
            Some(Ok(ModelEvent::Finished(_))) => {
                self.stop_asking();
                self.feed(Input::ModelFinished { generation });
            }
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::warn!(conversation = %self.address.conversation, %error, "the model failed");
                    self.faults.failed(ProviderRole::LanguageModel, &error);
                }
                if asking.estimate.is_unanswered() {
                    // Nobody charges for what was refused.
                    self.asking = None;
                }
                self.stop_asking();
                self.feed(Input::ModelFailed { generation });
            }
        }
    }
}

/// The next piece of the current answer; never, while nothing is asked.
pub(super) async fn next_of(
    asking: &mut Option<Asking>,
) -> Option<Result<ModelEvent, switchboard_providers::Error>> {
    match asking {
        Some(asking) => asking.answer.next().await,
        None => std::future::pending().await,
    }
}
