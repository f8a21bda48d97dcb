use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Form, Router,
    extract::Query,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use switchboard_providers::{
    Error, Providers,
    twilio::{CallSid, CallStatus, Calls, CreateCall, CreateError},
};
use tokio::io::AsyncWriteExt;

use crate::support::{SHORT, Server, nowhere, providers, until_closed};

const SID: &str = "CA00000000000000000000000000000001";
const CREATE: &str = "/2010-04-01/Accounts/AC1/Calls.json";
const CALL: &str = "/2010-04-01/Accounts/AC1/Calls/CA00000000000000000000000000000001.json";

const ORDER: CreateCall<'_> = CreateCall {
    to: "+14155550100",
    from: "+14155550199",
    twiml: "<Response/>",
    status_callback: "https://voice.example.com/twilio/acc_1/cnv_1/status",
    detection_callback: None,
    ring_timeout: Duration::from_mins(1),
    time_limit: Some(Duration::from_mins(10)),
};

async fn create(providers: &Providers) -> Result<CallSid, CreateError> {
    Calls::new(providers).create(ORDER).await
}

fn sid() -> CallSid {
    SID.parse().unwrap()
}

async fn answering(status: StatusCode, body: &'static str) -> Server {
    let answer = move || async move { (status, [(header::RETRY_AFTER, "3")], body) };
    Server::http(Router::new().route(CREATE, post(answer)).route(CALL, post(answer).get(answer))).await
}

#[tokio::test]
async fn a_call_is_placed_with_what_the_carrier_wants_to_know() {
    type Seen = Arc<Mutex<Option<(HeaderMap, Vec<(String, String)>)>>>;
    let seen = Seen::default();
    let record = seen.clone();
    let router = Router::new().route(
        CREATE,
        post(async move |headers: HeaderMap, Form(form): Form<Vec<(String, String)>>| {
            *record.lock().unwrap() = Some((headers, form));
            (StatusCode::CREATED, format!(r#"{{"sid":"{SID}","status":"queued","duration":null}}"#))
        }),
    );
    let server = Server::http(router).await;

    assert_eq!(create(&server.providers()).await.unwrap(), sid());

    let (headers, form) = seen.lock().unwrap().take().unwrap();
    assert_eq!(headers[header::AUTHORIZATION], "Basic QUMxOnRva2Vu");
    assert!(headers[header::USER_AGENT].to_str().unwrap().starts_with("switchboard/"));
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        form,
        [
            ("To", "+14155550100"),
            ("From", "+14155550199"),
            ("Twiml", "<Response/>"),
            ("Timeout", "60"),
            ("StatusCallback", "https://voice.example.com/twilio/acc_1/cnv_1/status"),
            ("StatusCallbackEvent", "initiated"),
            ("StatusCallbackEvent", "ringing"),
            ("StatusCallbackEvent", "answered"),
            ("StatusCallbackEvent", "completed"),
            ("TimeLimit", "600"),
        ]
    );
}

#[tokio::test]
async fn who_answered_is_found_out_while_the_call_goes_on_and_only_when_asked_for() {
    type Seen = Arc<Mutex<Vec<Vec<(String, String)>>>>;
    let seen = Seen::default();
    let record = seen.clone();
    let router = Router::new().route(
        CREATE,
        post(async move |Form(form): Form<Vec<(String, String)>>| {
            record.lock().unwrap().push(form);
            (StatusCode::CREATED, format!(r#"{{"sid":"{SID}"}}"#))
        }),
    );
    let server = Server::http(router).await;
    let callback = "https://voice.example.com/twilio/acc_1/cnv_1/amd";
    for detection_callback in [None, Some(callback)] {
        let order = CreateCall { detection_callback, ..ORDER };
        Calls::new(&server.providers()).create(order).await.unwrap();
    }
    let seen = seen.lock().unwrap();
    let more: Vec<_> = seen[1][seen[0].len()..].iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(
        more,
        [("MachineDetection", "Enable"), ("AsyncAmd", "true"), ("AsyncAmdStatusCallback", callback)]
    );
    assert_eq!(seen[1][..seen[0].len()], seen[0]);
}

#[tokio::test]
async fn a_carrier_that_cannot_be_reached_was_not_sent_the_call() {
    assert!(matches!(create(&nowhere().providers).await, Err(CreateError::NotSent(_))));
}

#[tokio::test]
async fn a_failed_tls_handshake_means_that_nothing_was_sent() {
    let server = Server::raw(|mut socket| async move {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let providers = providers(&format!("https://{}", server.address));
    assert!(matches!(create(&providers).await, Err(CreateError::NotSent(_))));
}

#[tokio::test]
async fn a_refused_call_says_why_without_quoting_numbers() {
    let body = r#"{"code":21211,"message":"The 'To' number +14155550100 is not valid.","status":400}"#;
    let server = answering(StatusCode::BAD_REQUEST, body).await;
    let Err(CreateError::Refused { code, message }) = create(&server.providers()).await else {
        panic!("not refused")
    };
    assert_eq!((code, message.as_str()), (21211, "The 'To' number +########### is not valid."));
}

#[tokio::test]
async fn a_busy_carrier_says_when_to_come_back() {
    let server =
        answering(StatusCode::TOO_MANY_REQUESTS, r#"{"code":20429,"message":"Too many requests"}"#).await;
    let error = create(&server.providers()).await.unwrap_err();
    let CreateError::TooManyRequests { retry_after } = error else { panic!("{error}") };
    assert_eq!(retry_after, Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn whatever_leaves_the_call_in_doubt_counts_as_unknown() {
    for (status, body) in [
        (StatusCode::INTERNAL_SERVER_ERROR, ""),
        (StatusCode::BAD_GATEWAY, "<html>"),
        (StatusCode::FOUND, ""),
        (StatusCode::CREATED, "<html>"),
        (StatusCode::CREATED, r#"{"sid":"../../other"}"#),
        (StatusCode::CREATED, "{}"),
    ] {
        let server = answering(status, body).await;
        let created = create(&server.providers()).await;
        assert!(matches!(created, Err(CreateError::Unknown { .. })), "{status} {body}: {created:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_the_call_in_doubt() {
    let closing = Server::raw(|socket| async move { drop(socket) }).await;
    assert!(matches!(create(&closing.providers()).await, Err(CreateError::Unknown { .. })));

    let silent = Server::raw(|mut socket| async move { until_closed(&mut socket).await }).await;
    let created = Calls::with_timeout(&silent.providers(), SHORT).create(ORDER).await;
    assert!(matches!(created, Err(CreateError::Unknown { .. })));
}

#[tokio::test]
async fn no_two_calls_are_placed_over_one_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let server = Server::raw(move |mut socket| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = format!(r#"{{"sid":"{SID}"}}"#);
            let answer = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
            until_closed(&mut socket).await;
        }
    })
    .await;
    let calls = Calls::new(&server.providers());
    calls.create(ORDER).await.unwrap();
    calls.create(ORDER).await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_call_is_ended_also_when_it_is_over_or_unknown() {
    let router = Router::new().route(
        CALL,
        post(async |Form(form): Form<Vec<(String, String)>>| -> Response {
            assert_eq!(form, [("Status".to_owned(), "completed".to_owned())]);
            r#"{"sid":"x","status":"completed"}"#.into_response()
        }),
    );
    let live = Server::http(router).await;
    Calls::new(&live.providers()).hang_up(&sid()).await.unwrap();

    for (status, body) in [
        (StatusCode::NOT_FOUND, r#"{"code":20404,"message":"The requested resource was not found"}"#),
        (StatusCode::NOT_FOUND, ""),
        (StatusCode::BAD_REQUEST, r#"{"code":21220,"message":"Call is not in-progress."}"#),
    ] {
        let over = answering(status, body).await;
        let calls = Calls::new(&over.providers());
        calls.hang_up(&sid()).await.unwrap();
        assert!(!calls.cancel(&sid()).await.unwrap());
    }
}

#[tokio::test]
async fn a_call_that_could_not_be_ended_says_whether_to_try_again() {
    let failing = answering(StatusCode::SERVICE_UNAVAILABLE, "").await;
    assert!(Calls::new(&failing.providers()).hang_up(&sid()).await.unwrap_err().is_retryable());

    let foreign = answering(StatusCode::UNAUTHORIZED, r#"{"code":20003,"message":"Authenticate"}"#).await;
    let error = Calls::new(&foreign.providers()).hang_up(&sid()).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { ref code, .. } if code == "20003"), "{error}");
}

#[tokio::test]
async fn the_carrier_is_asked_for_a_call() {
    let body = r#"{"sid":"x","status":"completed","duration":"42","answered_by":null,
        "start_time":"Sun, 22 Nov 2026 09:30:00 +0000","end_time":null}"#;
    let router = Router::new().route(CALL, get(async move || body));
    let server = Server::http(router).await;
    let call = Calls::new(&server.providers()).fetch(&sid()).await.unwrap().unwrap();
    assert_eq!(call.status, CallStatus::Completed);
    assert_eq!(call.duration, Some(Duration::from_secs(42)));
    assert_eq!(call.started_at.unwrap().to_string(), "2026-11-22T09:30:00.000Z");
    assert_eq!((call.ended_at, call.answered_by), (None, None));

    let empty = answering(StatusCode::NOT_FOUND, "").await;
    assert_eq!(Calls::new(&empty.providers()).fetch(&sid()).await.unwrap(), None);
}

#[tokio::test]
async fn a_live_call_is_sent_elsewhere_and_one_that_is_over_is_not() {
    let router = Router::new().route(
        CALL,
        post(async |Form(form): Form<Vec<(String, String)>>| -> Response {
            let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(form, [("Url", "https://voice.example.com/resume"), ("Method", "POST")]);
            r#"{"sid":"x","status":"in-progress"}"#.into_response()
        }),
    );
    let live = Server::http(router).await;
    let redirect = async |server: &Server| {
        Calls::new(&server.providers()).redirect(&sid(), "https://voice.example.com/resume").await
    };
    assert!(redirect(&live).await.unwrap());
    for (status, code) in [(StatusCode::NOT_FOUND, "20404"), (StatusCode::BAD_REQUEST, "21220")] {
        let body = if code == "20404" {
            r#"{"code":20404,"message":"no"}"#
        } else {
            r#"{"code":21220,"message":"no"}"#
        };
        assert!(!redirect(&answering(status, body).await).await.unwrap(), "{code}");
    }
    assert!(redirect(&answering(StatusCode::UNAUTHORIZED, "").await).await.is_err());
}

#[tokio::test]
async fn calls_that_a_lost_answer_may_be_about_are_found_by_numbers_and_time() {
    let call = |n: u32, created: &str| {
        format!(r#"{{"sid":"CA{n:032}","status":"ringing","duration":null,"date_created":"{created}"}}"#)
    };
    let calls = [
        call(4, "Sun, 22 Nov 2026 09:30:31 +0000"),
        call(3, "Sun, 22 Nov 2026 09:30:05 +0000"),
        call(2, "Sun, 22 Nov 2026 09:29:58 +0000"),
        call(1, "Sun, 22 Nov 2026 09:29:50 +0000"),
        r#"{"sid":"../x","date_created":"Sun, 22 Nov 2026 09:30:05 +0000"}"#.to_owned(),
    ];
    let body = format!(r#"{{"calls":[{}],"page":0}}"#, calls.join(","));
    let router = Router::new().route(
        CREATE,
        get(async move |Query(query): Query<Vec<(String, String)>>| {
            let query: Vec<_> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(query, [("To", "+14155550100"), ("From", "+14155550199"), ("PageSize", "1000")]);
            body
        }),
    );
    let server = Server::http(router).await;
    let find = async |providers: &Providers| {
        let since = "2026-11-22T09:30:00.400Z".parse().unwrap();
        Calls::new(providers).find("+14155550100", "+14155550199", since).await
    };
    let found = find(&server.providers()).await.unwrap();
    let sids: Vec<_> = found.iter().map(|(sid, _)| sid.as_str()[32..].to_owned()).collect();
    assert_eq!(sids, ["03", "02"]);
    assert_eq!(found[0].1.status, CallStatus::Ringing);

    assert!(find(&nowhere().providers).await.unwrap_err().is_retryable());
    let strange = answering(StatusCode::INTERNAL_SERVER_ERROR, "").await;
    assert!(find(&strange.providers()).await.is_err());
}
