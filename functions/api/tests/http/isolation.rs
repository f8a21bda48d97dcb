//! Isolation: an account cannot tell another account's items from unknown ones.

use serde_json::{Value, json};
use switchboard_api::Route;
use switchboard_model::{
    agents::{Agent, AgentConfig},
    credentials::Provider,
};

use crate::world::{
    AGENT, AVAILABLE, Answer, CALLED, CONVERSATION, CREDENTIAL, Event, FOREIGN_NUMBER, FOREIGN_TOKEN, NUMBER,
    OWN_ACCOUNT, OWN_NUMBER, OWN_TOKEN, World, at, other_account,
};

/// The parameters of paths: the owner's value and an unknown one.
const IN_PATHS: [(&str, &str, &str); 5] = [
    ("/agents/{id}", AGENT, UNKNOWN_AGENT),
    ("/credentials/{id}", CREDENTIAL, UNKNOWN_CREDENTIAL),
    ("/phone_numbers/{phone_number}", NUMBER, "+14155550111"),
    ("/conversations/{id}", CONVERSATION, "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1"),
    ("/events/{event_id}", "evt_01M81WJFMBY4YFE2QMMDP89T55", "evt_01M81WJFMBY4YFE2QMMDP89T56"),
];

const FOREIGN_AGENT: &str = "agt_01JD9XQ4T0000000000000000S";
const UNKNOWN_AGENT: &str = "agt_01JD9XQ4T0000000000000000B";
const UNKNOWN_CREDENTIAL: &str = "crd_01JD9XQ4T0000000000000000B";

/// Bodies that refer to an item: the owner's, an unknown one, and the owner's in a body of another account.
type Naming = (&'static str, &'static str, fn(&str) -> Value);

/// The body that the owner sends to a route, and the bodies that refer to items. Every route has a line here.
fn case(method: &str, path: &str) -> (Option<Value>, Vec<Naming>) {
    match (method, path) {
        ("GET" | "DELETE", _)
        | ("POST", "/conversations/{id}/end" | "/conversations/{id}/events/{event_id}/redeliver") => {
            (None, vec![])
        }
        ("POST", "/agents") | ("PATCH", "/agents/{id}") => (
            Some(json!({ "prompt": "Be brief." })),
            vec![
                (CREDENTIAL, UNKNOWN_CREDENTIAL, |id| json!({ "voice": { "credential_id": id } })),
                (CREDENTIAL, UNKNOWN_CREDENTIAL, |id| json!({ "language_model": { "credential_id": id } })),
                (CREDENTIAL, UNKNOWN_CREDENTIAL, |id| json!({ "transcriber": { "credential_id": id } })),
            ],
        ),
        ("POST", "/phone_numbers/buy") => (Some(json!({ "phone_number": AVAILABLE[0] })), vec![]),
        ("POST", "/phone_numbers/import") => (
            Some(json!({ "phone_number": OWN_NUMBER, "account_sid": OWN_ACCOUNT, "auth_token": OWN_TOKEN })),
            vec![],
        ),
        ("PATCH", "/phone_numbers/{phone_number}") => (
            Some(json!({ "webhooks": [] })),
            vec![(AGENT, UNKNOWN_AGENT, |id| json!({ "inbound_agent_id": id }))],
        ),
        ("POST", "/credentials") => (Some(json!({ "provider": "openai", "api_key": "sk-1" })), vec![]),
        ("POST", "/conversations/create_web_call") => (
            // Its conversation would have the id of the phone call's: clock and randomness stand still.
            None,
            vec![
                (AGENT, UNKNOWN_AGENT, |id| json!({ "agent_id": id })),
                (
                    CREDENTIAL,
                    UNKNOWN_CREDENTIAL,
                    |id| json!({ "agent_config": { "voice": { "credential_id": id } } }),
                ),
            ],
        ),
        ("POST", "/conversations/create_phone_call") => (
            Some(json!({ "from_number": NUMBER, "to_number": CALLED, "agent_id": AGENT })),
            vec![
                (
                    AGENT,
                    UNKNOWN_AGENT,
                    |id| json!({ "from_number": FOREIGN_NUMBER, "to_number": CALLED, "agent_id": id }),
                ),
                (
                    NUMBER,
                    "+14155550111",
                    |number| json!({ "from_number": number, "to_number": CALLED, "agent_id": FOREIGN_AGENT }),
                ),
                (
                    CREDENTIAL,
                    UNKNOWN_CREDENTIAL,
                    |id| json!({ "from_number": FOREIGN_NUMBER, "to_number": CALLED, "agent_config": { "voice": { "credential_id": id } } }),
                ),
            ],
        ),
        _ => panic!("{method} {path} has no case here"),
    }
}

/// A world in which the owner has an item of each kind, and the other account has an agent.
async fn world() -> World {
    let world = World::new().await;
    world.ended_call().await;
    let recording = format!("{}/{CONVERSATION}/recording.wav", world.account);
    world.objects.lock().unwrap().insert(recording, (&b"RIFF"[..]).into());
    world.put_agent(&AgentConfig::default()).await;
    world.put_credential(Provider::Openai).await;
    let theirs = Agent::new(FOREIGN_AGENT.parse().unwrap(), other_account(), AgentConfig::default(), at(0));
    world.table.create_agent(&theirs).await.unwrap();
    world
}

/// The path with the values that `choose` takes of each line of [`IN_PATHS`].
fn filled(path: &str, choose: impl Fn(&(&'static str, &'static str, &'static str)) -> String) -> String {
    let filled = IN_PATHS.iter().fold(path.to_owned(), |path, line| {
        let (folder, _) = line.0.rsplit_once('/').unwrap();
        path.replace(line.0, &format!("{folder}/{}", choose(line)))
    });
    assert!(!filled.contains('{'), "{path} names something that has no line in IN_PATHS");
    filled
}

fn event(route: &Route, path: &str, body: Option<&Value>) -> Event {
    let event = Event::of(route.method.as_str(), path);
    match body {
        Some(body) => event.with_body(body),
        None => event,
    }
}

#[tokio::test]
async fn a_foreign_id_looks_unknown_on_every_route() {
    for route in Route::all().iter().filter(|route| route.path.contains('{')) {
        let world = world().await;
        let (body, _) = case(route.method.as_str(), route.path);
        let ask =
            async |path: String, token| world.send(event(route, &path, body.as_ref()).by_token(token)).await;
        let (theirs, nobodys) =
            (filled(route.path, |line| line.1.into()), filled(route.path, |line| line.2.into()));
        let unknown = ask(nobodys, crate::world::TOKEN).await;
        assert_eq!(unknown.line(), r#"404 {"detail":"Not found"}"#, "{route:?}");
        let foreign = ask(theirs.clone(), FOREIGN_TOKEN).await;
        assert_eq!(foreign, unknown, "{route:?}");
        for query in ["?index=1&limit=1", "?limit=0", "?index=10000"] {
            assert_eq!(ask(format!("{theirs}{query}"), FOREIGN_TOKEN).await, unknown, "{route:?} {query}");
        }
        for id in [
            "cnv_01jd8qa1b2c3d4e5f6g7h8j9k0",
            "cnv_01JD8QA1B2C3D4E5F6G7H8J9K00",
            "agt_01JD8QA1B2C3D4E5F6G7H8J9K0",
            "cnv_",
            "01JD8QA1B2C3D4E5F6G7H8J9K0",
            "nonsense",
            "%FF",
            // The gateway may decode the path.
            "a b",
            "käse",
            "<>",
            &"0".repeat(2_000),
        ] {
            for wrong in IN_PATHS.iter().filter(|line| route.path.contains(line.0)) {
                for id in [id, wrong.2] {
                    let path =
                        filled(
                            route.path,
                            |line| if line == wrong { id.to_owned() } else { line.1.to_owned() },
                        );
                    assert_eq!(ask(path, crate::world::TOKEN).await, unknown, "{route:?} {id}");
                }
            }
        }
        let owners = ask(theirs, crate::world::TOKEN).await;
        assert_eq!(owners.status, 200, "its owner sees it at {route:?}: {}", owners.body);
    }
}

#[tokio::test]
async fn a_foreign_reference_is_rejected_on_every_route() {
    let world = world().await;
    for route in Route::all() {
        let (body, namings) = case(route.method.as_str(), route.path);
        let own = filled(route.path, |(_, owners, _)| match *owners {
            AGENT => FOREIGN_AGENT.into(),
            NUMBER => FOREIGN_NUMBER.into(),
            owners => owners.into(),
        });
        for (owners, nobodys, naming) in namings {
            let ask = async |name: &str| -> Answer {
                world.send(event(&route, &own, Some(&naming(name))).by_token(FOREIGN_TOKEN)).await
            };
            let (foreign, unknown, malformed) =
                (ask(owners).await, ask(nobodys).await, ask("nonsense").await);
            assert_eq!(foreign, unknown, "{route:?}");
            let error = foreign.json()["detail"][0].take();
            assert_eq!(
                (foreign.status, &error["type"]),
                (422, &json!("not_found")),
                "{route:?}: {}",
                foreign.body
            );
            assert_eq!(error["msg"], "Does not exist in this account");
            if owners.starts_with('+') {
                continue;
            }
            assert_eq!(malformed, unknown, "{route:?}");
        }
        if let Some(body) = body.filter(|_| !route.path.contains('{')) {
            let owners = world.send(event(&route, route.path, Some(&body))).await;
            assert_eq!(owners.status, 200, "{route:?}: {}", owners.body);
        }
    }
}

#[tokio::test]
async fn lists_have_no_items_of_another_account() {
    let world = world().await;
    for route in Route::all().iter().filter(|route| route.method == "GET" && !route.path.contains('{')) {
        let owners = world.get(route.path).await;
        let other = world.send(Event::get(route.path).by_token(FOREIGN_TOKEN)).await;
        assert_eq!((owners.status, other.status), (200, 200), "{route:?}");
        for of_the_owner in
            [world.account.to_string(), CONVERSATION.into(), AGENT.into(), CREDENTIAL.into(), NUMBER.into()]
        {
            assert!(!other.body.contains(&of_the_owner), "{route:?}: {}", other.body);
        }
    }
}
