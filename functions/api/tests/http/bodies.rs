use serde_json::{Value, json};

use crate::world::{CALLED, Event, NUMBER, World};

/// The largest body, in bytes.
const LARGEST: usize = 256 * 1024;

fn valid() -> Value {
    json!({ "from_number": NUMBER, "to_number": CALLED, "agent_config": {} })
}

#[tokio::test]
async fn a_body_that_is_not_json_is_rejected() {
    let world = World::new().await;
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let mut events = vec![
        Event::create_from_bytes(b""),
        Event::create_from_bytes(b"{\"to_number\":\"\xFF\"}"),
        Event::create_from_bytes(b"\xFF\xFE{\0}\0"),
        Event::create_from_bytes(&[0x1F, 0x8B, 0x08, 0x00]).with("content-encoding", "gzip"),
    ];
    for body in [
        "",
        " ",
        "{",
        "{} {}",
        "{'a': 1}",
        "{\"a\": NaN}",
        "from_number=%2B14155550199",
        "\"\\ud800\"",
        &deep(129),
        &deep(100_000),
    ] {
        events.push(Event::create(body));
    }
    for event in events {
        let answer = world.send(event).await;
        assert!(answer.line().starts_with(r#"400 {"detail":"The body is not JSON: "#), "{}", answer.line());
    }
}

#[tokio::test]
async fn an_error_in_json_has_its_place() {
    let world = World::new().await;
    for (body, place) in [
        ("{\n  \"to_number\": \"+1\",\n}", "trailing comma at line 3 column 1"),
        ("{'a': 1}", "key must be a string at line 1 column 2"),
        ("", "EOF while parsing a value at line 1 column 0"),
    ] {
        let answer = world.send(Event::create(body)).await;
        let detail = format!("The body is not JSON: {place}");
        assert_eq!((answer.status, answer.json()["detail"].as_str()), (400, Some(&*detail)), "{body}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_before_a_body_is_skipped() {
    let world = World::new().await;
    let body = format!("\u{feff}{}", valid());
    let answer = world.send(Event::create_from_bytes(body.as_bytes())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let twice = format!("\u{feff}\u{feff}{}", valid());
    assert_eq!(world.send(Event::create_from_bytes(twice.as_bytes())).await.status, 400);
}

#[tokio::test]
async fn a_body_may_be_base64_and_deeply_nested() {
    let world = World::new().await;
    let mut nested = json!(1);
    for _ in 0..100 {
        nested = json!([nested]);
    }
    let mut body = valid();
    body["agent_config"]["unknown"] = nested.clone();
    let answer = world.send(Event::create_from_bytes(body.to_string().as_bytes())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    body["agent_config"]["language_model"] = json!({
        "tools": [{ "type": "function", "function": { "name": "order", "parameters": { "properties": nested } } }],
    });
    let answer = world.create(&body).await;
    insta::assert_snapshot!(answer.line(), @r#"422 {"detail":[{"loc":["body","agent_config","language_model","tools",0,"function","parameters"],"msg":"Should be nested at most 32 levels deep","type":"value_error"}]}"#);
}

#[tokio::test]
async fn a_body_over_256_kib_is_rejected() {
    let world = World::new().await;
    let padded = |bytes: usize| {
        let body = valid().to_string();
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    assert_eq!(world.send(Event::create(&padded(LARGEST))).await.status, 200);
    for event in [
        Event::create(&padded(LARGEST + 1)),
        Event::create(&padded(257 * 1024)),
        Event::create_from_bytes(padded(LARGEST + 1).as_bytes()),
        // The size is checked before the content type and the content.
        Event::create_from_bytes(&vec![0xFF; 1_000_000]).with("content-type", "text/plain"),
    ] {
        let answer = world.send(event).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"413 {"detail":"The body is larger than 256 KiB"}"#);
        }
    }
}

#[tokio::test]
async fn only_a_body_of_type_json_is_read() {
    let world = World::new().await;
    let event = Event::create(&valid().to_string());
    let mut events = vec![event.clone().without("content-type")];
    for media_type in
        ["", "text/plain", "text/json", "application/jsonp", "application/x-www-form-urlencoded", "*/*"]
    {
        events.push(event.clone().with("content-type", media_type));
    }
    events.push(Event::create("not json").with("content-type", "text/plain"));
    for event in events {
        let answer = world.send(event).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"415 {"detail":"The body should be application/json"}"#);
        }
    }
    let charset = event.with("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(world.send(charset).await.status, 200);
}

#[tokio::test]
async fn a_rejected_body_stores_nothing() {
    let world = World::new().await;
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!({ "properties": deep });
    }
    let tool = json!({ "type": "function", "function": { "name": "order", "parameters": deep } });
    let agent = |config: Value| {
        let mut body = valid();
        body["agent_config"] = config;
        Event::create(&body.to_string())
    };
    let mut not_utf8 = valid().to_string().into_bytes();
    not_utf8.insert(2, 0xFF);
    for (event, status) in [
        (Event::create(&format!("{}{}", valid(), " ".repeat(257 * 1024))), 413),
        (Event::create(&valid().to_string()).with("content-type", "text/plain"), 415),
        (Event::create_from_bytes(&not_utf8), 400),
        (Event::create(&format!("{}{}", "[".repeat(100), "]".repeat(100))), 422),
        (agent(json!({ "language_model": { "tools": [tool] } })), 422),
        (agent(json!({ "prompt": "a".repeat(41 * 1024) })), 422),
    ] {
        // The answer is the same with a key, which is free again afterwards.
        for event in [event.clone().with("idempotency-key", "k"), event] {
            let answer = world.send(event).await;
            assert_eq!(answer.status, status, "{}", answer.body);
        }
    }
    assert_eq!(world.get("/conversations").await.json()["items"], json!([]));
    assert_eq!(world.table.counters(world.account).await.unwrap().waiting, 0);
    let answer = world.send(Event::create(&valid().to_string()).with("idempotency-key", "k")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}
