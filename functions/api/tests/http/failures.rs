//! Failures of the table, the bucket and the handlers.

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
};
use switchboard_api::router;
use switchboard_aws::table::{Table, testing};

use crate::world::{Answer, CONVERSATION, Event, World, api, send};

/// A detail in a service's error, which no answer may contain.
const INSIDE: &str = "arn:aws:iam::123456789012:role/api may not do this";

fn check(answer: &Answer) {
    assert_eq!(answer.header("x-request-id"), Some("FzQx1hKpIAMEV9A="));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

/// The address of a service that answers every request with this status and error code.
async fn refusing(status: StatusCode, code: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"{INSIDE}"}}"#);
    let answer = async move || {
        (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], body.clone()).into_response()
    };
    let router = Router::new().fallback(answer);
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    url
}

async fn ask(url: &str) -> Answer {
    let table = Table::new(&testing::config(url).await, "switchboard".to_owned());
    let answer =
        send(&router(api(table, url).await), Event::get(&format!("/conversations/{CONVERSATION}"))).await;
    check(&answer);
    answer
}

#[tokio::test]
async fn a_refusal_by_the_table_is_a_500_without_details() {
    let url = refusing(StatusCode::BAD_REQUEST, "AccessDeniedException").await;
    insta::assert_snapshot!(ask(&url).await.line(), @r#"500 {"detail":"Internal server error"}"#);
}

#[tokio::test]
async fn an_unavailable_table_is_a_503() {
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let throttling = refusing(StatusCode::BAD_REQUEST, "ThrottlingException").await;
    // The clients retry several times.
    let (unreachable, throttled) = tokio::join!(ask(&nobody), ask(&throttling));
    for answer in [unreachable, throttled] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"503 {"detail":"The service is not available now; try again"}"#);
        }
    }
}

#[tokio::test]
async fn a_refusal_by_the_bucket_is_a_500_without_details() {
    let world = World::new().await;
    world.ended_call().await;
    let url = refusing(StatusCode::FORBIDDEN, "AccessDenied").await;
    let router = router(api(world.table.clone(), &url).await);
    let answer = send(&router, Event::get(&format!("/conversations/{CONVERSATION}/recording"))).await;
    check(&answer);
    insta::assert_snapshot!(answer.line(), @r#"500 {"detail":"Internal server error"}"#);
}

#[tokio::test]
async fn a_panic_ends_one_request_only() {
    let world = World::new().await;
    let mut api = api(world.table.clone(), "http://127.0.0.1:1").await;
    api.now = || panic!("the clock broke");
    let router = router(api);
    let sample = Event::sample(include_str!("../../../../events/http_create_phone_call.json"));
    let answer = send(&router, sample).await;
    check(&answer);
    insta::assert_snapshot!(answer.line(), @r#"500 {"detail":"Internal server error"}"#);
    assert_eq!(send(&router, Event::get("/")).await.status, 200);
}
