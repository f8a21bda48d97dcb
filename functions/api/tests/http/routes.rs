use serde_json::json;

use crate::world::{CONVERSATION, Event, World};

#[tokio::test]
async fn the_service_document_needs_no_token() {
    let world = World::new().await;
    let answer = world.send(Event::get("/").without("authorization")).await;
    assert_eq!(answer.status, 200);
    let document = answer.json();
    assert_eq!(document["name"], "switchboard");
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        document["links"],
        json!({
            "self": "https://api.example.com/",
            "openapi": "https://api.example.com/openapi.json",
            "account": "https://api.example.com/account",
            "agents": "https://api.example.com/agents",
            "conversations": "https://api.example.com/conversations",
            "phone_numbers": "https://api.example.com/phone_numbers",
            "credentials": "https://api.example.com/credentials",
            "create_phone_call": "https://api.example.com/conversations/create_phone_call",
            "create_web_call": "https://api.example.com/conversations/create_web_call",
        })
    );
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let world = World::new().await;
    world.ended_call().await;
    for path in [
        "/openapi".to_owned(),
        "/conversation".to_owned(),
        "/conversation/".to_owned(),
        "/agents//".to_owned(),
        format!("/conversations/{CONVERSATION}/transcript"),
    ] {
        let answer = world.get(&path).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"404 {"detail":"Not found"}"#);
        }
    }
}

#[tokio::test]
async fn a_wrong_method_lists_the_allowed_ones() {
    let world = World::new().await;
    world.ended_call().await;
    for (method, path, allowed) in [
        ("POST", "/".to_owned(), "GET,HEAD"),
        ("GET", "/conversations/create_phone_call".to_owned(), "POST"),
        ("PUT", format!("/conversations/{CONVERSATION}"), "GET,HEAD,DELETE"),
        ("POST", format!("/conversations/{CONVERSATION}/recording"), "GET,HEAD"),
        ("OPTIONS", format!("/conversations/{CONVERSATION}/events"), "GET,HEAD"),
    ] {
        let answer = world.send(Event::of(method, &path)).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"405 {"detail":"Method not allowed"}"#);
        }
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn every_answer_has_the_gateways_request_id() {
    let world = World::new().await;
    world.ended_call().await;
    for (event, status) in [
        (Event::get("/"), 200),
        (Event::create("{}"), 422),
        (Event::create("{"), 400),
        (Event::get("/conversations/nonsense"), 404),
        (Event::get("/nowhere"), 404),
        (Event::of("DELETE", "/"), 405),
        (Event::get("/conversations/nonsense").without("authorization"), 401),
    ] {
        let answer = world.send(event).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("x-request-id"), Some("FzQx1hKpIAMEV9A="), "{status}");
    }
}

#[tokio::test]
async fn a_trailing_slash_names_the_same_resource() {
    let world = World::new().await;
    world.put_agent(&switchboard_model::agents::AgentConfig::default()).await;
    for path in
        ["/agents", "/openapi.json", "/conversations", "/phone_numbers/%2B14155550199", "/agents/agt_0"]
    {
        assert_eq!(world.get(&format!("{path}/")).await.line(), world.get(path).await.line(), "{path}");
    }
    let page = world.get("/agents/?limit=1").await;
    assert_eq!((page.status, page.json()["items"].as_array().unwrap().len()), (200, 1));
    let made = Event::of("POST", "/agents/").with_body(&serde_json::json!({}));
    assert_eq!(world.send(made).await.status, 200);
}
