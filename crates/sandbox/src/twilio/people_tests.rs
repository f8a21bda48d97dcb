//! People with scripts assigned at run time, and answering machine detection, on real sockets.

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    OWNED_NUMBER,
    tests::{ACCOUNT, Webhook, World},
};

const NUMBER: &str = "+14155550170";

async fn put(world: &World, number: &str, body: impl Into<reqwest::Body>) -> (StatusCode, String) {
    let url = format!("{}/sandbox/people/{number}", world.carrier_url);
    let answer = world.client.put(url).body(body).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn delete(world: &World, number: &str) -> StatusCode {
    let url = format!("{}/sandbox/people/{number}", world.carrier_url);
    world.client.delete(url).send().await.unwrap().status()
}

/// Assigns a script that needs no speech.
async fn make(world: &World, script: &Value) {
    assert_eq!(put(world, NUMBER, script.to_string()).await, (StatusCode::NO_CONTENT, String::new()));
}

/// The record of a call, once it is final.
async fn record(world: &World, sid: &str) -> Value {
    let settled = async {
        loop {
            let call = world.get(&format!("/sandbox/calls/{sid}")).await;
            if call["settled"] == true {
                return call;
            }
        }
    };
    timeout(Duration::from_mins(1), settled).await.expect("the call ends")
}

#[tokio::test]
async fn an_assigned_person_presses_keys_makes_sounds_and_hangs_up() {
    let mut world = World::start().await;
    let acts = json!([
        { "after": "start", "keys": "4#" },
        { "after": "act", "sound": "cough", "cut_ms": 100 },
        { "after": "act", "hang_up": true },
    ]);
    make(&world, &json!({ "acts": acts })).await;
    let twiml = world.twiml();
    let sid = world.dial(NUMBER, &twiml).await;
    let mut stream = world.stream().await;
    let id = stream.start["streamSid"].clone();
    for digit in ["4", "#"] {
        let (_, message) = stream.next_event().await;
        let dtmf = json!({ "track": "inbound_track", "digit": digit });
        assert_eq!(
            (&message["event"], &message["streamSid"], &message["dtmf"]),
            (&json!("dtmf"), &id, &dtmf)
        );
        assert!(message["sequenceNumber"].as_str().unwrap().parse::<u32>().unwrap() > 1);
    }
    let (frames, message) = stream.next_event().await;
    assert_eq!(message["event"], "stop");
    assert!(frames >= 5, "the cough is {frames} frames");
    let call = record(&world, &sid).await;
    assert_eq!((&call["status"], &call["ended_by"]), (&json!("completed"), &json!("caller")));
    let done: Vec<_> = call["said"].as_array().unwrap().iter().collect();
    let at = |n: usize, field: &str| done[n][field].as_u64().unwrap();
    assert_eq!((&done[0]["what"], &done[0]["text"]), (&json!("keys"), &json!("4#")));
    assert_eq!((&done[1]["what"], &done[1]["text"]), (&json!("sound"), &json!("cough")));
    assert_eq!(at(0, "until_ms") - at(0, "at_ms"), 300);
    assert_eq!(at(1, "until_ms") - at(1, "at_ms"), 100);
    assert!(at(1, "at_ms") >= at(0, "until_ms"));
    assert!(call["hung_up_ms"].as_u64().unwrap() >= at(1, "until_ms"), "{call}");
}

#[tokio::test]
async fn an_assigned_person_can_be_removed() {
    let mut world = World::start().await;
    make(&world, &json!({ "acts": [{ "after": "start", "hang_up": true }] })).await;
    // Numbers in a URL may be percent-encoded.
    assert_eq!(delete(&world, "%2B14155550170").await, StatusCode::NO_CONTENT);
    assert_eq!(delete(&world, NUMBER).await, StatusCode::NOT_FOUND);
    let twiml = world.twiml();
    world.dial(NUMBER, &twiml).await;
    let mut stream = world.stream().await;
    for name in ["one", "two"] {
        stream.play(1600).await;
        stream.mark(name).await;
        assert_eq!(stream.next_event().await.1["event"], "mark", "the call goes on");
    }
}

#[tokio::test]
async fn a_number_can_be_assigned_again_and_again() {
    let world = World::start().await;
    for text in ["cough", "hum"] {
        make(&world, &json!({ "acts": [{ "after": "start", "sound": text, "then_hang_up": true }] })).await;
        let twiml = world.twiml();
        let sid = world.dial(NUMBER, &twiml).await;
        assert_eq!(record(&world, &sid).await["said"][0]["text"], text);
    }
}

#[tokio::test]
async fn a_script_with_a_mistake_is_refused_in_words() {
    let world = World::start().await;
    let good = json!({ "acts": [] }).to_string();
    let cases = [
        (NUMBER, "{", "the script is not JSON: EOF while parsing"),
        (NUMBER, r#"{ "lines": [] }"#, "unknown field `lines`"),
        (NUMBER, r#"{ "acts": ["Yes.", { "keys": "a" }] }"#, "acts[1]: keys are one to 32 of 0-9, * and #"),
        ("+14155550200", &good, "the number must be +1"),
        ("+4930901820", &good, "the number must be +1"),
        ("+14155550150", &good, "calls to this number are never answered"),
        ("+14155550151", &good, "calls to this number are never answered"),
        ("+14155550152", &good, "calls to this number are never answered"),
        ("+14155550161", &good, "calls to this number are never answered"),
    ];
    for (number, body, expected) in cases {
        let (status, why) = put(&world, number, body.to_owned()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{number} {body}");
        assert!(why.contains(expected), "{number} {body}: {why}");
    }
}

#[tokio::test]
async fn an_assigned_person_can_call() {
    let mut world = World::start().await;
    make(&world, &json!({ "acts": [{ "after": "start", "keys": "7" }] })).await;
    let twiml = world.twiml();
    let document = Router::new().route("/", post(async move || twiml));
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let url = crate::serve(document, &TaskTracker::new(), &stop).await.unwrap();
    let numbers = world.get(&format!("/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers.json")).await;
    let sid = numbers["incoming_phone_numbers"][0]["sid"].as_str().unwrap().to_owned();
    let (status, _) = world.post(&format!("IncomingPhoneNumbers/{sid}.json"), &[("VoiceUrl", &url)]).await;
    assert_eq!(status, StatusCode::OK);
    let ring = json!({ "from": NUMBER, "to": OWNED_NUMBER });
    let ringing = world.client.post(format!("{}/sandbox/calls", world.carrier_url)).json(&ring);
    assert_eq!(ringing.send().await.unwrap().status(), StatusCode::CREATED);
    let (_, message) = world.stream().await.next_event().await;
    assert_eq!(message["dtmf"]["digit"], "7");
}

/// Dials with machine detection; returns the call's sid.
async fn dial_and_detect(world: &World, callback: &str) -> String {
    let twiml = r#"<Response><Pause length="3"/></Response>"#;
    let status = format!("{}/status", world.application_url);
    let form = [
        ("To", NUMBER),
        ("From", OWNED_NUMBER),
        ("Twiml", twiml),
        ("StatusCallback", &status),
        ("MachineDetection", "Enable"),
        ("AsyncAmd", "true"),
        ("AsyncAmdStatusCallback", callback),
        ("AsyncAmdStatusCallbackMethod", "POST"),
    ];
    let (status, call) = world.post("Calls.json", &form).await;
    assert_eq!((status, &call["answered_by"]), (StatusCode::CREATED, &Value::Null), "{call}");
    call["sid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_verdict_is_posted_while_the_call_goes_on() {
    for (machine, expected) in [(true, "machine_start"), (false, "human")] {
        let mut world = World::start().await;
        make(&world, &json!({ "acts": [], "machine": machine })).await;
        let sid = dial_and_detect(&world, &format!("{}/stream", world.application_url)).await;
        let verdict: Webhook = world.webhook().await;
        assert_eq!(verdict.field("CallStatus"), "", "it comes before the end");
        for (name, value) in [("CallSid", &*sid), ("AccountSid", ACCOUNT), ("AnsweredBy", expected)] {
            assert_eq!(verdict.field(name), value, "{name}");
        }
        assert!(verdict.field("MachineDetectionDuration").parse::<u64>().unwrap() >= 2000);
        assert_eq!(world.webhook().await.field("CallStatus"), "completed");
        let resource = world.get(&format!("/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json")).await;
        assert_eq!(resource["answered_by"], expected);
        assert_eq!(record(&world, &sid).await["callbacks"][0]["status"], expected);
    }
}

#[tokio::test]
async fn without_a_callback_the_verdict_is_only_in_the_resource() {
    let mut world = World::start().await;
    make(&world, &json!({ "acts": [], "machine": true })).await;
    let sid = dial_and_detect(&world, "").await;
    assert_eq!(world.webhook().await.field("CallStatus"), "completed");
    assert_eq!(record(&world, &sid).await["answered_by"], "machine_start");
}

#[tokio::test]
async fn no_machine_is_detected_without_a_request() {
    let mut world = World::start().await;
    make(&world, &json!({ "acts": [], "machine": true })).await;
    let sid = world.dial(NUMBER, r#"<Response><Pause length="3"/></Response>"#).await;
    let reports = world.reports::<4>().await;
    assert_eq!(reports[2..], ["/status in-progress", "/status completed"]);
    assert_eq!(record(&world, &sid).await["answered_by"], Value::Null);
}

#[tokio::test]
async fn unsupported_machine_detection_is_refused() {
    let world = World::start().await;
    let good = [("To", NUMBER), ("From", OWNED_NUMBER), ("Twiml", "<Response/>")];
    let enable = ("MachineDetection", "Enable");
    let asynchronous = ("AsyncAmd", "true");
    let cases = [
        vec![("MachineDetection", "DetectMessageEnd"), asynchronous],
        vec![("MachineDetection", "enable"), asynchronous],
        vec![enable],
        vec![enable, asynchronous, ("AsyncAmdStatusCallback", "voice.example.com")],
        vec![enable, asynchronous, ("AsyncAmdStatusCallbackMethod", "GET")],
    ];
    for case in cases {
        let (status, error) = world.post("Calls.json", &[&good[..], &case].concat()).await;
        assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!(20001)), "{case:?}: {error}");
    }
}
