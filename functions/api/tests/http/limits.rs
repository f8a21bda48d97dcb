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
