//! A call outlives the worker that holds it, whether that is killed or told to stop.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Stack, baker, heard_twice, restless, share_machine, signal, texts, word_errors};
use reqwest::Method;
use serde_json::{Value, json};
use switchboard_model::time::Timestamp;

/// Calls that are under way when a worker is told to stop.
const CALLS: usize = 10;
/// How long it may take until they all are.
const SOON: Duration = Duration::from_mins(2);
/// Time limit of a drain: 100 s, and a little to be seen.
const DRAIN: Duration = Duration::from_secs(110);
/// More wrong words than this, and somebody did not hear what the other side is said to have said.
const MAX_ERRORS: f64 = 0.2;
/// Samples in which somebody who begins or ends to speak is heard: two seconds.
const AUDIBLE: usize = 16_000;
/// Longer silence than this is no breath.
const SILENCE_MS: u64 = 3000;

/// The last words of the greeting.
const LAST_WORDS: &str = "Do you have any questions?";

/// An agent whose greeting takes some 18 s.
fn talker() -> Value {
    let mut agent = baker();
    agent["initial_message"] = json!(
        "Hello, this is Ada from the corner bakery. I am calling about the birthday cake that you ordered last \
         week. It has three layers of chocolate with fresh strawberries between them, and we wrote the name of \
         your daughter on top of it with white sugar. It is waiting for you in our shop, and you can pick it up \
         whenever you like. Do you have any questions?"
    );
    agent
}

/// Waits until the agent has been heard for so long, in the one call to a number.
async fn heard(stack: &Stack, to: &str, length: Duration) {
    let bytes = u64::try_from(length.as_millis()).unwrap() * 8;
    let spoken = async |stack: &Stack| {
        let call = stack.carrier_call(to).await?;
        Ok((call["media"]["bytes_received"].as_u64() >= Some(bytes)).then_some(()))
    };
    stack.wait(SOON, "the agent does not speak", spoken).await.unwrap();
}

/// Checks that the caller heard what the agent's messages say, all of it and nothing twice.
fn assert_heard_once(conversation: &Value, heard: &str) {
    let mut messages = conversation["messages"].as_array().unwrap().clone();
    messages.retain(|message| message["role"] == "agent");
    let said = texts(&messages, "content");
    assert_eq!(heard_twice(heard), None, "{heard}");
    assert_eq!(heard_twice(&said), None, "{said}");
    assert!(word_errors(&said, heard) < MAX_ERRORS, "said: {said}\nheard: {heard}");
}

fn assert_one_end(names: &[&str]) {
    for name in ["phone_call:accepted", "conversation:started", "conversation:ended"] {
        assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{name} in {names:?}");
    }
    assert_eq!(names.last(), Some(&"conversation:ended"));
}

/// Checks that the agent, who is on the right, is heard in a recording where it began to speak and where
/// it spoke last.
fn assert_both_ends_are_audible(conversation: &Value, wav: &[u8]) {
    let millis = |at: &Value| serde_json::from_value::<Timestamp>(at.clone()).unwrap().as_millis();
    let origin = millis(&conversation["started_at"]);
    let sample = |at: &Value| usize::try_from((millis(at) - origin) * 8).unwrap();
    let messages = conversation["messages"].as_array().unwrap();
    let mut agents = messages.iter().filter(|message| message["role"] == "agent");
    let first = agents.next().unwrap();
    let last = agents.next_back().unwrap_or(first);
    let agent: Vec<i16> =
        wav[44..].chunks_exact(4).map(|frame| i16::from_le_bytes([frame[2], frame[3]])).collect();
    let (begin, end) = (sample(&first["started_at"]), sample(&last["ended_at"]).min(agent.len()));
    for (part, samples) in
        [("first", &agent[begin..begin + AUDIBLE]), ("last", &agent[end.saturating_sub(AUDIBLE)..end])]
    {
        let loud = samples.iter().filter(|sample| sample.unsigned_abs() > 1000).count();
        assert!(loud > 400, "{loud} loud samples in the {part} seconds");
    }
}

#[test]
fn a_call_survives_its_worker_killed_mid_sentence() {
    let (call, _) = crate::first_call::demo(&["--kill-worker"]);
    let conversation = &call["conversation"];
    assert_eq!(conversation["ended_reason"], "agent_ended");
    let silence = call["killed_worker"]["silence_ms"].as_u64().unwrap();
    assert!(silence < SILENCE_MS, "{silence} ms");
    assert_heard_once(conversation, call["agent"]["heard"].as_str().unwrap());
    let names: Vec<_> =
        call["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_one_end(&names);
}

#[tokio::test]
async fn a_takeover_does_not_repeat_the_greeting_and_joins_the_recording() {
    let (stack, to, _machine) = (restless().await, "+14155550179", share_machine().await);
    let id = stack.call(to, talker()).await.unwrap();
    // A worker that is killed loses up to ten seconds of the recording.
    heard(&stack, to, Duration::from_secs(13)).await;
    let holder = stack.workers().unwrap()[0];
    assert_eq!(holder.streams, 1, "it holds the call");
    signal("-KILL", holder.pid);

    let conversation = stack.ended(&id).await.unwrap();
    assert_eq!(conversation["ended_reason"], "agent_ended");
    let call = stack.settled_call(to).await.unwrap();
    assert_heard_once(&conversation, &texts(call["heard"].as_array().unwrap(), "text"));
    let silence = call["media"]["longest_silence_ms"].as_u64().unwrap();
    assert!(silence < SILENCE_MS, "{silence} ms");
    assert_both_ends_are_audible(&conversation, &stack.recording(&id).await.unwrap());
}

/// Waits until a greeting was heard to its end, and ends the call: nobody need be understood.
async fn greeted_and_ended(stack: &Stack, id: &str) -> Value {
    let greeted = async |stack: &Stack| {
        let conversation = stack.conversation(id).await?;
        let messages = conversation["messages"].as_array().cloned().unwrap_or_default();
        let is_last = |message: &Value| {
            message["role"] == "agent"
                && message["content"].as_str().is_some_and(|content| content.ends_with(LAST_WORDS))
        };
        Ok((conversation["status"] == "ended" || messages.iter().any(is_last)).then_some(()))
    };
    stack.wait(SOON, "the greeting does not end", greeted).await.unwrap();
    stack.send(Method::POST, &format!("/conversations/{id}/end"), None).await.unwrap();
    stack.ended(id).await.unwrap()
}

#[tokio::test]
async fn a_stopping_worker_hands_its_calls_over() {
    let (stack, _machine) = (restless().await, share_machine().await);
    let mut calls = vec![];
    for number in 0..CALLS {
        let to = format!("+141555502{number:02}");
        calls.push((stack.call(&to, talker()).await.unwrap(), to));
    }
    // All callers are in the middle of the greeting.
    for (_, to) in &calls {
        heard(&stack, to, Duration::from_secs(4)).await;
    }
    let busiest = stack.workers().unwrap()[0];
    assert!(busiest.streams >= 2, "{busiest:?}");
    signal("-TERM", busiest.pid);
    let ended = async |stack: &Stack| stack.exit_code(busiest.pid);
    let (code, conversations) = tokio::join!(
        stack.wait(DRAIN, "the worker does not end", ended),
        join_all(calls.iter().map(|(id, _)| greeted_and_ended(&stack, id)))
    );
    assert_eq!(code.unwrap(), 0);

    let mut moved = 0;
    for ((id, to), conversation) in calls.iter().zip(conversations) {
        assert_eq!(conversation["ended_reason"], "agent_ended");
        let names = stack.event_names(id).await.unwrap();
        assert_one_end(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let call = stack.settled_call(to).await.unwrap();
        assert_heard_once(&conversation, &texts(call["heard"].as_array().unwrap(), "text"));
        if call["media"]["streams"] == 2 {
            moved += 1;
            assert_both_ends_are_audible(&conversation, &stack.recording(id).await.unwrap());
        }
    }
    assert_eq!(moved, busiest.streams, "exactly the worker's calls moved");
}
