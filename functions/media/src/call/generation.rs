//! The running generation of the language model: at most one at a time.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::StreamExt;
use switchboard_dialogue::{FunctionCall, GenerationId, HistoryItem, Input, ProviderRole};
use switchboard_model::{agents::AgentConfig, catalogue::StandIn, costs::Usage};
use switchboard_providers::{
    Error,
    language_model::{self, ChatMessage, Conversation, Generation, GenerationEvent, TOTAL_TIMEOUT},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    call_providers::CallProviders,
    provider_faults::{ProviderFaults, fault},
    stored_text::MAX_NAME_BYTES,
    token_estimate::TokenEstimate,
};

/// Maximum number of a vendor's ids that a call remembers.
const MAX_VENDORS_IDS: usize = 1_000;

/// An event of the running generation; `None` if its stream ended without a last event.
pub(super) type GenerationUpdate = Option<Result<GenerationEvent, Error>>;

/// Starts and cancels generations.
pub(super) struct Generations<'a> {
    agent: &'a AgentConfig,
    providers: &'a CallProviders,
    running: Option<Running>,
    call_ids: CallIds,
}

/// Ids of function calls. Vendors leave them out, repeat them across responses, or give one to two calls; so inside, and
/// to the customer, each call has an id of ours, and the vendor's is on its wire only.
struct CallIds {
    /// Which worker of the call this is.
    worker: u32,
    calls: u32,
    /// The vendor's ids, by ours; only those that were not used before.
    vendors: HashMap<String, String>,
    used: HashSet<String>,
}

impl CallIds {
    /// Calls of other workers have their vendor's ids everywhere.
    fn new(worker: u32, history: &[HistoryItem]) -> Self {
        let calls = history.iter().filter_map(|item| match item {
            HistoryItem::ToolCalls(calls) => Some(calls),
            _ => None,
        });
        let used = calls.flatten().map(|call| call.id.clone()).collect();
        Self { worker, calls: 0, vendors: HashMap::new(), used }
    }

    /// Our id of a new call.
    fn assign(&mut self, vendors: String) -> String {
        self.calls += 1;
        let own = format!("call_{}_{}", self.worker, self.calls);
        let is_usable = !vendors.is_empty() && vendors.len() <= MAX_NAME_BYTES;
        if self.vendors.len() >= MAX_VENDORS_IDS {
            // Older calls go by our ids from now on, with their results.
            self.vendors.clear();
            self.used.clear();
        }
        if is_usable && self.used.insert(vendors.clone()) {
            self.vendors.insert(own.clone(), vendors);
        }
        own
    }

    /// The id of a call on the vendor's wire.
    fn on_wire(&self, own: String) -> String {
        self.vendors.get(&own).cloned().unwrap_or(own)
    }
}

struct Running {
    id: GenerationId,
    events: Generation,
    /// Time that is left to read it.
    time_left: Duration,
    /// When reading began; none while no more of it is wanted.
    reading_since: Option<Instant>,
    /// Counts if the vendor reports no usage, as for a cancelled generation.
    estimate: TokenEstimate,
    /// The provider that generates it; none: the one that the catalogue chooses.
    stand_in: Option<StandIn>,
}

impl<'a> Generations<'a> {
    /// Nothing runs yet. `worker`: how many workers the call had before; `history`: what they left.
    pub(super) fn new(
        agent: &'a AgentConfig,
        providers: &'a CallProviders,
        worker: u32,
        history: &[HistoryItem],
    ) -> Self {
        Self { agent, providers, running: None, call_ids: CallIds::new(worker, history) }
    }

    /// The id of a function call on the vendor's wire.
    pub(super) fn on_wire(&self, own: String) -> String {
        self.call_ids.on_wire(own)
    }

    /// Starts a generation that continues `history`, in place of the running one.
    pub(super) fn start(&mut self, id: GenerationId, history: Vec<HistoryItem>, usage: &mut Usage) {
        self.cancel(usage);
        let estimate = TokenEstimate::new(self.agent, &history);
        let messages: Vec<ChatMessage> =
            history.into_iter().map(|item| chat_message(item, &self.call_ids)).collect();
        let conversation = Conversation { prompt: self.agent.prompt.as_deref(), messages: &messages };
        let events = self.providers.language_model.generate(&conversation);
        self.running = Some(Running {
            id,
            events,
            time_left: TOTAL_TIMEOUT,
            reading_since: None,
            estimate,
            stand_in: None,
        });
    }

    /// Cancels the running generation, and adds its estimate to the usage unless the vendor reported it.
    pub(super) fn cancel(&mut self, usage: &mut Usage) {
        if let Some(running) = self.running.take() {
            running.estimate.add_to(usage.of(running.stand_in.as_ref()));
        }
    }

    /// Cancels this generation if it is the running one.
    pub(super) fn cancel_one(&mut self, id: GenerationId, usage: &mut Usage) {
        if self.running.as_ref().is_some_and(|running| running.id == id) {
            self.cancel(usage);
        }
    }

    /// The next event; never, while nothing runs, or while no more is wanted. Cancel-safe.
    pub(super) async fn next(&mut self, is_wanted: bool) -> GenerationUpdate {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        if !is_wanted {
            if let Some(since) = running.reading_since.take() {
                running.time_left = running.time_left.saturating_sub(since.elapsed());
            }
            return std::future::pending().await;
        }
        let since = *running.reading_since.get_or_insert_with(Instant::now);
        match timeout_at(since + running.time_left, running.events.next()).await {
            Ok(update) => update,
            Err(_) => Some(Err(Error::Unavailable {
                vendor: self.providers.resolved.language_model.provider(),
                reason: format!("its response took more than {} s", TOTAL_TIMEOUT.as_secs()),
                retry_after: None,
                source: None,
            })),
        }
    }

    /// Accounts for an event, and converts it for the engine.
    pub(super) fn apply(
        &mut self,
        update: GenerationUpdate,
        usage: &mut Usage,
        faults: &mut ProviderFaults,
    ) -> Option<Input> {
        let Running { id: generation, estimate, stand_in, .. } = self.running.as_mut()?;
        let generation = *generation;
        match update {
            Some(Ok(GenerationEvent::Text(text))) => {
                estimate.record_text(&text);
                Some(Input::ModelText { generation, text })
            }
            Some(Ok(GenerationEvent::ToolCall(call))) => {
                estimate.record_text(&call.arguments);
                let language_model::ToolCall { id, name, arguments, provider_state } = call;
                let id = self.call_ids.assign(id);
                let call = FunctionCall { id, name, arguments, provider_state };
                Some(Input::ModelToolCall { generation, call })
            }
            Some(Ok(GenerationEvent::Usage {
                input_tokens,
                output_tokens,
                cached_tokens,
                cache_write_tokens,
            })) => {
                estimate.mark_reported();
                let usage = usage.of(stand_in.as_ref());
                usage.input_tokens += input_tokens;
                usage.output_tokens += output_tokens;
                usage.cached_input_tokens += cached_tokens;
                usage.cache_write_tokens += cache_write_tokens;
                None
            }
            Some(Ok(GenerationEvent::Fallback(fallback))) => {
                faults.record_fallback(ProviderRole::LanguageModel, &fallback);
                estimate.mark_repeated();
                *stand_in = fallback.stand_in;
                None
            }
            Some(Ok(GenerationEvent::Finished(_))) => {
                self.cancel(usage);
                Some(Input::ModelFinished { generation })
            }
            failed => {
                if let Some(Err(error)) = failed {
                    let provider = faults.provider(ProviderRole::LanguageModel);
                    tracing::warn!(provider, error = fault(&error), "generation failed");
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

/// Converts a history item to a message for the model.
fn chat_message(item: HistoryItem, ids: &CallIds) -> ChatMessage {
    match item {
        HistoryItem::User(text) => ChatMessage::User(text),
        HistoryItem::Agent { text, .. } => ChatMessage::Agent(text),
        HistoryItem::Note(text) => ChatMessage::System(text),
        HistoryItem::ToolCalls(calls) => {
            ChatMessage::ToolCalls(calls.into_iter().map(|call| tool_call(call, ids)).collect())
        }
        HistoryItem::ToolResult { call, content } => {
            ChatMessage::ToolResult { call: ids.on_wire(call), content }
        }
    }
}

fn tool_call(call: FunctionCall, ids: &CallIds) -> language_model::ToolCall {
    let FunctionCall { id, name, arguments, provider_state } = call;
    let mut call = language_model::ToolCall { id: ids.on_wire(id), name, arguments, provider_state };
    // Servers refuse a request with arguments that do not parse; the result says that they were broken.
    if language_model::arguments(&call).is_none() {
        "{}".clone_into(&mut call.arguments);
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_own_id_inside_and_on_the_wire() {
        let mut ids = CallIds::new(2, &[]);
        let own = ["call_0", "", "call_0", "b", ""].map(|vendors| ids.assign(vendors.to_owned()));
        assert_eq!(own, ["call_2_1", "call_2_2", "call_2_3", "call_2_4", "call_2_5"]);
        let wire = own.map(|own| ids.on_wire(own));
        assert_eq!(wire, ["call_0", "call_2_2", "call_2_3", "b", "call_2_5"]);
        let long = ids.assign("x".repeat(MAX_NAME_BYTES + 1));
        assert_eq!(ids.on_wire(long.clone()), long);
    }

    #[test]
    fn an_id_of_another_worker_is_not_given_to_another_call() {
        let call = FunctionCall {
            id: "call_0".into(),
            name: "look".into(),
            arguments: "{}".into(),
            provider_state: None,
        };
        let mut ids = CallIds::new(1, &[HistoryItem::ToolCalls(vec![call])]);
        let own = ids.assign("call_0".to_owned());
        assert_eq!(ids.on_wire(own), "call_1_1");
        assert_eq!(ids.on_wire("call_0".to_owned()), "call_0", "with its result");
    }

    #[test]
    fn broken_arguments_are_not_sent_back() {
        let call = |arguments: &str| FunctionCall {
            id: "a".into(),
            name: "look".into(),
            arguments: arguments.into(),
            provider_state: None,
        };
        let sent = |arguments| tool_call(call(arguments), &CallIds::new(0, &[])).arguments;
        assert_eq!(sent(r#"{"a": 1}"#), r#"{"a": 1}"#);
        assert_eq!(sent(r#"{"a": 1"#), "{}");
    }
}
