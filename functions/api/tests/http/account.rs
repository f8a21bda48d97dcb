//! The account of the token: its limits with their use, and the health of its webhooks.

use serde_json::{Value, json};
use switchboard_aws::table::testing;
use switchboard_model::{
    accounts::Limits,
    agents::{Agent, AgentConfig},
    deliveries::BREAKER_FAILURES,
    webhooks::Webhook,
};

use crate::world::{Event, FOREIGN_TOKEN, NUMBER, World, agent_id, at, other_account};

#[tokio::test]
async fn limits_are_shown_with_their_defaults_and_their_use() {
    let world = World::new().await;
    let limits = Limits { live_calls: 3, daily_spend_usd: 5, ..Limits::default() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    testing::set_waiting(&world.table, world.account, 4).await;
    assert!(world.table.take_purchase(world.account, 50, at(0)).await.unwrap());

    let answer = world.get("/account").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let account = answer.json();
    assert_eq!(account["id"], world.account.to_string());
    assert_eq!(
        (&account["uri"], &account["name"]),
        (&json!("https://api.example.com/account"), &json!("Corner bakery"))
    );
    // The clock stands at 15:04:05.123.
    assert_eq!(account["day_ends_at"], "2026-11-23T00:00:00.000Z");
    let limits = &account["limits"];
    assert_eq!(limits["live_calls"], json!({ "limit": 3, "default_limit": 10, "used": 0 }));
    assert_eq!(limits["waiting_calls"], json!({ "limit": 1_000, "default_limit": 1_000, "used": 4 }));
    assert_eq!(limits["phone_numbers"], json!({ "limit": 50, "default_limit": 50, "used": 1 }));
    assert_eq!(limits["numbers_bought_per_day"]["used"], 1);
    assert_eq!(
        limits["requests_per_second"],
        json!({ "limit": 20, "default_limit": 20, "burst": 40, "used": 1 }),
        "this request counts"
    );
    assert_eq!(limits["daily_spend_usd"], json!({ "limit": 5, "default_limit": 100, "used": 0.0 }));
    assert_eq!(limits["destination_countries"], json!({ "calling_codes": ["+1"], "is_default": true }));
    assert!(!answer.body.contains("whsec"), "{}", answer.body);

    let countries = Some(vec!["+44".to_owned()]);
    let limits = Limits { destination_countries: countries, ..Limits::default() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    let limits = world.get("/account").await.json()["limits"].take();
    assert_eq!(limits["destination_countries"], json!({ "calling_codes": ["+44"], "is_default": false }));
}

#[tokio::test]
async fn calls_are_counted_for_their_own_account() {
    let world = World::new().await;
    let body = json!({ "from_number": NUMBER, "to_number": "+14155550100", "agent_config": {} });
    assert_eq!(world.create(&body).await.status, 200);
    let limits = world.get("/account").await.json()["limits"].take();
    assert_eq!(limits["waiting_calls"]["used"], 1);
    let others = world.send(Event::get("/account").by_token(FOREIGN_TOKEN)).await.json();
    assert_eq!(others["id"], other_account().to_string());
    assert_eq!(others["limits"]["waiting_calls"]["used"], 0, "each account sees its own");
}

#[tokio::test]
async fn a_host_that_gives_no_response_is_shown_as_paused_to_its_account_only() {
    let world = World::new().await;
    let webhook = |url: &str| -> Webhook {
        serde_json::from_value(json!({ "url": url, "method": "POST", "events": ["message:sent"] })).unwrap()
    };
    let config = AgentConfig {
        webhooks: [
            "https://down.example.com/a",
            "https://down.example.com/b",
            "https://up.example.com:8443/",
        ]
        .map(webhook)
        .into(),
        ..AgentConfig::default()
    };
    for owner in [world.account, other_account()] {
        let agent = Agent::new(agent_id(), owner, config.clone(), at(0));
        world.table.create_agent(&agent).await.unwrap();
    }
    for attempt in 0..BREAKER_FAILURES {
        let slots = [(format!("down{attempt}"), false)];
        world.table.return_slots(world.account, "down.example.com:443", &slots, at(0)).await.unwrap();
    }
    let taken = ["now".to_owned()];
    let (admissions, _) =
        world.table.take_slots(world.account, "up.example.com:8443", &taken, at(0)).await.unwrap();
    assert_eq!(admissions.len(), 1);

    let ask = async |token| world.send(Event::get("/account/webhooks").by_token(token)).await.json();
    let own = ask(crate::world::TOKEN).await;
    assert_eq!((&own["in_flight"], &own["slots"]), (&json!(1), &json!(10)));
    let host = |answer: &Value, index: usize| answer["hosts"][index].clone();
    assert_eq!(
        host(&own, 0),
        json!({
            "host": "down.example.com:443", "state": "paused", "failures": 5,
            "paused_until": at(30).to_string(), "in_flight": 0, "agents": [agent_id().to_string()],
        })
    );
    assert_eq!(
        (host(&own, 1)["state"].clone(), host(&own, 1)["in_flight"].clone()),
        (json!("responding"), json!(1))
    );
    let other = ask(FOREIGN_TOKEN).await;
    assert_eq!([host(&other, 0)["state"].clone(), host(&other, 1)["state"].clone()], ["idle", "idle"]);
    assert_eq!(other["in_flight"], 0);
}
