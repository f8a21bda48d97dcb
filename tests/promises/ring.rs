//! `switchboard ring`: a simulated person rings a number, and the terminal shows the conversation.

use std::time::Duration;

use harness::{Stack, baker, share_machine, shared, switchboard};
use reqwest::Method;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::{
    inbound_calls::{buy, done, path},
    webhooks::receiver::{Manner, Receiver},
};

/// Runs the command on the stack; its success, and its output.
async fn ring(stack: &'static Stack, arguments: &'static [&'static str]) -> (bool, String) {
    let run = move || switchboard(&["ring", "--state"]).arg(stack.state()).args(arguments).output().unwrap();
    let output = spawn_blocking(run).await.unwrap();
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_rings_a_number_and_the_terminal_shows_the_conversation() {
    let (_machine, stack, number) = (share_machine().await, shared(), "+14155550221");
    buy(stack, number).await;
    let agent = done(stack, Method::POST, "/agents", Some(baker())).await["id"].take();
    done(stack, Method::PATCH, &path(number), Some(json!({ "inbound_agent_id": agent }))).await;
    let (is_taken, shown) = ring(stack, &["+14155550221", "--caller", "interrupts"]).await;
    assert!(is_taken, "{shown}");
    for part in [
        "+14155550156 rings +14155550221",
        "the number rings",
        "the agent picks up",
        "person  ",
        "the agent calls end_call()",
        "the call is over: agent_ended",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    done(stack, Method::DELETE, &path(number), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_says_how_the_agent_was_chosen_and_why_a_call_was_rejected() {
    let (_machine, stack, number) = (share_machine().await, shared(), "+14155550222");
    buy(stack, number).await;
    let brief = json!({ "initial_message": "Hello, I am the number's own.", "max_duration_seconds": 3 });
    let agent = done(stack, Method::POST, "/agents", Some(brief)).await["id"].take();
    let given =
        r#"{ "agent_config": { "initial_message": "The webhook sent me.", "max_duration_seconds": 3 } }"#;
    let own = "no webhook of the number chose an agent: its own agent takes the call";
    for (status, answer, delay, is_taken, notes) in [
        (
            200,
            given,
            Duration::ZERO,
            true,
            vec!["webhooks.0 gave the agent's configuration", "The webhook sent me."],
        ),
        (500, "", Duration::ZERO, true, vec!["chose no agent: it answered with status 500", own]),
        (
            200,
            given,
            Duration::from_secs(8),
            true,
            vec!["webhooks.0 chose no agent: ", own, "the number's own"],
        ),
        (
            200,
            r#"{ "reject": true }"#,
            Duration::ZERO,
            false,
            vec!["the call was not taken", "webhooks.0 rejected the call"],
        ),
    ] {
        let receiver = Receiver::start(Manner::Answers(status, String::new(), answer, delay)).await;
        let events = ["phone_call:connection_requested"];
        let webhooks = json!([{ "events": events, "url": receiver.url, "method": "POST" }]);
        let body = json!({ "inbound_agent_id": agent, "webhooks": webhooks });
        done(stack, Method::PATCH, &path(number), Some(body)).await;
        let (taken, shown) = ring(stack, &["+14155550222"]).await;
        assert_eq!(taken, is_taken, "{shown}");
        for note in notes {
            assert!(shown.contains(note), "no {note:?} in {shown}");
        }
    }
    done(stack, Method::DELETE, &path(number), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_cannot_take_a_call_is_explained() {
    let (stack, number) = (shared(), "+14155550223");
    let (rang, shown) = ring(stack, &["+14155550223"]).await;
    assert!(!rang && shown.contains("does not have the number +14155550223; it has "), "{shown}");
    buy(stack, number).await;
    let (rang, shown) = ring(stack, &["+14155550223"]).await;
    assert!(!rang && shown.contains("has no agent. Give it one"), "{shown}");
    done(stack, Method::DELETE, &path(number), None).await;
    let nothing = tempfile::tempdir().unwrap();
    let output = switchboard(&["ring", "--state"]).arg(nothing.path()).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && shown.contains("no local stack runs on"), "{shown}");
}
