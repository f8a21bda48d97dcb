//! Scripted webhooks without a socket, whose answer depends on the function's name.

use std::{fmt, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::Value;
use switchboard_contract::events::payload::Payload;
use switchboard_media::WebhookSender;
use switchboard_model::{deliveries::Attempt, webhooks::Webhook};
use switchboard_providers::webhooks::{WebhookRequest, WebhookResponse};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::support::{SIGNING_SECRET, TEST_TIMEOUT, agents};

/// Latency of a webhook.
const ANSWER_DELAY: Duration = Duration::from_millis(30);

/// The requests that the webhooks received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    /// URL and body of each request, in their order.
    pub(crate) requests: Vec<(String, Value)>,
    /// The `webhook-id` of each request.
    pub(crate) ids: Vec<String>,
    /// Number of requests that wait for their answer now, and the maximum so far.
    pub(crate) waiting: usize,
    pub(crate) most_waiting: usize,
}

#[derive(Clone, Default)]
pub(crate) struct ScriptedWebhooks {
    calls: watch::Sender<Calls>,
    /// Whether waiting requests are answered.
    is_released: watch::Sender<bool>,
}

impl ScriptedWebhooks {
    /// A webhook for functions.
    pub(crate) fn webhook() -> Webhook {
        agents::webhook("https://bakery.example/hook")
    }

    /// Answers the waiting requests, and all later ones at once.
    pub(crate) fn release(&self) {
        self.is_released.send_replace(true);
    }

    pub(crate) fn calls(&self) -> Calls {
        self.calls.borrow().clone()
    }

    /// Waits until the requests are as expected.
    pub(crate) async fn until(&self, expected: &str, is_so: impl FnMut(&Calls) -> bool) {
        let mut calls = self.calls.subscribe();
        let waited = timeout(TEST_TIMEOUT, calls.wait_for(is_so)).await.is_ok();
        assert!(waited, "not received: {expected}; but {:?}", self.calls());
    }

    /// The answer to a function; `None` if there is none in time.
    async fn answer(&self, function: &str, limit: Duration) -> Option<(u16, String)> {
        let answer = |status, body: &str| Some((status, body.to_owned()));
        match function {
            "price" => answer(200, r#"{"result": {"euros": 3}, "internal": "x"}"#),
            "hours" => answer(200, "Until six."),
            "nothing" => answer(204, ""),
            "broken" => answer(500, "database down"),
            "never" => {
                sleep(limit).await;
                None
            }
            _ => {
                let _waiting = Waiting::new(self.calls.clone());
                self.is_released.subscribe().wait_for(|released| *released).await.unwrap();
                answer(200, function)
            }
        }
    }
}

impl fmt::Debug for ScriptedWebhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScriptedWebhooks")
    }
}

impl WebhookSender for ScriptedWebhooks {
    fn send<'a>(&'a self, request: WebhookRequest<'a>) -> BoxFuture<'a, (Attempt, Option<WebhookResponse>)> {
        async move {
            assert_eq!(request.secrets, [SIGNING_SECRET], "each request is signed");
            let Payload::Json(body) = request.payload else { panic!("functions are sent by POST") };
            let body: Value = serde_json::from_str(body).unwrap();
            let function = body["data"]["function"]["name"].as_str().unwrap().to_owned();
            self.calls.send_modify(|calls| {
                calls.requests.push((request.webhook.url.clone(), body));
                calls.ids.push(request.id.to_owned());
            });
            let began = Instant::now();
            sleep(ANSWER_DELAY).await;
            let answer = self.answer(&function, request.timeout).await;
            let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap();
            let words = match &answer {
                Some((_, body)) => body.clone(),
                None => format!("no whole answer within {} seconds", request.timeout.as_secs()),
            };
            let status = answer.as_ref().map(|(status, _)| *status);
            let attempt = Attempt { at: request.now, status, latency_ms, answer: Some(words) };
            let answer = answer.map(|(status, body)| WebhookResponse {
                status,
                text: body,
                is_cut: false,
                retry_after: None,
            });
            (attempt, answer)
        }
        .boxed()
    }
}

/// Counts as a waiting request until it is dropped.
struct Waiting(watch::Sender<Calls>);

impl Waiting {
    fn new(calls: watch::Sender<Calls>) -> Self {
        calls.send_modify(|calls| {
            calls.waiting += 1;
            calls.most_waiting = calls.most_waiting.max(calls.waiting);
        });
        Self(calls)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.send_modify(|calls| calls.waiting -= 1);
    }
}
