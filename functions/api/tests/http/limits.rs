//! The limits of an account.

use serde_json::json;
use switchboard_aws::table::testing;
use switchboard_model::{accounts::Limits, limits::MAX_WAITING};

use crate::world::{CALLED, Event, FOREIGN_TOKEN, NUMBER, World};

fn call(to_number: &str) -> Event {
    let body = json!({ "from_number": NUMBER, "to_number": to_number, "agent_config": {} });
    Event::create(&body.to_string())
}

#[tokio::test]
async fn a_request_over_the_limit_is_a_429_and_has_no_effect() {
    let world = World::new().await;
    let limits = Limits { requests_per_second: 2, ..Limits::default() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    for path in ["/conversations/cnv_1", "/conversations", "/agents"] {
        let answer = world.get(path).await;
        assert_ne!(answer.status, 429, "{path}");
    }
    assert_eq!(world.send(Event::create("not json")).await.status, 400, "what is wrong counts too");
    for event in [call(CALLED), Event::get("/conversations"), Event::get("/conversations/cnv_1")] {
        let answer = world.send(event).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"429 {"detail":"Too many requests"}"#);
        }
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(world.get("/").await.status, 200, "what needs no account is not counted");
    let other_account = Event::get("/conversations").by_token(FOREIGN_TOKEN);
    assert_eq!(world.send(other_account).await.status, 200, "each account has its own");
    assert_eq!(world.table.counters(world.account).await.unwrap().waiting, 0, "nothing was stored");
}

#[tokio::test]
async fn a_read_over_the_limit_does_not_run_its_handler() {
    let world = World::new().await;
    let limits = Limits { requests_per_second: 1, ..Limits::default() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    // The search asks the carrier.
    let search = "/phone_numbers/buy";
    let mut statuses = vec![];
    for _ in 0..4 {
        statuses.push(world.get(search).await.status);
    }
    assert_eq!(statuses[2..], [429, 429], "the requests of two seconds may come together");
    assert_eq!(world.carrier().searches, 2);
}

#[tokio::test]
async fn a_call_is_rejected_while_too_many_wait() {
    let world = World::new().await;
    testing::set_waiting(&world.table, world.account, i64::from(MAX_WAITING)).await;
    let answer = world.send(call(CALLED)).await;
    insta::assert_snapshot!(answer.line(), @r#"429 {"detail":"Too many calls of this account wait to be dialled"}"#);
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert_eq!(world.get("/conversations").await.json()["items"], json!([]), "nothing was stored");
    testing::set_waiting(&world.table, world.account, i64::from(MAX_WAITING) - 1).await;
    assert_eq!(world.send(call(CALLED)).await.status, 200);
}

#[tokio::test]
async fn an_account_may_be_limited_to_countries() {
    let world = World::new().await;
    let countries = Some(vec!["+44".to_owned(), "+351".to_owned()]);
    let limits = Limits { destination_countries: countries, requests_per_second: 1_000, ..Limits::default() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    assert_eq!(world.send(call("+442079460000")).await.status, 200);
    for to_number in ["+14155550100", "+4930901820", "+35312345678"] {
        let answer = world.send(call(to_number)).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"422 {"detail":[{"loc":["body","to_number"],"msg":"This account may not call numbers of this country","type":"country_not_allowed"}]}"#);
        }
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_counted_is_served() {
    let world = World::new().await;
    testing::spoil_requests(&world.table, world.account).await;
    assert_eq!(world.get("/conversations").await.status, 200);
    assert_eq!(world.send(call(CALLED)).await.status, 200);
}

#[tokio::test]
async fn a_spent_account_starts_no_more_calls_that_day() {
    let world = World::new().await;
    let body = json!({ "from_number": NUMBER, "to_number": CALLED, "agent_config": {} });
    let limits = Limits { daily_spend_usd: 0, ..world.table.limits(world.account).await.unwrap() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    let refused = world.create(&body).await;
    let detail = "This account has reached its spend limit of the day; a new day begins at midnight UTC";
    assert_eq!((refused.status, refused.json()["detail"].clone()), (429, json!(detail)));
    // The clock stands at 15:04:05.123.
    assert_eq!(refused.header("retry-after"), Some("32155"));
    assert!(world.table.set_limits(world.account, &Limits { daily_spend_usd: 1, ..limits }).await.unwrap());
    assert_eq!(world.create(&body).await.status, 200);
}

#[tokio::test]
async fn premium_numbers_are_called_only_if_the_operator_allows_it() {
    let world = World::new().await;
    let call = async |to: &str| {
        world.create(&json!({ "from_number": NUMBER, "to_number": to, "agent_config": {} })).await
    };
    for to in ["+19005550100", "+18765550100"] {
        let refused = call(to).await;
        let error = refused.json()["detail"][0].clone();
        assert_eq!((refused.status, &error["loc"]), (422, &json!(["body", "to_number"])), "{to}");
        assert_eq!(error["type"], "number_restricted");
    }
    let limits = Limits { restricted_numbers: true, ..world.table.limits(world.account).await.unwrap() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    assert_eq!(call("+18765550100").await.status, 200);
}

#[tokio::test]
async fn an_account_has_no_more_numbers_than_it_may() {
    let world = World::new().await;
    let limits = Limits { phone_numbers: 2, ..world.table.limits(world.account).await.unwrap() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    let buy = async || world.send(Event::of("POST", "/phone_numbers/buy").with_body(&json!({}))).await;
    assert_eq!(buy().await.status, 200);
    assert_eq!(buy().await.line(), r#"409 {"detail":"This account has as many phone numbers as it may"}"#);
}

#[tokio::test]
async fn buying_and_deleting_numbers_ends_at_the_limit_of_a_day() {
    let world = World::new().await;
    let limits = Limits { phone_numbers: 2, ..world.table.limits(world.account).await.unwrap() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    for n in 0..3 {
        let bought = world.send(Event::of("POST", "/phone_numbers/buy").with_body(&json!({}))).await;
        if n == 2 {
            assert_eq!(bought.status, 429, "{}", bought.body);
            assert!(bought.header("retry-after").unwrap().parse::<u64>().unwrap() <= 24 * 60 * 60);
            break;
        }
        assert_eq!(bought.status, 200, "{}", bought.body);
        let number = bought.json()["phone_number"].as_str().unwrap().replace('+', "%2B");
        let path = format!("/phone_numbers/{number}?release_phone_number=true");
        assert_eq!(world.send(Event::of("DELETE", &path)).await.status, 200);
    }
    let page = world.get("/phone_numbers").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "no reservation is left");
}

#[tokio::test]
async fn concurrent_purchases_do_not_exceed_the_limit_of_numbers() {
    let world = World::new().await;
    let limits = Limits { phone_numbers: 2, ..world.table.limits(world.account).await.unwrap() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    let buy = async |number: &str| {
        let body = json!({ "phone_number": number });
        world.send(Event::of("POST", "/phone_numbers/buy").with_body(&body)).await.status
    };
    let statuses = tokio::join!(buy("+14155550200"), buy("+14155550201"), buy("+14155550202"));
    let bought = [statuses.0, statuses.1, statuses.2].into_iter().filter(|status| *status == 200).count();
    assert!(bought <= 1, "{statuses:?}");
    assert_eq!(world.table.count_phone_numbers(world.account).await.unwrap(), 1 + bought);
}
