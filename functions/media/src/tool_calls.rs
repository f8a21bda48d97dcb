//! Functions that the model calls: a webhook is called, and its answer is the function's result.
//!
//! An event is stored before anybody hears of it, so a call waits for its event's place in the log: some
//! ten milliseconds. What came of the call is stored beside the event. Nothing here is waited for: the
//! agent listens meanwhile, and a call that ends drops what still runs.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::{Value, json};
use switchboard_contract::payload::Payload;
use switchboard_dialogue::Input;
use switchboard_model::{
    accounts::Account,
    conversations::Snapshot,
    deliveries::{self, Attempt, Delivery},
    events::Event,
};
use switchboard_providers::webhooks::{Answer, Request, Sender};
use switchboard_runtime as system;
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a receiver may take to answer: a caller who waits longer has hung up.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the event may take to be stored, and how long a call may wait for others to end.
const WAIT: Duration = Duration::from_secs(10);
/// Functions of one call that are called at once; more wait.
const AT_ONCE: usize = 8;

/// The result of a function that nobody answers, or answers with nothing.
const SUCCESS: &str = r#"{"ok": true}"#;

/// The functions that a call is waiting for.
pub(crate) struct ToolCalls<'a> {
    caller: Caller<'a>,
    /// The event of the function that is called next; none if no webhook asked for it.
    announced: Option<oneshot::Receiver<Event>>,
    running: FuturesUnordered<BoxFuture<'a, ToolOutcome>>,
}

/// What became of one function.
pub(crate) struct ToolOutcome {
    /// The model's name for the call.
    pub(crate) call: String,
    /// What the model is told.
    pub(crate) content: String,
    /// What is stored; none if nobody was called.
    pub(crate) delivery: Option<Delivery>,
}

#[derive(Clone)]
struct Caller<'a> {
    sender: &'a Sender,
    account: Option<&'a Account>,
    snapshot: &'a Snapshot,
    /// The carrier's verdict, which came later than the snapshot.
    answered_by: Option<String>,
    room: Arc<Semaphore>,
    over: CancellationToken,
}

impl<'a> ToolCalls<'a> {
    /// Ready to call. An account that nobody knows signs nothing, and nothing unsigned is sent.
    pub(crate) fn new(sender: &'a Sender, account: Option<&'a Account>, snapshot: &'a Snapshot) -> Self {
        let (room, over) = (Arc::new(Semaphore::new(AT_ONCE)), CancellationToken::new());
        Self {
            caller: Caller { sender, account, snapshot, answered_by: None, room, over },
            announced: None,
            running: FuturesUnordered::new(),
        }
    }

    /// The carrier found out who answered: functions that are called from now on are told.
    pub(crate) fn answered_by(&mut self, verdict: String) {
        self.caller.answered_by = Some(verdict);
    }

    /// The event of the function that is called next will be `stored`; none if no webhook asked for it.
    pub(crate) fn announce(&mut self, stored: Option<oneshot::Receiver<Event>>) {
        self.announced = stored;
    }

    /// Calls the function that was announced, as soon as its event is stored. One that no webhook asked
    /// for has succeeded.
    pub(crate) fn call(&mut self, call: String) -> Option<Input> {
        let Some(stored) = self.announced.take() else {
            return Some(Input::ToolResult { call, content: SUCCESS.to_owned() });
        };
        self.running.push(Box::pin(self.caller.clone().call(call, stored)));
        None
    }

    /// The next one that is answered; none while nothing runs.
    pub(crate) async fn next(&mut self) -> Option<ToolOutcome> {
        self.running.next().await
    }

    /// Drops what still runs, and tells what is stored of it.
    pub(crate) async fn stop(&mut self) -> Vec<Delivery> {
        self.caller.over.cancel();
        let running = std::mem::take(&mut self.running);
        running.filter_map(async |answered| answered.delivery).collect().await
    }
}

impl Caller<'_> {
    async fn call(self, call: String, mut stored: oneshot::Receiver<Event>) -> ToolOutcome {
        let waited = self.over.run_until_cancelled(timeout(WAIT, &mut stored)).await;
        let event = if let Some(Ok(stored)) = waited {
            stored.ok()
        } else {
            // It may have been stored at the last moment.
            stored.close();
            stored.try_recv().ok()
        };
        // Of an event that is stored later, the journal notes that nobody was called.
        let Some(event) = event else {
            return ToolOutcome { call, content: error("the function could not be called"), delivery: None };
        };
        let Some(webhook) = event.synchronous else {
            return ToolOutcome { call, content: SUCCESS.to_owned(), delivery: None };
        };
        let (at, began) = (system::now(), Instant::now());
        let (attempt, answer) =
            self.over.run_until_cancelled(self.attempt(&event, webhook)).await.unwrap_or_else(|| {
                let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                (
                    unanswered("the call ended, or changed workers, before there was an answer", latency_ms),
                    None,
                )
            });
        let content = result(&attempt, answer.as_ref());
        let delivery = Delivery::at_once(event.id, event.sequence, webhook, Attempt { at, ..attempt });
        ToolOutcome { call, content, delivery: Some(delivery) }
    }

    async fn attempt(&self, event: &Event, index: usize) -> (Attempt, Option<Answer>) {
        let Snapshot { conversation, agent } = self.snapshot;
        let Some(webhook) = agent.webhooks.get(index) else {
            return (unanswered("there is no such webhook", 0), None);
        };
        let Ok(Ok(_place)) = timeout(WAIT, self.room.acquire()).await else {
            return (unanswered("too many functions were called at once", 0), None);
        };
        let now = system::now();
        let secrets: Vec<&str> =
            self.account.iter().flat_map(|account| account.signing_secrets(now)).collect();
        let mut conversation = conversation.clone();
        if let (Some(call), Some(verdict)) = (&mut conversation.phone_call, &self.answered_by) {
            call.answered_by = Some(verdict.clone());
        }
        let payload = Payload::new(event, &conversation, agent, webhook.method, None);
        let id = deliveries::webhook_id(event.id, index);
        let request =
            Request { webhook, payload: &payload, id: &id, secrets: &secrets, now, timeout: ANSWER };
        self.sender.send(request).await
    }
}

/// What is stored of a function that nobody was asked for in time: its call ended, or its event could
/// not be stored.
pub(crate) fn not_called(event: &Event) -> Option<Delivery> {
    let attempt = unanswered("not called: the event was stored too late", 0);
    Some(Delivery::at_once(event.id, event.sequence, event.synchronous?, attempt))
}

fn unanswered(why: &str, latency_ms: u64) -> Attempt {
    Attempt { at: system::now(), status: None, latency_ms, answer: Some(why.to_owned()) }
}

/// What the model is told.
fn result(attempt: &Attempt, answer: Option<&Answer>) -> String {
    match answer {
        Some(answer) if attempt.delivered() => content(&answer.body),
        Some(answer) => error(&format!("the function answered with status {}", answer.status)),
        None => error(attempt.answer.as_deref().unwrap_or_default()),
    }
}

/// The answer's `result` if it is an object with one, else all of it.
fn content(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if let Ok(Value::Object(mut answer)) = serde_json::from_str(&text)
        && let Some(result) = answer.remove("result")
    {
        return match result {
            Value::String(text) => text,
            result => result.to_string(),
        };
    }
    match text.trim() {
        "" => SUCCESS.to_owned(),
        text => text.to_owned(),
    }
}

fn error(why: &str) -> String {
    json!({ "error": why }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_the_answers_or_all_of_it() {
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
            assert_eq!(content(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(content(b"\xff"), "\u{fffd}");
    }
}
