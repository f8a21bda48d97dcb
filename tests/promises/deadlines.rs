//! Every conversation ends once, whichever part fails: the carrier, its callbacks, or all workers.

use std::time::{Duration, Instant};

use harness::{Stack, baker, kill, restless, share_machine, shared};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::table::StackTable;

/// Time limit from a crash to the end of the conversation.
const CRASH: Duration = Duration::from_secs(150);
/// Time limit of the next state.
const SOON: Duration = Duration::from_mins(2);

async fn status(stack: &Stack, id: &str, wanted: &str) {
    let reached = async |stack: &Stack| Ok((stack.conversation(id).await?["status"] == wanted).then_some(()));
    stack.wait(SOON, "the conversation does not get there", reached).await.unwrap();
}

async fn assert_one_end(stack: &Stack, id: &str) {
    let names = stack.event_names(id).await.unwrap();
    assert_eq!(names.iter().filter(|name| *name == "conversation:ended").count(), 1, "{names:?}");
    assert_eq!(names.last().unwrap(), "conversation:ended");
}

async fn end(stack: &Stack, id: &str) -> Value {
    let answer = stack.send(Method::POST, &format!("/conversations/{id}/end"), None).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["id"], id);
    answer.body
}

#[tokio::test]
async fn a_call_whose_carrier_response_was_lost_is_dialled_once() {
    let (stack, to, _machine) = (shared(), "+14155550160", share_machine().await);
    let id = stack.call(to, baker()).await.unwrap();
    let conversation = stack.ended(&id).await.unwrap();
    assert_eq!(conversation["ended_reason"], "agent_ended");
    assert!(conversation["messages"].as_array().unwrap().len() >= 4, "{}", conversation["messages"]);
    assert_one_end(stack, &id).await;
    // Fails if there is a second call.
    let call = stack.settled_call(to).await.unwrap();
    assert_eq!(call["status"], "completed");
}

#[tokio::test]
async fn a_call_without_any_callback_ends() {
    let (stack, to) = (shared(), "+14155550161");
    let id = stack.call(to, baker()).await.unwrap();
    stack.carrier_call(to).await.unwrap();
    // Before its deadline it is left alone.
    stack.sweep().await.unwrap();
    assert_eq!(stack.conversation(&id).await.unwrap()["status"], "queued");
    StackTable::of(stack).time_passes(id.parse().unwrap()).await;
    stack.sweep().await.unwrap();
    let conversation = stack.ended(&id).await.unwrap();
    assert_eq!(conversation["started_at"], json!(null));
    assert_eq!(
        stack.event_names(&id).await.unwrap(),
        ["phone_call:connection_requested", "phone_call:rejected", "conversation:ended"]
    );
    assert_eq!(stack.events(&id).await.unwrap()[1]["data"]["reason"], "no_answer");
    let call = stack.settled_call(to).await.unwrap();
    assert_eq!(call["status"], "canceled", "the phone does not ring on");
}

#[tokio::test]
async fn without_a_worker_a_call_ends_from_its_last_checkpoint() {
    let (stack, to) = (restless().await, "+14155550171");
    // A greeting that no other call has: the voice speaks it for this one.
    let mut agent = baker();
    agent["initial_message"] =
        json!("Hello, this is Ada. I am calling about your cake. Do you have any questions?");
    let id = stack.call(to, agent).await.unwrap();
    let answered = async |stack: &Stack| {
        let conversation = stack.conversation(&id).await?;
        Ok((conversation["messages"].as_array().is_some_and(|messages| messages.len() >= 2)).then_some(()))
    };
    stack.wait(SOON, "nobody spoke", answered).await.unwrap();

    // No worker that is started again may take the call: none lives until the carrier has given it up.
    let crashed = Instant::now();
    let gone = async |stack: &Stack| {
        for worker in stack.workers()? {
            if stack.exit_code(worker.pid)?.is_none() {
                kill(worker.pid);
            }
        }
        Ok(stack.carrier_calls(to).await?.pop().filter(|call| call["ended_at_ms"] != json!(null)))
    };
    let call = stack.wait(CRASH, "the carrier still holds the call", gone).await.unwrap();
    assert_eq!(call["status"], "completed");
    let conversation = stack.ended_within(&id, CRASH.saturating_sub(crashed.elapsed())).await.unwrap();
    assert_eq!(conversation["ended_reason"], "unknown");
    assert_one_end(&stack, &id).await;
    let cost = &conversation["cost_breakdown"];
    for part in ["voice", "transcriber", "telephony"] {
        assert!(cost[part]["cost"].as_f64().unwrap() > 0.0, "what was used is paid: {part} in {cost}");
    }
    let both = async |stack: &Stack| Ok((stack.workers()?.len() == 2).then_some(()));
    stack.wait(Duration::from_mins(1), "the workers do not come back", both).await.unwrap();
}

#[tokio::test]
async fn a_queued_call_can_be_ended() {
    let (stack, to) = (shared(), "+14155550172");
    let id = stack.call(to, baker()).await.unwrap();
    let conversation = end(stack, &id).await;
    assert_eq!(
        (&conversation["status"], &conversation["ended_reason"]),
        (&json!("ended"), &json!("agent_ended"))
    );
    assert_one_end(stack, &id).await;
    // It may have been on its way to the carrier; then it is taken back.
    for _ in stack.carrier_calls(to).await.unwrap() {
        let call = stack.settled_call(to).await.unwrap();
        assert_eq!(call["media"]["streams"], 0);
    }
    assert_eq!(end(stack, &id).await, conversation, "ending it again changes nothing");
}

#[tokio::test]
async fn a_ringing_call_can_be_ended() {
    // Rings for five seconds; on this stack nobody else calls it.
    let (stack, to) = (restless().await, "+14155550151");
    let id = stack.call(to, baker()).await.unwrap();
    let ringing = async |stack: &Stack| {
        Ok(Some(stack.carrier_call(to).await?).filter(|call| call["status"] == "ringing"))
    };
    stack.wait(SOON, "it does not ring", ringing).await.unwrap();
    let conversation = end(&stack, &id).await;
    assert_eq!(
        (&conversation["status"], &conversation["ended_reason"]),
        (&json!("ended"), &json!("agent_ended"))
    );
    let call = stack.settled_call(to).await.unwrap();
    assert_eq!(call["status"], "canceled", "the phone does not ring on");
    assert_one_end(&stack, &id).await;
}

#[tokio::test]
async fn a_live_call_is_ended_by_its_worker() {
    let (stack, to) = (shared(), "+14155550173");
    let id = stack.call(to, baker()).await.unwrap();
    status(stack, &id, "started").await;
    assert_eq!(end(stack, &id).await["status"], "started", "it is left to its worker");
    let conversation = stack.ended(&id).await.unwrap();
    assert_eq!(conversation["ended_reason"], "agent_ended");
    // It says so when it is done with the recording.
    let said = async |stack: &Stack| Ok(stack.was_held_to_its_end(&id)?.then_some(()));
    stack.wait(SOON, "no worker says that it held the call to its end", said).await.unwrap();
    assert_one_end(stack, &id).await;
    let call = stack.settled_call(to).await.unwrap();
    assert_eq!((&call["status"], &call["ended_by"]), (&json!("completed"), &json!("agent")));
}

#[tokio::test]
async fn an_unknown_conversation_cannot_be_ended() {
    let path = "/conversations/cnv_01ARZ3NDEKTSV4RRFFQ69G5FAV/end";
    let answer = shared().send(Method::POST, path, None).await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
