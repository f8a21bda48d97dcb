//! A customer's endpoint: answers by the name of the function it is called for.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::Value;
use switchboard_contract::signature;
use switchboard_model::{
    agents::{Webhook, WebhookMethod},
    events::EventName,
};
use tokio::{net::TcpListener, runtime::Handle, sync::watch, time::timeout};

use super::{SIGNING_SECRET, vendors::PATIENCE};

/// What came to the receiver.
#[derive(Debug, Clone, Default)]
pub(crate) struct Called {
    /// The bodies of all calls, in their order; each was signed.
    pub(crate) bodies: Vec<Value>,
    /// Their `webhook-id`.
    pub(crate) ids: Vec<String>,
    /// Calls that wait for their answer now, and the most that ever did.
    pub(crate) waiting: usize,
    pub(crate) most_waiting: usize,
}

#[derive(Clone)]
pub(crate) struct Receiver {
    url: String,
    called: watch::Sender<Called>,
    /// Whether those that wait are answered.
    released: watch::Sender<bool>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Self { url, called: watch::Sender::default(), released: watch::Sender::default() };
        let router = Router::new().route("/hook", post(answer)).with_state(Arc::new(receiver.clone()));
        // The runtime of the test owns it: each test has its own and ends what is in it.
        Handle::current().spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// A webhook that leads here.
    pub(crate) fn webhook(&self) -> Webhook {
        webhook(&self.url)
    }

    /// Answers `waits` from now on.
    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    pub(crate) fn called(&self) -> Called {
        self.called.borrow().clone()
    }

    /// Waits until what came is as expected.
    pub(crate) async fn until(&self, expected: &str, is_so: impl FnMut(&Called) -> bool) {
        let mut called = self.called.subscribe();
        let waited = timeout(PATIENCE, called.wait_for(is_so)).await.is_ok();
        assert!(waited, "not called: {expected}; but {:?}", self.called());
    }
}

/// A webhook that is asked for the results of functions.
pub(crate) fn webhook(url: &str) -> Webhook {
    Webhook {
        events: vec![EventName::FunctionCallTriggered],
        url: url.to_owned(),
        method: WebhookMethod::Post,
        headers: None,
        filter: None,
    }
}

/// While it lives, a call waits.
struct Waiting(Arc<Receiver>);

impl Waiting {
    fn new(receiver: Arc<Receiver>) -> Self {
        receiver.called.send_modify(|called| {
            called.waiting += 1;
            called.most_waiting = called.most_waiting.max(called.waiting);
        });
        Self(receiver)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.called.send_modify(|called| called.waiting -= 1);
    }
}

async fn answer(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, text: String) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
    assert_eq!(header("webhook-signature"), signature::sign([SIGNING_SECRET], &id, at, &text));
    let body: Value = serde_json::from_str(&text).unwrap();
    let function = body["data"]["function"]["name"].as_str().unwrap().to_owned();
    receiver.called.send_modify(|called| {
        called.bodies.push(body);
        called.ids.push(id);
    });
    match &*function {
        "price" => r#"{"result": {"euros": 3}, "internal": "x"}"#.into_response(),
        "hours" => "Until six.".into_response(),
        "nothing" => StatusCode::NO_CONTENT.into_response(),
        "broken" => (StatusCode::INTERNAL_SERVER_ERROR, "database down").into_response(),
        "never" => std::future::pending().await,
        _ => {
            let _waiting = Waiting::new(receiver.clone());
            receiver.released.subscribe().wait_for(|released| *released).await.unwrap();
            function.into_response()
        }
    }
}
