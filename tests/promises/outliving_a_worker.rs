//! A call outlives the worker that holds it, whether that is killed or told to stop.

use std::time::Duration;

use harness::{Stack, baker, heard_twice, restless, signal, texts, word_errors};
use serde_json::{Value, json};

/// Calls that are under way when a worker is told to stop.
const CALLS: usize = 10;
/// How long it may take until they all are.
const SOON: Duration = Duration::from_secs(30);
/// What a worker that is told to stop has at most.
const DRAIN: Duration = Duration::from_secs(100);
/// More wrong words than this, and somebody did not hear what the other side is said to have said.
const MAX_ERRORS: f64 = 0.2;
/// The agent speaks in these first and last seconds of a call.
const AUDIBLE_SECONDS: usize = 4;
/// Longer silence than this is no breath.
const SILENCE_MS: u64 = 3000;

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

/// Checks that the agent, who is on the right, is heard at the start and at the end of a recording.
fn assert_both_ends_are_audible(wav: &[u8]) {
    let agent: Vec<i16> =
        wav[44..].chunks_exact(4).map(|frame| i16::from_le_bytes([frame[2], frame[3]])).collect();
    let part = AUDIBLE_SECONDS * 8000;
    for (part, samples) in [("first", &agent[..part]), ("last", &agent[agent.len() - part..])] {
        let loud = samples.iter().filter(|sample| sample.unsigned_abs() > 1000).count();
        assert!(loud > 1000, "{loud} loud samples in the {part} {AUDIBLE_SECONDS} s");
    }
}

#[test]
fn a_call_goes_on_when_its_worker_is_killed_in_mid_sentence() {
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
async fn a_greeting_whose_worker_is_killed_is_not_begun_again_and_both_workers_are_recorded() {
    let (stack, to) = (restless().await, "+14155550179");
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
    assert_both_ends_are_audible(&stack.recording(&id).await.unwrap());
}

#[tokio::test]
async fn calls_go_on_elsewhere_when_their_worker_is_told_to_stop() {
    let stack = restless().await;
    let mut calls = vec![];
    for number in 0..CALLS {
        let to = format!("+141555501{:02}", 80 + number);
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
    let code = stack.wait(DRAIN, "the worker does not end", ended).await.unwrap();
    assert_eq!(code, 0);

    let mut moved = 0;
    for (id, to) in &calls {
        let conversation = stack.ended(id).await.unwrap();
        assert_eq!(conversation["ended_reason"], "agent_ended");
        let names = stack.event_names(id).await.unwrap();
        assert_one_end(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let call = stack.settled_call(to).await.unwrap();
        assert_heard_once(&conversation, &texts(call["heard"].as_array().unwrap(), "text"));
        let silence = call["media"]["longest_silence_ms"].as_u64().unwrap();
        assert!(silence < SILENCE_MS, "{silence} ms");
        if call["media"]["streams"] == 2 {
            moved += 1;
            assert_both_ends_are_audible(&stack.recording(id).await.unwrap());
        }
    }
    assert_eq!(moved, busiest.streams, "exactly the worker's calls moved");
}
