//! The limits of an account, and idempotency keys.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use harness::{Stack, restless, share_machine, shared, switchboard};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use switchboard_model::{
    ids::{AccountId, PhoneNumberId},
    phone_numbers::PhoneNumber,
};
use switchboard_runtime as system;

use crate::table::StackTable;

/// Time limit of anything that must happen eventually.
const LONG: Duration = Duration::from_mins(4);

/// An account, and the number it calls from.
struct Caller {
    id: String,
    token: String,
    number: String,
    http: Client,
}

/// One answer: status, `Retry-After`, body.
type Answer = (StatusCode, Option<u64>, Value);

fn http() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap()
}

fn command(stack: &Stack, arguments: &[&str]) -> Value {
    let output = switchboard(arguments).arg("--json").arg("--state").arg(stack.state()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Caller {
    /// The account of a stack, whose number the sandbox's carrier knows.
    fn of(stack: &Stack) -> Self {
        let text = |name: &str| stack.address(name).to_owned();
        Self { id: text("account_id"), token: text("token"), number: text("from_number"), http: http() }
    }

    /// Another account of a stack, limited as these options of `switchboard accounts limits` say.
    async fn new(stack: &Stack, number: &str, limits: &[&str]) -> Self {
        let account = command(stack, &["accounts", "create", "--name", "Limited"]);
        let text = |field: &str| account[field].as_str().unwrap().to_owned();
        let (id, token) = (text("account_id"), text("token"));
        let shown = command(stack, &[&["accounts", "limits", "--account", &id], limits].concat());
        assert_eq!(shown, command(stack, &["accounts", "limits", "--account", &id]));
        let (account, now): (AccountId, _) = (id.parse().unwrap(), system::now());
        let number_id = PhoneNumberId::new(now, system::random_u128());
        let table = StackTable::of(stack).table;
        let owned = PhoneNumber::coming(number_id, account, number.parse().unwrap(), None, now);
        table.add_phone_number(&owned.arrived("PN1".to_owned())).await.unwrap();
        Self { id, token, number: number.to_owned(), http: http() }
    }

    async fn send(
        &self,
        stack: &Stack,
        method: Method,
        path: &str,
        key: &str,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", stack.address("api_url")));
        request = request.bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("idempotency-key", key).json(body);
        }
        let answer = request.send().await.unwrap();
        let retry_after =
            answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
        (answer.status(), retry_after, answer.json().await.unwrap())
    }

    async fn call(&self, stack: &Stack, to: &str, key: &str) -> Answer {
        let agent = json!({ "initial_message": "Hello.", "max_duration_seconds": 4 });
        let body = json!({ "from_number": self.number, "to_number": to, "agent_config": agent });
        self.send(stack, Method::POST, "/conversations/create_phone_call", key, Some(&body)).await
    }

    async fn get(&self, stack: &Stack, path: &str) -> Answer {
        self.send(stack, Method::GET, path, "", None).await
    }

    /// Waits until a conversation is over.
    async fn ended(&self, stack: &Stack, id: &str) {
        let over = async |stack: &Stack| {
            let (_, _, conversation) = self.get(stack, &format!("/conversations/{id}")).await;
            Ok((conversation["status"] == "ended").then_some(()))
        };
        stack.wait(LONG, "the conversation is not over", over).await.unwrap();
    }
}

#[tokio::test]
async fn twenty_equal_requests_with_one_key_place_one_call() {
    let (_machine, stack, to) = (share_machine().await, shared(), "+14155550180");
    let caller = Caller::of(stack);
    let answers = join_all((0..20).map(|_| caller.call(stack, to, "order-4711"))).await;
    let mut shown = HashSet::new();
    for (status, retry_after, body) in answers {
        match status {
            StatusCode::OK => _ = shown.insert(body.to_string()),
            StatusCode::CONFLICT => assert_eq!(retry_after, Some(1), "{body}"),
            _ => panic!("{status} {body}"),
        }
    }
    assert_eq!(shown.len(), 1, "{shown:?}");
    let first: Value = serde_json::from_str(&shown.into_iter().next().unwrap()).unwrap();
    let id = first["id"].as_str().unwrap();
    let (status, _, again) = caller.call(stack, to, "order-4711").await;
    assert_eq!((status, &again), (StatusCode::OK, &first));
    let (status, retry_after, _) = caller.call(stack, "+14155550181", "order-4711").await;
    assert_eq!((status, retry_after), (StatusCode::CONFLICT, None), "another body");

    caller.ended(stack, id).await;
    let (_, _, page) = caller.get(stack, "/conversations").await;
    let items = page["items"].as_array().unwrap().iter();
    let ids: Vec<&Value> =
        items.filter(|item| item["phone_call"]["to_number"] == to).map(|item| &item["id"]).collect();
    assert_eq!(ids, [&json!(id)]);
    // Fails if there are two.
    stack.settled_call(to).await.unwrap();
}

#[tokio::test]
async fn calls_over_the_limit_wait_as_queued() {
    // No other test has this stack at the same time, so its account may be limited.
    let (_machine, stack) = (share_machine().await, restless().await);
    let caller = Caller::of(&stack);
    let limit = |calls: &str| {
        let changed = command(&stack, &["accounts", "limits", "--live-calls", calls]);
        assert_eq!(changed["live_calls"].to_string(), calls);
    };
    let before = command(&stack, &["accounts", "limits"])["live_calls"].to_string();
    limit("2");
    let numbers: Vec<String> = (2..7).map(|last| format!("+1415555018{last}")).collect();
    let mut ids = Vec::new();
    for to in &numbers {
        let (status, _, body) = caller.call(&stack, to, to).await;
        assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("queued")), "{body}");
        ids.push(body["id"].as_str().unwrap().to_owned());
    }
    join_all(ids.iter().map(|id| caller.ended(&stack, id))).await;
    limit(&before);
    let calls = stack.all_carrier_calls().await.unwrap();
    let is_one = |call: &&Value| numbers.iter().any(|to| call["to"] == to.as_str());
    let calls: Vec<_> = calls.iter().filter(is_one).collect();
    assert_eq!(calls.len(), 5);
    let time = |call: &Value, name: &str| call[name].as_i64().unwrap();
    for call in &calls {
        let dialled = time(call, "dialled_at_ms");
        let live = calls
            .iter()
            .filter(|other| time(other, "dialled_at_ms") <= dialled && dialled < time(other, "ended_at_ms"));
        assert!(live.count() <= 2, "{calls:#?}");
    }
    let counters = StackTable::of(&stack).table.counters(caller.id.parse().unwrap()).await.unwrap();
    assert_eq!((counters.waiting, counters.live), (0, 0), "every slot is given back");
}

#[tokio::test]
async fn requests_over_the_limit_get_429_with_retry_after() {
    let stack = shared();
    let caller = Caller::new(stack, "+14155550192", &["--requests-per-second", "1"]).await;
    let asked = Instant::now();
    let refused = loop {
        let answers = join_all((0..20).map(|_| caller.get(stack, "/conversations"))).await;
        if let Some(refused) = answers.into_iter().find(|(status, ..)| *status != StatusCode::OK) {
            break refused;
        }
        assert!(asked.elapsed() < LONG, "nobody is ever refused");
    };
    let (status, retry_after, body) = refused;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(body["detail"].is_string(), "{body}");
    let mut wait = retry_after;
    while let Some(seconds) = wait {
        assert!(asked.elapsed() < 2 * LONG, "nobody is ever let in again");
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        wait = caller.get(stack, "/conversations").await.1;
    }
}

#[tokio::test]
async fn only_allowed_destination_countries_are_called() {
    let stack = shared();
    let caller = Caller::new(stack, "+14155550193", &["--destinations", "+44,+49"]).await;
    let (status, _, body) = caller.call(stack, "+14155550152", "1").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(body["detail"][0]["loc"], json!(["body", "to_number"]));
    let own = command(stack, &["accounts", "limits", "--account", &caller.id, "--destinations", "own"]);
    assert_eq!(own["destination_countries"], Value::Null);
    let (status, _, body) = caller.call(stack, "+14155550152", "1").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    caller.ended(stack, body["id"].as_str().unwrap()).await;
}
