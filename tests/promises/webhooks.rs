//! Every event of a conversation reaches the webhooks that asked for it, signed, and none is lost.

mod crashes;
pub(crate) mod receiver;
pub(crate) mod source;

use std::time::Duration;

use harness::{Stack, share_machine, shared, switchboard};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use switchboard_model::{time::Timestamp, webhooks::WebhookMethod};

use self::{
    receiver::{Got, Manner, Receiver},
    source::{Source, delivery},
};
use crate::{official_clients, table::StackTable};

/// Time limit of a delivery. One attempt takes at most 15 s; a busy machine needs more.
const SOON: Duration = Duration::from_secs(90);

/// The official package's verdict on each request, for each secret: as it came, and with one byte changed.
fn verified(stack: &Stack, requests: &[Got], secrets: &[&str]) -> Value {
    let file = tempfile::NamedTempFile::new_in(stack.state()).unwrap();
    let requests: Vec<_> = requests.iter().map(Got::signed).collect();
    std::fs::write(file.path(), json!(requests).to_string()).unwrap();
    let mut arguments = vec![file.path().to_str().unwrap()];
    arguments.extend(secrets);
    serde_json::from_str(&official_clients::check("webhooks_verify.py", &arguments)).unwrap()
}

async fn arrived(stack: &Stack, receiver: &Receiver, count: usize) -> Vec<Got> {
    let all = async |_: &Stack| Ok(Some(receiver.got()).filter(|got| got.len() >= count));
    stack.wait(SOON, "the events have not arrived", all).await.unwrap()
}

/// Waits until the event log shows this status of a delivery.
async fn logged(
    stack: &Stack,
    (source, sequence, webhook): (&Source, u64, usize),
    is_so: impl Fn(&Value) -> bool,
) -> Value {
    let id = source.id();
    let seen = async |stack: &Stack| {
        let delivery = delivery(stack, id, sequence, webhook).await?;
        Ok(Some(delivery).filter(|delivery| is_so(delivery)))
    };
    stack.wait(SOON, "the log does not say so", seen).await.unwrap()
}

fn attempts(delivery: &Value) -> &Vec<Value> {
    delivery["attempts"].as_array().unwrap()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// From the end of the last attempt to the next one.
fn waits(delivery: &Value) -> Duration {
    let last = attempts(delivery).last().unwrap();
    let ended = time(&last["at"]).after(Duration::from_millis(last["latency_ms"].as_u64().unwrap()));
    time(&delivery["next_attempt_at"]).since(ended)
}

#[tokio::test]
async fn every_event_arrives_signed_as_post_and_as_get() {
    let (stack, post, get) = (shared(), Receiver::answering(200).await, Receiver::answering(204).await);
    let events = ["phone_call:connection_requested", "phone_call:rejected", "conversation:ended"];
    let webhook = |url: &str, method: &str| json!({ "events": events, "url": url, "method": method });
    let webhooks = [webhook(&post.url, "POST"), webhook(&format!("{}?own=1", get.url), "GET")];
    // Refused by the carrier.
    let id = stack.call("+14155550152", json!({ "webhooks": webhooks })).await.unwrap();
    stack.ended(&id).await.unwrap();

    let posts = arrived(stack, &post, events.len()).await;
    let gets = arrived(stack, &get, events.len()).await;
    let log = stack.events(&id).await.unwrap();
    for (place, event) in log.iter().enumerate() {
        let of_it = |got: &&Got, webhook: usize| {
            got.header("webhook-id") == format!("{}_{webhook}", event["id"].as_str().unwrap())
        };
        let body = posts.iter().find(|got| of_it(got, 0)).unwrap().json();
        assert_eq!((&body["event"], &body["data"]), (&event["event"], &event["data"]));
        assert_eq!(body["event"], events[place]);
        assert_eq!((&body["sequence"], &body["conversation"]["id"]), (&json!(place + 1), &json!(id)));
        let query = &gets.iter().find(|got| of_it(got, 1)).unwrap().query;
        assert!(query.starts_with("own=1&event="), "{query}");
        assert!(query.contains(&format!("conversation_id={id}")) && query.contains("sequence="), "{query}");
        for (webhook, status) in [(0, 200), (1, 204)] {
            let says = async |stack: &Stack| {
                let delivery = delivery(stack, id.parse()?, place as u64 + 1, webhook).await?;
                Ok((delivery["status"] == "delivered" && delivery["attempts"][0]["status"] == status)
                    .then_some(()))
            };
            stack.wait(SOON, "the log does not say so", says).await.unwrap();
        }
    }
    let all: Vec<_> = posts.into_iter().chain(gets).collect();
    assert_eq!(all.len(), 2 * events.len(), "each comes once to each");
    let secret = stack.address("webhook_secret");
    for checked in verified(stack, &all, &[secret]).as_array().unwrap() {
        assert_eq!(*checked, json!([[true, false]]));
    }
}

#[tokio::test]
async fn both_secrets_verify_during_a_rotation() {
    let (stack, receiver) = (shared(), Receiver::answering(200).await);
    let command = |arguments: &[&str]| -> Value {
        let mut command = switchboard(arguments);
        let output = command.arg("--state").arg(stack.state()).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let account = command(&["accounts", "create", "--name", "Rotated"]);
    let id = account["account_id"].as_str().unwrap();
    let table = StackTable { account: id.parse().unwrap(), ..StackTable::of(stack) };
    let mut source = Source::of(table, &[(&receiver.url, WebhookMethod::Post)]).await;
    source.emit(1).await;
    arrived(stack, &receiver, 1).await;
    let rotated = command(&["secrets", "rotate", "--account", id]);
    source.end().await;
    let got = arrived(stack, &receiver, 2).await;
    let (old, new) = (&account["signing_secret"], &rotated["signing_secret"]);
    assert_ne!(old, new);
    let checked = verified(stack, &got, &[old.as_str().unwrap(), new.as_str().unwrap()]);
    assert_eq!(checked, json!([[[true, false], [false, false]], [[true, false], [true, false]]]));
}

#[tokio::test]
async fn the_event_log_shows_each_response_and_its_retry() {
    let _machine = share_machine().await;
    let stack = shared();
    let target = Receiver::answering(200).await;
    let answers = |status, headers: String, body| Manner::Answers(status, headers, body, Duration::ZERO);
    let manners = [
        answers(500, String::new(), "a fault, and Bearer customers-secret"),
        answers(429, "retry-after: 8\r\n".into(), "slower"),
        answers(410, String::new(), "gone"),
        answers(302, format!("location: {}\r\n", target.url), ""),
        Manner::Hangs,
        Manner::Floods,
        Manner::Drips,
    ];
    let mut endpoints = vec![];
    for manner in manners {
        endpoints.push(Receiver::start(manner).await);
    }
    let urls: Vec<_> = endpoints.iter().map(|one| (one.url.as_str(), WebhookMethod::Post)).collect();
    let mut source = Source::new(stack, &urls).await;
    source.emit(1).await;
    let tried = |delivery: &Value| !attempts(delivery).is_empty();

    let fault = logged(stack, (&source, 1, 0), tried).await;
    let first = &attempts(&fault)[0];
    assert_eq!((&fault["status"], &first["status"]), (&json!("pending"), &json!(500)));
    assert_eq!(first["answer"], "a fault, and [redacted]");
    // Attempts that followed meanwhile wait longer.
    if attempts(&fault).len() == 1 {
        let waited = waits(&fault);
        assert!((4_000..=6_000).contains(&waited.as_millis()), "{waited:?}");
    }

    let slower = logged(stack, (&source, 1, 1), tried).await;
    assert_eq!(attempts(&slower)[0]["status"], 429);
    if attempts(&slower).len() == 1 {
        assert_eq!(waits(&slower), Duration::from_secs(8), "what it asked for");
    }

    let gone = logged(stack, (&source, 1, 2), tried).await;
    assert_eq!((&gone["status"], &gone["next_attempt_at"]), (&json!("stopped"), &json!(null)));
    assert_eq!(attempts(&gone)[0]["status"], 410);

    let moved = logged(stack, (&source, 1, 3), tried).await;
    assert_eq!((&moved["status"], &attempts(&moved)[0]["status"]), (&json!("pending"), &json!(302)));

    let flood = logged(stack, (&source, 1, 5), tried).await;
    let first = &attempts(&flood)[0];
    assert_eq!((&flood["status"], &first["status"]), (&json!("delivered"), &json!(200)));
    assert_eq!(first["answer"], "x".repeat(1024));

    for silent in [4, 6] {
        let silent = logged(stack, (&source, 1, silent), tried).await;
        let first = &attempts(&silent)[0];
        assert_eq!((&silent["status"], &first["status"]), (&json!("pending"), &json!(null)));
        assert_eq!(first["answer"], "no whole answer within 15 seconds");
        assert!(first["latency_ms"].as_u64().unwrap() >= 15_000);
    }

    // The same event comes again after its wait, under the same id.
    let again = logged(stack, (&source, 1, 0), |delivery| attempts(delivery).len() >= 2).await;
    let gap = time(&attempts(&again)[1]["at"]).since(time(&attempts(&again)[0]["at"]));
    assert!(gap >= Duration::from_secs(4), "{gap:?}");
    let ids: Vec<_> = endpoints[0].got().iter().map(|got| got.header("webhook-id").to_owned()).collect();
    assert!(ids.len() >= 2 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    // A webhook that answered 410 receives no later event.
    let id = source.id();
    let last = source.end().await;
    let stopped = async |stack: &Stack| {
        let delivery = delivery(stack, id, last, 2).await?;
        Ok(Some(delivery).filter(|delivery| delivery["status"] == "stopped"))
    };
    let stopped = stack.wait(SOON, "the end is not stopped", stopped).await.unwrap();
    assert_eq!(stopped["attempts"], json!([]));
    assert_eq!(endpoints[2].got().len(), 1);
    assert_eq!(target.got().len(), 0, "nobody follows a redirect");
}

#[tokio::test]
async fn a_redelivery_keeps_its_webhook_id() {
    let (stack, receiver) = (shared(), Receiver::answering(200).await);
    let mut source = Source::new(stack, &[(&receiver.url, WebhookMethod::Post)]).await;
    source.emit(1).await;
    arrived(stack, &receiver, 1).await;
    logged(stack, (&source, 1, 0), |delivery| delivery["status"] == "delivered").await;
    let id = source.id();
    let event = stack.events(&id.to_string()).await.unwrap().remove(0);
    let path = format!("/conversations/{id}/events/{}/redeliver", event["id"].as_str().unwrap());
    let answer = stack.send(Method::POST, &path, None).await.unwrap();
    assert_eq!((answer.status, &answer.body["id"]), (StatusCode::OK, &event["id"]));
    let got = arrived(stack, &receiver, 2).await;
    assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
    assert_eq!(got[0].body, got[1].body);
    let both = |delivery: &Value| delivery["status"] == "delivered" && attempts(delivery).len() == 2;
    logged(stack, (&source, 1, 0), both).await;
    source.end().await;
}
