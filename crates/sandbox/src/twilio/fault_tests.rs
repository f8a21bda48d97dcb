//! Faults of the carrier: a stream that is closed or lost, a response or a callback that never comes.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use super::{
    OWNED_NUMBER,
    tests::{ACCOUNT, World},
};

/// Longer than a normal call takes to be answered.
const LONG: Duration = Duration::from_secs(3);

#[tokio::test]
async fn after_a_closed_stream_the_next_verb_follows() {
    let mut world = World::start().await;
    let twiml = world.twiml();
    let sid = world.dial("+14155550100", &twiml).await;
    let mut stream = world.stream().await;
    stream.close().await;
    let mut reports: Vec<_> = world.reports::<7>().await.into();
    // The document is fetched concurrently with the callbacks, so its place among them varies.
    let resumed = reports.iter().position(|report| report == "/resume in-progress").unwrap();
    reports.remove(resumed);
    assert_eq!(reports[3..], ["/stream stream-started", "/stream stream-stopped", "/status completed"]);
    let call = world.get(&format!("/sandbox/calls/{sid}")).await;
    assert_eq!(call["error"], json!(null));
}

#[tokio::test]
async fn after_a_lost_stream_the_next_verb_follows_with_an_error() {
    let mut world = World::start().await;
    let twiml = world.twiml();
    let sid = world.dial("+14155550100", &twiml).await;
    // Without a close frame, as when the server's process is killed.
    drop(world.stream().await);
    let mut reports: Vec<_> = world.reports::<7>().await.into();
    let resumed = reports.iter().position(|report| report == "/resume in-progress").unwrap();
    reports.remove(resumed);
    assert_eq!(reports[3..], ["/stream stream-started", "/stream stream-error", "/status completed"]);
    let call = world.get(&format!("/sandbox/calls/{sid}")).await;
    assert_eq!((&call["error"]["code"], &call["ended_by"]), (&json!(31903), &json!("agent")));
}

#[tokio::test]
async fn the_silence_around_a_change_of_streams_is_measured() {
    let mut world = World::start().await;
    let twiml = world.twiml();
    let sid = world.dial("+14155550100", &twiml).await;
    let silence = async |world: &World| {
        let call = world.get(&format!("/sandbox/calls/{sid}")).await;
        call["media"]["longest_silence_ms"].as_u64().unwrap()
    };
    let mut first = world.stream().await;
    first.speak(1600).await;
    first.mark("heard").await;
    first.next_event().await;
    assert_eq!(silence(&world).await, 0, "one stream is no change");
    let (status, _) = world.post(&format!("Calls/{sid}.json"), &[("Twiml", &twiml)]).await;
    assert_eq!(status, StatusCode::OK);
    let mut second = world.stream().await;
    second.play(4000).await;
    second.speak(160).await;
    second.mark("heard").await;
    second.next_event().await;
    let silence = silence(&world).await;
    assert!((480..3000).contains(&silence), "{silence} ms, of which 500 were played");
}

#[tokio::test]
async fn a_call_without_a_response_is_dialled_and_answered() {
    let mut world = World::start().await;
    let callback = format!("{}/status", world.application_url);
    let twiml = world.twiml();
    let form = [
        ("To", "+14155550160"),
        ("From", OWNED_NUMBER),
        ("Twiml", &*twiml),
        ("StatusCallback", &*callback),
        ("StatusCallbackEvent", "answered"),
    ];
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Calls.json", world.carrier_url);
    let request = world.client.post(url).basic_auth(ACCOUNT, Some("token")).form(&form);
    assert!(request.timeout(Duration::from_millis(500)).send().await.unwrap_err().is_timeout());
    assert_eq!(world.webhook().await.field("CallStatus"), "in-progress");
    world.stream().await;
    let calls = world.get("/sandbox/calls").await;
    assert_eq!(calls["calls"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_lost_call_rings_without_a_callback_until_it_is_canceled() {
    let mut world = World::start().await;
    let sid = world.dial("+14155550161", "<Response/>").await;
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json");
    assert!(timeout(LONG, world.webhooks.recv()).await.is_err(), "nothing is reported");
    assert_eq!(world.get(&path).await["status"], "ringing");
    let (status, _) = world.post(&format!("Calls/{sid}.json"), &[("Status", "canceled")]).await;
    assert_eq!(status, StatusCode::OK);
    let settled = async { while world.get(&format!("/sandbox/calls/{sid}")).await["settled"] != true {} };
    timeout(LONG, settled).await.unwrap();
    assert_eq!(world.get(&path).await["status"], "canceled");
    assert!(world.webhooks.try_recv().is_err(), "not even its end");
}

#[tokio::test]
async fn rude_callbacks_are_late_repeated_and_reordered() {
    let mut world = World::start().await;
    world.be_rude(json!({ "seed": 3, "callbacks_late_ms": 900, "callbacks_repeated": 5 })).await;
    let sid = world.dial("+14155550150", "<Response/>").await;
    let settled = async { while world.get(&format!("/sandbox/calls/{sid}")).await["settled"] != true {} };
    timeout(LONG, settled).await.unwrap();
    let mut seen = vec![];
    while let Ok(report) = world.webhooks.try_recv() {
        seen.push(report.field("SequenceNumber").to_owned());
    }
    let mut sorted = seen.clone();
    sorted.sort();
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), 2, "initiated and busy: {seen:?}");
    assert!(seen.len() > 2 && seen != sorted, "{seen:?}");
    let call = world.get(&format!("/sandbox/calls/{sid}")).await;
    assert_eq!(call["callbacks"].as_array().unwrap().len(), seen.len());
}

#[tokio::test]
async fn a_rude_carrier_reports_a_closed_stream_as_failed() {
    for (manner, expected) in
        [("error", &["stream-error"][..]), ("error_and_stopped", &["stream-error", "stream-stopped"])]
    {
        let mut world = World::start().await;
        world.be_rude(json!({ "closed_stream": manner })).await;
        let twiml = world.twiml();
        world.dial("+14155550100", &twiml).await;
        world.stream().await.close().await;
        let mut seen = vec![];
        // The document of the next verb is fetched all the same.
        let (mut is_resumed, mut is_over) = (false, false);
        while !(is_resumed && is_over) {
            let report = timeout(LONG, world.webhook()).await.unwrap();
            is_resumed |= report.is_of("/resume");
            is_over |= report.field("CallStatus") == "completed";
            if report.field("StreamEvent") == "stream-error" {
                assert!(report.field("StreamError").starts_with("31921 "));
            }
            seen.push(report.field("StreamEvent").to_owned());
        }
        seen.retain(|event| !event.is_empty());
        assert_eq!(seen[1..], *expected, "{manner}");
    }
}

#[tokio::test]
async fn a_frame_that_comes_too_late_is_measured() {
    let mut world = World::start().await;
    let twiml = world.twiml();
    let sid = world.dial("+14155550100", &twiml).await;
    let gap = async |world: &World| {
        let call = world.get(&format!("/sandbox/calls/{sid}")).await;
        call["media"]["longest_gap_ms"].as_u64().unwrap()
    };
    let mut stream = world.stream().await;
    stream.speak(1600).await;
    stream.mark("clause").await;
    stream.next_event().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    stream.speak(1600).await;
    stream.mark("another").await;
    stream.next_event().await;
    assert_eq!(gap(&world).await, 0, "a pause between two clauses is none");
    stream.speak(800).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stream.speak(800).await;
    stream.mark("third").await;
    stream.next_event().await;
    let gap = gap(&world).await;
    assert!((250..1_500).contains(&gap), "{gap} ms");
}
