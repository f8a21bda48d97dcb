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
    AnyCarrier, Error, Providers,
    carrier::{
        Carrier as _, CarrierCallId, CarrierName,
        calls::{CallStatus, OrderError, PlaceCall},
        documents::CallDocument,
    },
    twilio::Twilio,
};
use tokio::io::AsyncWriteExt;

use crate::support::{SHORT, Server, nowhere, providers, until_closed};

const SID: &str = "CA00000000000000000000000000000001";
const CREATE: &str = "/2010-04-01/Accounts/AC1/Calls.json";
const CALL: &str = "/2010-04-01/Accounts/AC1/Calls/CA00000000000000000000000000000001.json";

fn order(document: &CallDocument) -> PlaceCall<'_> {
    PlaceCall {
        to: "+14155550100",
        from: "+14155550199",
        document,
        status_callback: "https://voice.example.com/twilio/acc_1/cnv_1/status",
        detection_callback: None,
        ring_timeout: Duration::from_mins(1),
        time_limit: Some(Duration::from_mins(10)),
    }
}

fn document() -> CallDocument {
    CallDocument { content_type: "text/xml", body: "<Response/>".to_owned() }
}

async fn place(providers: &Providers) -> Result<CarrierCallId, OrderError> {
    AnyCarrier::new(providers).place(order(&document())).await
}

fn call() -> CarrierCallId {
    CarrierCallId::new(CarrierName::Twilio, SID).unwrap()
}

async fn answering(status: StatusCode, body: &'static str) -> Server {
    let answer = move || async move { (status, [(header::RETRY_AFTER, "3")], body) };
    Server::http(Router::new().route(CREATE, post(answer)).route(CALL, post(answer).get(answer))).await
}

#[tokio::test]
async fn a_call_is_placed_with_its_document_and_callbacks() {
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

    assert_eq!(place(&server.providers()).await.unwrap(), call());

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
            (
                "StatusCallback",
                "https://voice.example.com/twilio/acc_1/cnv_1/status#rc=3&rt=8000&rp=5xx,ct,rt"
            ),
            ("StatusCallbackEvent", "initiated"),
            ("StatusCallbackEvent", "ringing"),
            ("StatusCallbackEvent", "answered"),
            ("StatusCallbackEvent", "completed"),
            ("TimeLimit", "600"),
        ]
    );
}

#[tokio::test]
async fn machine_detection_runs_only_when_asked_for() {
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
        let document = document();
        let order = PlaceCall { detection_callback, ..order(&document) };
        AnyCarrier::new(&server.providers()).place(order).await.unwrap();
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
async fn an_unreachable_carrier_did_not_take_the_call() {
    assert!(matches!(place(&nowhere().providers).await, Err(OrderError::NotNow(_))));
}

#[tokio::test]
async fn a_failed_tls_handshake_sends_no_call() {
    let server = Server::raw(|mut socket| async move {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let providers = providers(&format!("https://{}", server.address));
    assert!(matches!(place(&providers).await, Err(OrderError::NotNow(_))));
}

#[tokio::test]
async fn a_refusal_says_why_without_quoting_numbers() {
    let body = r#"{"code":21211,"message":"The 'To' number +14155550100 is not valid.","status":400}"#;
    let server = answering(StatusCode::BAD_REQUEST, body).await;
    let Err(OrderError::Refused { code, message }) = place(&server.providers()).await else {
        panic!("not refused")
    };
    assert_eq!((code, message.as_str()), (21211, "The 'To' number +########### is not valid."));
}

#[tokio::test]
async fn a_rate_limit_carries_its_retry_after() {
    let server =
        answering(StatusCode::TOO_MANY_REQUESTS, r#"{"code":20429,"message":"Too many requests"}"#).await;
    let error = place(&server.providers()).await.unwrap_err();
    let OrderError::NotNow(error) = error else { panic!("{error}") };
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn a_strange_answer_leaves_the_call_uncertain() {
    for (status, body) in [
        (StatusCode::INTERNAL_SERVER_ERROR, ""),
        (StatusCode::BAD_GATEWAY, "<html>"),
        (StatusCode::FOUND, ""),
        (StatusCode::CREATED, "<html>"),
        (StatusCode::CREATED, r#"{"sid":"../../other"}"#),
        (StatusCode::CREATED, "{}"),
    ] {
        let server = answering(status, body).await;
        let created = place(&server.providers()).await;
        assert!(matches!(created, Err(OrderError::Uncertain(_))), "{status} {body}: {created:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_the_call_uncertain() {
    let closing = Server::raw(|socket| async move { drop(socket) }).await;
    assert!(matches!(place(&closing.providers()).await, Err(OrderError::Uncertain(_))));

    let silent = Server::raw(|mut socket| async move { until_closed(&mut socket).await }).await;
    let created = Twilio::new(&silent.providers()).with_timeout(SHORT).place(order(&document())).await;
    assert!(matches!(created, Err(OrderError::Uncertain(_))));
}

#[tokio::test]
async fn every_call_is_placed_over_its_own_connection() {
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
    let carrier = AnyCarrier::new(&server.providers());
    carrier.place(order(&document())).await.unwrap();
    carrier.place(order(&document())).await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn hanging_up_a_finished_or_unknown_call_succeeds() {
    let router = Router::new().route(
        CALL,
        post(async |Form(form): Form<Vec<(String, String)>>| -> Response {
            assert_eq!(form, [("Status".to_owned(), "completed".to_owned())]);
            r#"{"sid":"x","status":"completed"}"#.into_response()
        }),
    );
    let live = Server::http(router).await;
    AnyCarrier::new(&live.providers()).hang_up(&call()).await.unwrap();

    for (status, body) in [
        (StatusCode::NOT_FOUND, r#"{"code":20404,"message":"The requested resource was not found"}"#),
        (StatusCode::NOT_FOUND, ""),
        (StatusCode::BAD_REQUEST, r#"{"code":21220,"message":"Call is not in-progress."}"#),
    ] {
        let over = answering(status, body).await;
        let carrier = AnyCarrier::new(&over.providers());
        carrier.hang_up(&call()).await.unwrap();
        assert!(!carrier.redirect(&call(), "https://voice.example.com/resume").await.unwrap());
    }
}

#[tokio::test]
async fn a_failed_hang_up_says_whether_to_retry() {
    let failing = answering(StatusCode::SERVICE_UNAVAILABLE, "").await;
    assert!(AnyCarrier::new(&failing.providers()).hang_up(&call()).await.unwrap_err().is_retryable());

    let foreign = answering(StatusCode::UNAUTHORIZED, r#"{"code":20003,"message":"Authenticate"}"#).await;
    let error = AnyCarrier::new(&foreign.providers()).hang_up(&call()).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { ref code, .. } if code == "20003"), "{error}");
}

#[tokio::test]
async fn a_call_is_fetched() {
    let body = r#"{"sid":"x","status":"completed","duration":"42","answered_by":null,
        "start_time":"Sun, 22 Nov 2026 09:30:00 +0000","end_time":null}"#;
    let router = Router::new().route(CALL, get(async move || body));
    let server = Server::http(router).await;
    let found = AnyCarrier::new(&server.providers()).fetch(&call()).await.unwrap().unwrap();
    assert_eq!(found.status, CallStatus::Completed);
    assert_eq!(found.duration, Some(Duration::from_secs(42)));
    assert_eq!(found.answered_at.unwrap().to_string(), "2026-11-22T09:30:00.000Z");
    assert_eq!((found.ended_at, found.answered_by), (None, None));

    let empty = answering(StatusCode::NOT_FOUND, "").await;
    assert_eq!(AnyCarrier::new(&empty.providers()).fetch(&call()).await.unwrap(), None);
}

#[tokio::test]
async fn only_a_live_call_is_redirected() {
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
        AnyCarrier::new(&server.providers()).redirect(&call(), "https://voice.example.com/resume").await
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
async fn calls_of_a_lost_answer_are_found_by_numbers_and_time() {
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
        AnyCarrier::new(providers)
            .find(&"+14155550100".parse().unwrap(), &"+14155550199".parse().unwrap(), since)
            .await
    };
    let found = find(&server.providers()).await.unwrap();
    let sids: Vec<_> = found.iter().map(|(call, _)| call.id()[32..].to_owned()).collect();
    assert_eq!(sids, ["03", "02"]);
    assert_eq!(found[0].1.status, CallStatus::Ringing);

    assert!(find(&nowhere().providers).await.unwrap_err().is_retryable());
    let strange = answering(StatusCode::INTERNAL_SERVER_ERROR, "").await;
    assert!(find(&strange.providers()).await.is_err());
}
