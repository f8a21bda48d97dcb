//! A customer's endpoint, whose answer depends on the function's name.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::Value;
use switchboard_contract::signature;
use switchboard_model::webhooks::Webhook;
use tokio::{net::TcpListener, runtime::Handle, sync::watch};

use crate::support::{SIGNING_SECRET, agents::webhook};

/// The requests that the endpoint received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Called {
    /// The bodies of all requests, in their order. All of them were signed.
    pub(crate) bodies: Vec<Value>,
    /// The `webhook-id` of each request.
    pub(crate) ids: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Receiver {
    url: String,
    called: watch::Sender<Called>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Self { url, called: watch::Sender::default() };
        let router = Router::new().route("/hook", post(answer)).with_state(Arc::new(receiver.clone()));
        // The test's runtime owns the server, and ends it with the test.
        Handle::current().spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// A webhook with the receiver's URL.
    pub(crate) fn webhook(&self) -> Webhook {
        webhook(&self.url)
    }

    pub(crate) fn called(&self) -> Called {
        self.called.borrow().clone()
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
        other => panic!("the receiver does not know {other}"),
    }
}
