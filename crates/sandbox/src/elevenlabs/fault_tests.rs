//! Faults of this server, as a client sees them: each text is a request of its own.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use super::tests::{QUERY, bytes, connect, next, say, server};
use crate::speech::local_client;

/// Longer than a response takes on an idle machine.
const A_WHILE: Duration = Duration::from_millis(500);

/// The responses to two texts, one after the other on one connection: the bytes of audio and the end.
async fn two_texts(fault: Value) -> Vec<(usize, String)> {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let client = local_client(Duration::from_secs(10)).unwrap();
    let put = client.put(format!("{url}/sandbox/keys/k")).json(&json!({ "faults": [fault] }));
    assert_eq!(put.send().await.unwrap().status(), 204);
    let path = format!("multi-stream-input?{QUERY}");
    let mut socket = connect(&url, "k", "sandboxVoiceAda00001", &path).await;
    let mut ends = vec![];
    for context in ["one", "two"] {
        say(&mut socket, context, "Hello there. ").await;
        let mut audio = 0;
        let end = loop {
            match timeout(if audio == 2_000 { A_WHILE } else { 4 * A_WHILE }, next(&mut socket)).await {
                Err(_) => break "open".to_owned(),
                Ok(Ok(message)) if message["isFinal"] == true => break "ended".to_owned(),
                Ok(Ok(message)) if message["error"].is_string() => {
                    break message["error"].as_str().unwrap().to_owned();
                }
                Ok(Ok(message)) => audio += bytes(&message),
                Ok(Err((code, _))) => break code.to_string(),
            }
        };
        let is_over = !matches!(end.as_str(), "ended" | "open");
        ends.push((audio, end));
        if is_over {
            break;
        }
    }
    ends
}

fn ends<const N: usize>(expected: [(usize, &str); N]) -> Vec<(usize, String)> {
    expected.into_iter().map(|(audio, end)| (audio, end.to_owned())).collect()
}

#[tokio::test]
async fn a_second_text_is_refused_after_a_normal_first_one() {
    for (kind, error) in [("refuse", "service_unavailable"), ("rate_limit", "too_many_concurrent_requests")] {
        assert_eq!(two_texts(json!({"kind": kind, "skip": 1})).await, ends([(4_000, "ended"), (0, error)]));
    }
}

#[tokio::test]
async fn a_broken_text_is_cut_in_the_middle() {
    assert_eq!(two_texts(json!({"kind": "break", "times": 1})).await, ends([(2_000, "1006")]));
}

#[tokio::test]
async fn a_stalled_and_a_silent_text_leave_the_others_alone() {
    assert_eq!(
        two_texts(json!({"kind": "stall", "times": 1})).await,
        ends([(2_000, "open"), (4_000, "ended")])
    );
    assert_eq!(two_texts(json!({"kind": "silent", "times": 1})).await, ends([(0, "open"), (4_000, "ended")]));
}
