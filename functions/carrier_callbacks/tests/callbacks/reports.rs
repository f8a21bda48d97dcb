use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use switchboard_aws::{
    clips::Clips,
    sealing,
    table::{Table, testing},
};
use switchboard_calls::status_transition;
use switchboard_model::{
    carriers::CarrierCallId,
    conversations::{EndedReason, LegState, State},
};

use crate::{
    lives::read,
    world::{
        ACCOUNT, CONVERSATION, SID, World, at, dialled, fields, ids, path, request, router, send, signed,
        signed_with,
    },
};

#[tokio::test]
async fn the_sample_of_an_answered_call_arrives_through_the_gateway() {
    let world = World::new().await;
    let sample = include_str!("../../../../events/http_twilio_status.json");
    assert_eq!(world.sample(sample).await, (StatusCode::OK, String::new()));
    let conversation = world.conversation().await;
    assert!(matches!(conversation.legs.caller().state, LegState::Answered { .. }), "{conversation:?}");
    assert_eq!(conversation.legs.caller().carrier_call_id().map(CarrierCallId::id), Some(SID));
    assert_eq!(world.event_names().await, ["phone_call:accepted"]);
}

#[tokio::test]
async fn a_rotated_token_is_read_at_most_once_a_minute() {
    let world = World::new().await;
    let (router, reads) = world.rotated("rotated");
    let (here, ringing) = (path(ACCOUNT, CONVERSATION), fields("ringing", ""));
    let count = || reads.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(send(&router, signed(&here, &ringing)).await.0, StatusCode::OK);
    assert_eq!(count(), 0, "the token that is known is enough");
    assert_eq!(send(&router, signed_with("rotated", &here, &ringing)).await.0, StatusCode::OK);
    assert_eq!(send(&router, signed_with("rotated", &here, &ringing)).await.0, StatusCode::OK);
    assert_eq!(count(), 1);
    for _ in 0..20 {
        let forged = send(&router, request(&here, &ringing, "AAAA")).await;
        assert_eq!(forged.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(send(&router, signed(&here, &ringing)).await.0, StatusCode::FORBIDDEN, "it was replaced");
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn a_request_with_a_wrong_signature_is_refused() {
    let world = World::new().await;
    let (here, ringing) = (path(ACCOUNT, CONVERSATION), fields("ringing", ""));
    let unknown = path(ACCOUNT, "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1");
    let foreign = path("acc_01JD8Q2M7X4T6R9V1B3C5D7E9G", CONVERSATION);
    let other = signed(&unknown, &ringing).headers()["x-twilio-signature"].to_str().unwrap().to_owned();
    let unsigned = Request::post(&here).body(Body::from(ringing.clone())).unwrap();
    let mut answers = vec![send(&world.router, unsigned).await];
    for signature in ["", "AAAA", "not base64", &other] {
        answers.push(send(&world.router, request(&here, &ringing, signature)).await);
    }
    for path in [unknown, foreign, path("acc_1", "cnv_1"), path("a%20b", "%FF"), format!("{here}?more=1")] {
        answers.push(send(&world.router, request(&path, &ringing, "AAAA")).await);
    }
    for path in [path(ACCOUNT, "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1"), path("acc_1", "cnv_1")] {
        answers.push(send(&world.router, signed(&path, &ringing)).await);
    }
    for answer in answers {
        assert_eq!(answer, (StatusCode::FORBIDDEN, r#"{"detail":"Forbidden"}"#.to_owned()));
    }
    assert!(matches!(world.conversation().await.legs.caller().state, LegState::Dialing { .. }));
}

#[tokio::test]
async fn reports_move_a_call_through_its_states() {
    let world = World::new().await;
    for (status, state) in
        [("queued", "Dialing"), ("initiated", "Dialing"), ("ringing", "Ringing"), ("in-progress", "Answered")]
    {
        for _ in 0..2 {
            assert_eq!(world.report(&fields(status, "")).await, (StatusCode::OK, String::new()));
            let reached = format!("{:?}", world.conversation().await.legs.caller().state);
            assert!(reached.starts_with(state), "{status}: {reached}");
        }
    }
    assert_eq!(world.report(&fields("completed", "&CallDuration=3")).await.0, StatusCode::OK);
    assert_eq!(world.event_names().await, ["phone_call:accepted", "conversation:ended"]);
}

#[tokio::test]
async fn an_unanswered_call_is_rejected_once_with_its_reason() {
    for (status, reason) in [
        ("busy", "busy"),
        ("no-answer", "no_answer"),
        ("failed", "failed"),
        ("canceled", "canceled"),
        ("completed", "failed"),
    ] {
        let world = World::new().await;
        for _ in 0..2 {
            assert_eq!(world.report(&fields(status, "")).await.0, StatusCode::OK);
        }
        let (account, id) = ids();
        let (events, _) = world.table.events(account, id, 0, 100).await.unwrap();
        assert_eq!(world.event_names().await, ["phone_call:rejected", "conversation:ended"], "{status}");
        assert_eq!(events[0].data["reason"], reason);
    }
}

#[tokio::test]
async fn the_worker_of_a_call_is_signalled_its_end() {
    let world = World::started("a", 5).await;
    assert_eq!(world.report(&fields("completed", "&CallDuration=42")).await.0, StatusCode::OK);
    let conversation = world.conversation().await;
    assert!(matches!(conversation.state, State::Started { .. }));
    let reported = conversation.legs.caller().reported_end;
    assert_eq!(reported.unwrap().seconds, Some(42));
    assert_eq!(world.report(&fields("completed", "&CallDuration=42")).await.0, StatusCode::OK);
    assert_eq!(world.conversation().await.legs.caller().reported_end, reported);
}

#[tokio::test]
async fn a_malformed_report_changes_nothing() {
    let world = World::new().await;
    assert_eq!(world.report("CallStatus=busy").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.report(&fields("parked", "")).await.0, StatusCode::OK);
    let big = fields("busy", &format!("&x={}", "x".repeat(70_000)));
    assert_eq!(world.report(&big).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, body) = send(&world.router, signed("/twilio/other", &fields("busy", ""))).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#));
    assert!(matches!(world.conversation().await.legs.caller().state, LegState::Dialing { .. }));
}

#[tokio::test]
async fn a_report_of_another_call_changes_nothing() {
    let world = World::new().await;
    assert_eq!(world.report(&fields("ringing", "")).await.0, StatusCode::OK);
    let other = fields("busy", "").replace("cdef&", "0000&");
    assert_eq!(world.report(&other).await.0, StatusCode::OK);
    assert!(matches!(world.conversation().await.legs.caller().state, LegState::Ringing { .. }));
}

#[tokio::test]
async fn a_report_that_cannot_be_stored_is_a_server_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = testing::config(&url).await;
    let table = Table::new(&config, "switchboard".to_owned());
    let clips = Clips::new(&config, "recordings".to_owned());
    let away = router(table, sealing::testing::sealer().await, &clips, &url);
    let (status, body) = send(&away, signed(&path(ACCOUNT, CONVERSATION), &fields("ringing", ""))).await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"detail":"Service Unavailable"}"#)
    );
}

#[test]
fn a_completed_call_counts_as_answered_without_a_report_of_it() {
    let snapshot = dialled();
    let change =
        status_transition(&snapshot, &read(&fields("completed", "&CallDuration=42")), at(60)).unwrap();
    let names: Vec<&str> = change.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["phone_call:accepted", "conversation:ended"]);
    assert_eq!(change.conversation.answered_at(), Some(at(18)));
    let (_, _, cost) = change.conversation.ended().unwrap();
    let telephony = cost.telephony.as_ref().unwrap();
    assert_eq!(Duration::from_millis(telephony.ms), Duration::from_secs(42));
}

#[tokio::test]
async fn a_call_of_an_ended_conversation_is_hung_up() {
    let world = World::new().await;
    let (account, id) = ids();
    let ended = world.table.transition(account, id, |now| {
        let (usage, prices) = (&now.conversation.usage, switchboard_model::costs::Prices::default());
        now.conversation.end(&now.agent, EndedReason::AgentEnded, &[], usage, &prices, at(5))
    });
    assert!(matches!(ended.await.unwrap(), switchboard_aws::table::Outcome::Changed(_)));
    assert_eq!(world.report(&fields("ringing", "")).await.0, StatusCode::OK);
    let call = format!("/2010-04-01/Accounts/AC1/Calls/{SID}.json");
    assert_eq!(*world.carrier_requests.lock().unwrap(), [(call, "Status=completed".to_owned())]);
    assert_eq!(world.report(&fields("completed", "")).await.0, StatusCode::OK);
    assert_eq!(world.carrier_requests.lock().unwrap().len(), 1, "it is over");
}
