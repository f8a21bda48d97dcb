//! Tool calls: functions that the model calls and the customer's webhooks answer.
//!
//! The response of the first webhook that receives the event is the function's result. An event is stored before any
//! webhook sees it, so a tool call first waits until its event is stored, some ten milliseconds. The attempt is stored
//! beside the event. The loop of the call never waits for a tool call, and a call that ends cancels those that still
//! run.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::{Value, json};
use switchboard_contract::events::payload::Payload;
use switchboard_dialogue::Input;
use switchboard_model::{
    accounts::Account,
    conversations::Snapshot,
    deliveries::{self, Attempt, Delivery},
    events::Event,
    time::Timestamp,
};
use switchboard_providers::webhooks::{WebhookRequest, WebhookResponse};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, ports::WebhookSender};

/// Maximum time for a webhook's response: a caller who waits longer has hung up.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for the event to be stored, and for a call to wait for one of the slots.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of webhook requests that one call makes at the same time.
const SLOTS: usize = 8;

/// The result of a function that has no webhook, or whose webhook responds with nothing.
const SUCCESS: &str = r#"{"ok": true}"#;

/// The tool calls of one call.
pub(crate) struct ToolCalls<'a> {
    invoker: Invoker<'a>,
    /// The event of the function that is called next; none if no webhook receives it.
    announced: Option<oneshot::Receiver<Event>>,
    running: FuturesUnordered<BoxFuture<'a, ToolOutcome>>,
}

/// The outcome of one tool call.
pub(crate) struct ToolOutcome {
    /// The id of the tool call.
    pub(crate) call: String,
    /// The result as the model sees it.
    pub(crate) content: String,
    /// The delivery to store; none if no request was made.
    pub(crate) delivery: Option<Delivery>,
}

/// The context in which a tool call runs.
#[derive(Clone)]
struct Invoker<'a> {
    sender: &'a dyn WebhookSender,
    account: Option<&'a Account>,
    snapshot: &'a Snapshot,
    clock: Clock,
    /// The carrier's verdict on who answered, which is newer than the snapshot.
    answered_by: Option<String>,
    slots: Arc<Semaphore>,
    cancelled: CancellationToken,
}

impl<'a> ToolCalls<'a> {
    /// Without an account no request can be signed, so none is sent.
    pub(crate) fn new(
        sender: &'a dyn WebhookSender,
        account: Option<&'a Account>,
        snapshot: &'a Snapshot,
        clock: Clock,
    ) -> Self {
        let (slots, cancelled) = (Arc::new(Semaphore::new(SLOTS)), CancellationToken::new());
        let invoker = Invoker { sender, account, snapshot, clock, answered_by: None, slots, cancelled };
        Self { invoker, announced: None, running: FuturesUnordered::new() }
    }

    /// Adds the carrier's verdict to the payloads from now on.
    pub(crate) fn set_answered_by(&mut self, verdict: String) {
        self.invoker.answered_by = Some(verdict);
    }

    /// Sets the event of the next [`start`](Self::start); none if no webhook receives it.
    pub(crate) fn announce(&mut self, stored: Option<oneshot::Receiver<Event>>) {
        self.announced = stored;
    }

    /// Starts the tool call that was announced; its webhook is called once the event is stored. Without a webhook it
    /// succeeds at once.
    pub(crate) fn start(&mut self, call: String) -> Option<Input> {
        let Some(stored) = self.announced.take() else {
            return Some(Input::ToolResult { call, content: SUCCESS.to_owned() });
        };
        self.running.push(Box::pin(self.invoker.clone().run(call, stored)));
        None
    }

    /// The next outcome; none while no call runs.
    pub(crate) async fn next(&mut self) -> Option<ToolOutcome> {
        self.running.next().await
    }

    /// Cancels the calls that still run, and returns their deliveries.
    pub(crate) async fn stop(&mut self) -> Vec<Delivery> {
        self.invoker.cancelled.cancel();
        let running = std::mem::take(&mut self.running);
        running.filter_map(async |outcome| outcome.delivery).collect().await
    }
}

impl Invoker<'_> {
    async fn run(self, call: String, mut stored: oneshot::Receiver<Event>) -> ToolOutcome {
        let waited = self.cancelled.run_until_cancelled(timeout(WAIT_TIMEOUT, &mut stored)).await;
        let event = if let Some(Ok(stored)) = waited {
            stored.ok()
        } else {
            // It may have been stored at the last moment.
            stored.close();
            stored.try_recv().ok()
        };
        // If the event is stored later, the journal records that its webhook was not called.
        let Some(event) = event else {
            return ToolOutcome { call, content: error("the function could not be called"), delivery: None };
        };
        let Some(webhook) = event.synchronous else {
            return ToolOutcome { call, content: SUCCESS.to_owned(), delivery: None };
        };
        let (at, began) = ((self.clock)(), Instant::now());
        let attempt = self.cancelled.run_until_cancelled(self.attempt(&event, webhook)).await;
        let (attempt, answer) = attempt.unwrap_or_else(|| {
            let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            (failed(at, "the call ended, or changed workers, before there was an answer", latency_ms), None)
        });
        let content = result(&attempt, answer.as_ref());
        let delivery = Delivery::at_once(event.id, event.sequence, webhook, Attempt { at, ..attempt });
        ToolOutcome { call, content, delivery: Some(delivery) }
    }

    async fn attempt(&self, event: &Event, index: usize) -> (Attempt, Option<WebhookResponse>) {
        let Snapshot { conversation, agent } = self.snapshot;
        let failed = |reason| (failed((self.clock)(), reason, 0), None);
        let Some(webhook) = agent.webhooks.get(index) else {
            return failed("there is no such webhook");
        };
        let Ok(Ok(_slot)) = timeout(WAIT_TIMEOUT, self.slots.acquire()).await else {
            return failed("too many functions were called at once");
        };
        let now = (self.clock)();
        let secrets: Vec<&str> =
            self.account.iter().flat_map(|account| account.signing_secrets(now)).collect();
        let mut conversation = conversation.clone();
        let caller = conversation.legs.caller_mut();
        if let (Some(call), Some(verdict)) = (&mut caller.phone_call, &self.answered_by) {
            call.answered_by = Some(verdict.clone());
        }
        let payload = Payload::new(event, &conversation, agent, webhook.method, None);
        let id = deliveries::webhook_id(event.id, index);
        let timeout = RESPONSE_TIMEOUT;
        let request = WebhookRequest { webhook, payload: &payload, id: &id, secrets: &secrets, now, timeout };
        self.sender.send(request).await
    }
}

/// The delivery of a function whose webhook was not called: the call had ended, or the event was stored too late.
pub(crate) fn not_called(event: &Event, now: Timestamp) -> Option<Delivery> {
    let attempt = failed(now, "not called: the event was stored too late", 0);
    Some(Delivery::at_once(event.id, event.sequence, event.synchronous?, attempt))
}

fn failed(at: Timestamp, reason: &str, latency_ms: u64) -> Attempt {
    Attempt { at, status: None, latency_ms, answer: Some(reason.to_owned()) }
}

/// The result as the model sees it.
fn result(attempt: &Attempt, answer: Option<&WebhookResponse>) -> String {
    match answer {
        Some(answer) if attempt.delivered() => content(&answer.text, answer.is_cut),
        Some(answer) => error(&format!("the function answered with status {}", answer.status)),
        None => error(attempt.answer.as_deref().unwrap_or_default()),
    }
}

/// The `result` of a JSON object that has one, else the whole text.
fn content(text: &str, is_cut: bool) -> String {
    if let Ok(Value::Object(mut answer)) = serde_json::from_str(text)
        && let Some(result) = answer.remove("result")
    {
        return match result {
            Value::String(text) => text,
            result => result.to_string(),
        };
    }
    match text.trim() {
        "" => SUCCESS.to_owned(),
        text if is_cut => format!("{text}\n[cut after 16 KiB]"),
        text => text.to_owned(),
    }
}

/// The result of a function that was not executed, or failed.
pub(crate) fn error(reason: &str) -> String {
    json!({ "error": reason }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_the_member_result_or_the_whole_body() {
        for (body, expected) in [
            (r#"{"result": {"price": 3}, "more": 1}"#, r#"{"price":3}"#),
            (r#"{"result": "At six."}"#, "At six."),
            (r#"{"result": null}"#, "null"),
            (r#" {"price": 3} "#, r#"{"price": 3}"#),
            ("[1, 2]", "[1, 2]"),
            ("At six.\n", "At six."),
            ("{broken", "{broken"),
            ("", SUCCESS),
            (" \n", SUCCESS),
        ] {
            assert_eq!(content(body, false), expected, "{body}");
        }
    }

    #[test]
    fn a_long_result_is_cut_with_a_note() {
        assert_eq!(content("At six", true), "At six\n[cut after 16 KiB]");
    }
}
