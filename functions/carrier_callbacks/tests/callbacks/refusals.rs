//! Refused callbacks: nothing about them tells in which way they are wrong, not even their time.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use switchboard_aws::{
    clips::Clips,
    sealing,
    table::testing::{MemoryDatabase, config},
    testing::config_of,
};

use crate::world::{
    ACCOUNT, CONVERSATION, SID, dialled, fields, path, request, router, send, signed, signed_with,
};

const UNKNOWN: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1";
const FOREIGN: &str = "acc_01JD8Q2M7X4T6R9V1B3C5D7E9G";

/// Work of a constant amount in a constant order takes the same time, as far as the sender can tell. What differs are
/// the requests to other services, so these are compared; signatures are compared in constant time.
#[tokio::test]
async fn the_work_of_a_refusal_does_not_tell_what_is_wrong() {
    let database = MemoryDatabase::new();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&asked);
    let service = config_of(move |request| {
        log.lock().unwrap().push(request.target.clone().unwrap_or_default());
        let response = database.execute(&request);
        Box::pin(async move { Some(response) })
    });
    let table = MemoryDatabase::table(&service).await;
    table.create_conversation(&dialled()).await.unwrap();
    let clips = Clips::new(&config("http://127.0.0.1:1").await, "clips".to_owned());
    let router = router(table, sealing::testing::sealer().await, &clips, "http://127.0.0.1:1");

    let (here, ringing) = (path(ACCOUNT, CONVERSATION), fields("ringing", ""));
    let (unknown, foreign) = (path(ACCOUNT, UNKNOWN), path(FOREIGN, CONVERSATION));
    let of_another_path =
        signed(&unknown, &ringing).headers()["x-twilio-signature"].to_str().unwrap().to_owned();
    let one_letter_off = {
        let right = signed(&here, &ringing).headers()["x-twilio-signature"].to_str().unwrap().to_owned();
        let first = if right.starts_with('A') { "B" } else { "A" };
        format!("{first}{}", &right[1..])
    };
    let mut unsigned = request(&here, &ringing, "");
    unsigned.headers_mut().remove("x-twilio-signature");
    let mut work = vec![];
    for (kind, request) in [
        ("missing", unsigned),
        ("empty", request(&here, &ringing, "")),
        ("malformed", request(&here, &ringing, "not base64")),
        ("wrong", request(&here, &ringing, "AAAA")),
        ("one letter off", request(&here, &ringing, &one_letter_off)),
        ("of another path", request(&here, &ringing, &of_another_path)),
        ("of another account's token", signed_with("another-token", &here, &ringing)),
        ("of another form", request(&here, &format!("CallSid={SID}"), &of_another_path)),
        ("for an unknown conversation", request(&unknown, &ringing, "AAAA")),
        ("for another account's conversation", request(&foreign, &ringing, "AAAA")),
    ] {
        asked.lock().unwrap().clear();
        let answer = send(&router, request).await;
        assert_eq!(answer, (StatusCode::FORBIDDEN, r#"{"detail":"Forbidden"}"#.to_owned()), "{kind}");
        work.push((kind, asked.lock().unwrap().clone()));
    }
    assert!(!work[0].1.is_empty(), "the table was asked");
    for (kind, requests) in &work {
        assert_eq!(*requests, work[0].1, "{kind}");
    }
}
