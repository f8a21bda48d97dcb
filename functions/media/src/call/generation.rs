//! The running generation of the language model: at most one at a time.

use futures_util::StreamExt;
use switchboard_dialogue::{GenerationId, HistoryItem, Input, ProviderRole, ToolCall};
use switchboard_model::{agents::AgentConfig, costs::Usage};
use switchboard_providers::{
    Error,
    language_models::{self, Answer, ModelEvent},
};

use crate::{call_providers::CallProviders, provider_faults::ProviderFaults, token_estimate::TokenEstimate};

/// An event of the running generation; `None` if its stream ended without a last event.
pub(super) type GenerationUpdate = Option<Result<ModelEvent, Error>>;

/// Starts and cancels generations.
pub(super) struct Generations<'a> {
    agent: &'a AgentConfig,
    providers: &'a CallProviders,
    running: Option<Running>,
}

struct Running {
    id: GenerationId,
    events: Answer,
    /// Counts if the vendor reports no usage, as for a cancelled generation.
    estimate: TokenEstimate,
}

impl<'a> Generations<'a> {
    /// Nothing runs yet.
    pub(super) fn new(agent: &'a AgentConfig, providers: &'a CallProviders) -> Self {
        Self { agent, providers, running: None }
    }

    /// Starts a generation that continues `history`, in place of the running one.
    pub(super) fn start(&mut self, id: GenerationId, history: &[HistoryItem], usage: &mut Usage) {
        self.cancel(usage);
        let estimate = TokenEstimate::new(self.agent, history);
        let CallProviders { serving, language_model: providers, .. } = self.providers;
        let (model, prompt) = (&serving.language_model, self.agent.prompt.as_deref());
        let events = language_models::ask(providers, model, prompt, history);
        self.running = Some(Running { id, events, estimate });
    }

    /// Cancels the running generation, and adds its estimate to the usage unless the vendor reported it.
    pub(super) fn cancel(&mut self, usage: &mut Usage) {
        if let Some(running) = self.running.take() {
            running.estimate.add_to(usage);
        }
    }

    /// Cancels this generation if it is the running one.
    pub(super) fn cancel_one(&mut self, id: GenerationId, usage: &mut Usage) {
        if self.running.as_ref().is_some_and(|running| running.id == id) {
            self.cancel(usage);
        }
    }

    /// The next event; never, while nothing runs. Cancel-safe.
    pub(super) async fn next(&mut self) -> GenerationUpdate {
        match &mut self.running {
            Some(running) => running.events.next().await,
            None => std::future::pending().await,
        }
    }

    /// Accounts for an event, and converts it for the engine.
    pub(super) fn apply(
        &mut self,
        update: GenerationUpdate,
        usage: &mut Usage,
        faults: &mut ProviderFaults,
    ) -> Option<Input> {
        let Running { id: generation, estimate, .. } = self.running.as_mut()?;
        let generation = *generation;
        match update {
            Some(Ok(ModelEvent::Text(text))) => {
                estimate.record_text(&text);
                Some(Input::ModelText { generation, text })
            }
            Some(Ok(ModelEvent::ToolCall(call))) => {
                estimate.record_text(&call.arguments);
                let call = ToolCall { id: call.id, name: call.name, arguments: call.arguments };
                Some(Input::ModelToolCall { generation, call })
            }
            Some(Ok(ModelEvent::Usage { input_tokens, output_tokens, cached_tokens })) => {
                estimate.mark_reported();
                usage.input_tokens += input_tokens;
                usage.output_tokens += output_tokens;
                usage.cached_input_tokens += cached_tokens;
                None
            }
            Some(Ok(ModelEvent::Finished(_))) => {
                self.cancel(usage);
                Some(Input::ModelFinished { generation })
            }
            failed => {
                if let Some(Err(error)) = failed {
                    let provider = self.providers.serving.language_model.provider();
                    tracing::warn!(provider, %error, "generation failed");
                    faults.record_error(ProviderRole::LanguageModel, &error);
                }
                if estimate.is_empty() {
                    // Vendors charge nothing for a generation that they refused.
                    self.running = None;
                }
                self.cancel(usage);
                Some(Input::ModelFailed { generation })
            }
        }
    }
}
