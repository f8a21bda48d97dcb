//! The functions of a scenario: a webhook server on this machine with the responses from the file.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::file::FunctionStub;

/// A function call and its response.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FunctionAnswer {
    /// The time of the response, in milliseconds since 1970.
    pub(super) at_ms: i64,
    pub(super) name: String,
    pub(super) status: u16,
    pub(super) answer: Value,
}

/// A running server. Dropping it stops it.
pub(super) struct FunctionServer {
    url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    tools: BTreeMap<String, FunctionStub>,
    answered: Mutex<Vec<FunctionAnswer>>,
}

impl FunctionServer {
    /// Starts a server for these functions.
    pub(super) async fn start(tools: BTreeMap<String, FunctionStub>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("opening a port for functions")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let shared = Arc::new(Shared { tools, answered: Mutex::default() });
        let app = Router::new().fallback(call).with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move { drop(axum::serve(listener, app).await) });
        Ok(Self { url, shared, _serving: serving })
    }

    /// Adds the webhook to an agent, before all others, because the first one that receives a function call gives its
    /// result. Functions that the agent does not offer to its model yet are added there.
    pub(super) fn add_to(&self, agent: &mut Value) {
        let names: Vec<&String> = self.shared.tools.keys().collect();
        if names.is_empty() {
            return;
        }
        let filter: Vec<_> = names.iter().map(|name| format!("function.name == '{name}'")).collect();
        let webhook = json!({
            "url": self.url, "method": "POST", "events": ["function_call:triggered"],
            "filter": filter.join(" || "),
        });
        list(agent, "webhooks").insert(0, webhook);
        let known = list(&mut agent["language_model"], "tools");
        for name in names {
            if !known.iter().any(|tool| tool["function"]["name"] == **name) {
                known.push(json!({ "type": "function", "function": { "name": name } }));
            }
        }
    }

    /// The responses so far.
    pub(super) fn answered(&self) -> Vec<FunctionAnswer> {
        self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The array in a field, created if it is missing.
fn list<'a>(value: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    if !value[field].is_array() {
        value[field] = json!([]);
    }
    value[field].as_array_mut().expect("the line above makes it an array")
}

async fn call(State(shared): State<Arc<Shared>>, Json(event): Json<Value>) -> Response {
    let name = event["data"]["function"]["name"].as_str().unwrap_or_default();
    let Some(FunctionStub { answer, after_ms, status }) = shared.tools.get(name).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    tokio::time::sleep(Duration::from_millis(after_ms)).await;
    let at_ms = switchboard_runtime::now().as_millis();
    let answered = FunctionAnswer { at_ms, name: name.to_owned(), status, answer: answer.clone() };
    shared.answered.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(answer)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_function_is_offered_to_the_model_and_answered_from_the_file() {
        let tool = FunctionStub { answer: json!({ "free": true }), after_ms: 0, status: 201 };
        let tools = FunctionServer::start([("book".to_owned(), tool)].into()).await.unwrap();
        let mut agent =
            json!({ "webhooks": [{ "url": "http://other" }], "language_model": { "temperature": 0.5 } });
        tools.add_to(&mut agent);
        assert_eq!(agent["webhooks"][0]["filter"], "function.name == 'book'");
        assert_eq!(agent["webhooks"][1]["url"], "http://other");
        assert_eq!(
            agent["language_model"]["tools"],
            json!([{ "type": "function", "function": { "name": "book" } }])
        );
        let mut again = agent.clone();
        tools.add_to(&mut again);
        assert_eq!(again["language_model"], agent["language_model"]);

        let ask = |name: &str| Json(json!({ "data": { "function": { "name": name } } }));
        let shared = || State(Arc::clone(&tools.shared));
        assert_eq!(call(shared(), ask("book")).await.status(), 201);
        assert_eq!(call(shared(), ask("other")).await.status(), 404);
        let answered = tools.answered();
        assert_eq!(answered.len(), 1);
        assert_eq!((&*answered[0].name, &answered[0].answer), ("book", &json!({ "free": true })));
    }
}
