use axum::http::StatusCode;
use switchboard_aws::table::Outcome;
use switchboard_model::{
    accounts::sha256_hex,
    conversations::{EndedReason, Lease, LegId, MAX_RESUMES, State, UtteranceProgress},
};

use crate::world::{
    ACCOUNT, CONVERSATION, PUBLIC_URL, SID, World, at, fields, ids, lease, request, send, signed,
};

const HANG_UP: &str = "<Response><Hangup/></Response>";

/// A report that the stream of a holder, or of no holder, broke.
fn broken(stream: &str) -> String {
    format!("CallSid={SID}&StreamSid=MZ{stream}&StreamEvent=stream-error&StreamError=31921")
}

async fn resume(world: &World) -> String {
    let (status, twiml) = world.post("resume", &fields("in-progress", "")).await;
    assert_eq!(status, StatusCode::OK);
    twiml
}

async fn let_in(world: &World, holder: &str, second: i64) {
    let (account, id) = ids();
    let lease = lease(holder, second);
    let taken = world
        .table
        .transition_taking(&lease, account, id, |now| now.conversation.mark_resumed(LegId::CALLER));
    assert!(matches!(taken.await.unwrap(), Outcome::Changed(_)));
}

#[tokio::test]
async fn the_sample_of_a_resume_gets_a_stream_with_a_new_token() {
    let world = World::started("a", 5).await;
    let sample = include_str!("../../../../events/http_twilio_resume.json");
    let (status, twiml) = world.sample(sample).await;
    assert_eq!(status, StatusCode::OK);
    let (before, rest) = twiml.split_once(r#"<Parameter name="token" value=""#).unwrap();
    let (token, after) = rest.split_once('"').unwrap();
    let base = format!("{PUBLIC_URL}/twilio/{ACCOUNT}/{CONVERSATION}");
    assert_eq!(
        before,
        format!(
            "<Response><Connect><Stream url=\"wss://media.example.com/media/{ACCOUNT}/{CONVERSATION}\" statusCallback=\"{base}/stream\">\
             <Parameter name=\"account_id\" value=\"{ACCOUNT}\"/>\
             <Parameter name=\"conversation_id\" value=\"{CONVERSATION}\"/>"
        )
    );
    let redirect =
        format!("<Redirect method=\"POST\">{base}/resume#rc=3&amp;rt=8000&amp;rp=5xx,ct,rt</Redirect>");
    assert_eq!(after, format!("/></Stream></Connect>{redirect}</Response>"));
    let conversation = world.conversation().await;
    assert_eq!(conversation.legs.caller().media_token_sha256, Some(sha256_hex(token)));
    assert_eq!((token.len(), conversation.legs.caller().resumes), (64, 1));
    assert!(!resume(&world).await.contains(token), "each has its own");
}

#[tokio::test]
async fn an_ended_or_unknown_call_is_hung_up() {
    let world = World::started("a", 5).await;
    let other = fields("in-progress", "").replace("cdef&", "0000&");
    assert_eq!(world.post("resume", &other).await, (StatusCode::OK, HANG_UP.to_owned()));
    assert_eq!(world.conversation().await.legs.caller().resumes, 0);

    let world = World::new().await;
    world.report(&fields("busy", "")).await;
    assert_eq!(resume(&world).await, HANG_UP);
    assert_eq!(world.event_names().await, ["phone_call:rejected", "conversation:ended"]);
}

#[tokio::test]
async fn a_stream_that_never_starts_is_connected_five_times() {
    for reports in [vec![], vec!["ringing", "in-progress"]] {
        let world = World::new().await;
        for report in reports {
            world.report(&fields(report, "")).await;
        }
        for n in 1..=MAX_RESUMES {
            assert!(resume(&world).await.contains("<Connect>"), "{n}");
        }
        assert_eq!(resume(&world).await, HANG_UP);
        assert_eq!(world.event_names().await, ["phone_call:accepted", "conversation:ended"]);
        assert_eq!(world.conversation().await.ended().unwrap().1, EndedReason::Unknown);
    }
}

#[tokio::test]
async fn a_carrier_that_pauses_before_the_next_stream_is_not_redirected() {
    let world = World::started("a", 5).await;
    resume(&world).await;
    let twiml = resume(&world).await;
    assert!(twiml.starts_with("<Response><Pause length=\"2\"/><Connect>"), "{twiml}");
    // The report about the stream that failed comes late.
    assert_eq!(world.post("stream", &broken("a")).await, (StatusCode::OK, String::new()));
    assert!(world.carrier_requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_call_ends_after_five_resumes_with_its_last_words() {
    let world = World::started("0", 5).await;
    for n in 1..=MAX_RESUMES {
        assert!(resume(&world).await.contains("<Connect>"), "{n}");
        let_in(&world, &n.to_string(), 10).await;
    }
    let (account, id) = ids();
    let speaking = UtteranceProgress {
        kind: switchboard_model::messages::MessageKind::Speech,
        heard: "Your cake".into(),
        unheard: "is".into(),
        started_at: at(11),
    };
    let mut lease = Lease { utterance: Some(speaking), ..Lease::new(MAX_RESUMES.to_string(), at(12)) };
    lease.until = switchboard_runtime::now().after(std::time::Duration::from_mins(1));
    assert!(world.table.renew_lease(account, id, &lease).await.unwrap());
    assert_eq!(resume(&world).await, HANG_UP);
    assert!(world.conversation().await.ended().is_none(), "its worker may live");

    lease.until = at(12);
    assert!(world.table.renew_lease(account, id, &lease).await.unwrap());
    assert_eq!(resume(&world).await, HANG_UP);
    assert_eq!(world.conversation().await.ended().unwrap().1, EndedReason::Unknown);
    assert_eq!(world.table.messages(account, id).await.unwrap()[0].content, "Your cake");
}

#[tokio::test]
async fn the_sample_of_a_broken_stream_redirects_the_call() {
    let world = World::started("0123456789abcdef0123456789abcdef", 5).await;
    let sample = include_str!("../../../../events/http_twilio_stream.json");
    assert_eq!(world.sample(sample).await, (StatusCode::OK, String::new()));
    let carrier_requests = world.carrier_requests.lock().unwrap().clone();
    let url = format!("{PUBLIC_URL}/twilio/{ACCOUNT}/{CONVERSATION}/resume");
    let escaped = url.replace(':', "%3A").replace('/', "%2F");
    let call = format!("/2010-04-01/Accounts/AC1/Calls/{SID}.json");
    assert_eq!(carrier_requests, [(call, format!("Url={escaped}&Method=POST"))]);
}

#[tokio::test]
async fn a_call_that_the_carrier_resumes_is_not_redirected() {
    let world = World::started("a", 5).await;
    let broken = broken("a");
    let ((status, _), twiml) = tokio::join!(world.post("stream", &broken), resume(&world));
    assert_eq!(status, StatusCode::OK);
    assert!(twiml.contains("<Connect>"));
    assert!(world.carrier_requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_call_whose_next_stream_fails_is_redirected_again() {
    let world = World::started("a", 5).await;
    resume(&world).await;
    assert_eq!(world.post("stream", &broken("b")).await.0, StatusCode::OK);
    assert_eq!(world.carrier_requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_late_report_does_not_redirect_a_call_that_was_taken_over() {
    let world = World::started("a", 5).await;
    resume(&world).await;
    let_in(&world, "b", 5).await;
    assert_eq!(world.post("stream", &broken("a")).await, (StatusCode::OK, String::new()));
    assert!(world.carrier_requests.lock().unwrap().is_empty());
    // A report on its own stream is handled.
    assert_eq!(world.post("stream", &broken("b")).await.0, StatusCode::OK);
    assert_eq!(world.carrier_requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_closed_or_replaced_stream_redirects_no_call() {
    let world = World::started("a", 5).await;
    for event in ["stream-started", "stream-stopped", "stream-paused"] {
        let form = format!("CallSid={SID}&StreamEvent={event}");
        assert_eq!(world.post("stream", &form).await, (StatusCode::OK, String::new()));
    }
    resume(&world).await;
    let_in(&world, "b", 10).await;
    assert_eq!(world.post("stream", &broken("a")).await.0, StatusCode::OK, "late");
    world.report(&fields("completed", "")).await;
    assert_eq!(world.post("stream", &broken("b")).await.0, StatusCode::OK);
    assert!(matches!(world.conversation().await.state, State::Started { .. }));
    assert!(world.carrier_requests.lock().unwrap().is_empty());
    assert_eq!(world.post("stream", "CallSid=CA1&StreamEvent=x").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.post("resume", "CallSid=CA1").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_request_with_a_wrong_signature_gets_no_token() {
    let world = World::started("a", 5).await;
    let form = fields("in-progress", "");
    for leaf in ["resume", "stream"] {
        let here = format!("/twilio/{ACCOUNT}/{CONVERSATION}/{leaf}");
        let unknown = format!("/twilio/{ACCOUNT}/cnv_01JD8QA1B2C3D4E5F6G7H8J9K1/{leaf}");
        let form = format!("{form}&StreamEvent=stream-error");
        for request in [request(&here, &form, "AAAA"), signed(&unknown, &form)] {
            let answer = send(&world.router, request).await;
            assert_eq!(answer, (StatusCode::FORBIDDEN, r#"{"detail":"Forbidden"}"#.to_owned()), "{leaf}");
        }
    }
    assert_eq!(world.conversation().await.legs.caller().resumes, 0);
}
