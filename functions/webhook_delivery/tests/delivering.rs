//! Messages of the queue, from the event to the receiver and back into the table.

#![cfg(test)]

mod kept_slots;
mod world;

use serde_json::{Value, json};
use switchboard_aws::{queue::DeliveryJob, table::testing};
use switchboard_contract::signature;
use switchboard_model::{
    conversations::EndedReason,
    deliveries::{Delivery, DeliveryStatus},
    event_names::EventName,
};
use switchboard_runtime::Vars;
use switchboard_webhook_delivery::Config;
use world::{Reply, World, message};

#[tokio::test]
async fn an_event_arrives_signed_and_that_is_recorded() {
    let world = World::new().await;
    world.replies([Reply::status(200, "thanks for Bearer customer's-secret")]);
    let job = world.job(1, 0, 1);
    assert_eq!(world.handle(&[job]).await, Vec::<String>::new());

    let request = world.received().pop().unwrap();
    let event = &world.events[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("authorization"), "Bearer customer's-secret");
    assert_eq!(request.header("content-type"), "application/json");
    let id = format!("{}_0", event.id);
    assert_eq!(request.header("webhook-id"), id);
    let timestamp = request.header("webhook-timestamp").parse().unwrap();
    let signed = signature::sign([world::SECRET], &id, timestamp, &request.body);
    assert_eq!(request.header("webhook-signature"), signed);
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&body["event"], &body["sequence"]), (&json!("speech:started"), &json!(1)));

    let delivery = world.delivery(1, 0).await.unwrap();
    assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Delivered, None));
    let attempt = &delivery.attempts[0];
    assert_eq!((attempt.status, attempt.answer.as_deref()), (Some(200), Some("thanks for [redacted]")));
    assert_eq!(world.queued(), []);
    // The same message, once more.
    assert_eq!(world.handle(&[job]).await, Vec::<String>::new());
    assert_eq!(world.received().len(), 0);
}

#[tokio::test]
async fn an_attempt_leaves_nothing_of_a_conversation_that_is_deleted_meanwhile() {
    let world = World::new().await;
    world.delete_meanwhile();
    assert_eq!(world.handle(&[world.job(1, 0, 1)]).await, Vec::<String>::new());
    assert_eq!(world.received().len(), 1);
    assert_eq!(world.delivery(1, 0).await, None);
}

#[tokio::test]
async fn a_get_has_the_event_in_its_query_and_the_query_is_signed() {
    let world = World::new().await;
    assert_eq!(world.handle(&[world.job(1, 1, 1)]).await, Vec::<String>::new());
    let request = world.received().pop().unwrap();
    assert_eq!((request.method.as_str(), request.body.as_str()), ("GET", ""));
    assert!(request.query.starts_with("own=1&event=speech%3Astarted&id=evt_"), "{}", request.query);
    let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    let signed = signature::sign([world::SECRET], &id, timestamp.parse().unwrap(), &request.query);
    assert_eq!(request.header("webhook-signature"), signed);
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_sign() {
    let world = World::new().await;
    world.rotate("whsec_BBBB").await;
    world.handle(&[world.job(1, 0, 1)]).await;
    let request = world.received().pop().unwrap();
    let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    let signed =
        signature::sign(["whsec_BBBB", world::SECRET], &id, timestamp.parse().unwrap(), &request.body);
    assert_eq!(request.header("webhook-signature"), signed);
}

#[tokio::test]
async fn a_failure_is_recorded_and_the_next_attempt_is_queued_with_the_same_id() {
    let world = World::new().await;
    let wait =
        |seconds: &'static str| Reply { headers: vec![("retry-after", seconds)], ..Reply::status(429, "") };
    world.replies([Reply::status(500, "oh"), wait("45"), Reply::status(200, "")]);
    let mut job = world.job(1, 0, 1);
    for (number, delays) in [(2, 4..=6), (3, 44..=45)] {
        assert_eq!(world.handle(&[job]).await, Vec::<String>::new());
        let (queued, delay) = world.queued().pop().unwrap();
        assert_eq!(queued, DeliveryJob { attempt: number, ..job });
        assert!(delays.contains(&delay), "{delay}");
        // The old message again, as after a crash: the next one is sent again and nothing is tried.
        assert_eq!(world.handle(&[job]).await, Vec::<String>::new());
        assert_eq!(world.queued().pop().unwrap().0, queued);
        job = queued;
    }
    assert_eq!(world.handle(&[job]).await, Vec::<String>::new());
    let delivery = world.delivery(1, 0).await.unwrap();
    assert_eq!(delivery.status, DeliveryStatus::Delivered);
    let statuses: Vec<_> = delivery.attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(500), Some(429), Some(200)]);
    let ids: Vec<_> = world.received().iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!(ids, vec![ids[0].clone(); 3]);
}

#[tokio::test]
async fn a_long_wait_is_left_to_the_sweeper_and_the_last_failure_is_final() {
    let world = World::new().await;
    let mut known: Option<Delivery> = None;
    for number in 1..=10 {
        world.replies([Reply::status(503, "")]);
        let job = world.job(1, 0, number);
        assert_eq!(world.handle(&[job]).await, Vec::<String>::new());
        let delivery = world.delivery(1, 0).await.unwrap();
        // Half an hour is more than a queue can wait, also where it is made shorter.
        assert_eq!(world.queued().len(), usize::from(number < 5), "after {number}");
        assert_eq!(delivery.status == DeliveryStatus::Exhausted, number == 10);
        known = Some(delivery);
    }
    assert_eq!(known.unwrap().attempts.len(), 10);
    world.received();
    // The same message, once more.
    assert_eq!(world.handle(&[world.job(1, 0, 10)]).await, Vec::<String>::new());
    assert_eq!((world.received().len(), world.queued().len()), (0, 0), "it is given up");
}

#[tokio::test]
async fn a_first_attempt_counts_as_lost_until_it_is_recorded() {
    let world = World::new().await;
    world.replies([Reply::status(500, "")]);
    let late = switchboard_runtime::now().after(std::time::Duration::from_mins(16));
    let lost = async || {
        let table = &world.webhooks.table;
        let checks = table.due_checks(late, 100).await.unwrap();
        let (lost, _) = testing::lost_first_attempts(table, &checks[0], late).await.unwrap();
        lost.into_iter().map(|key| key.sequence).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(lost().await, (1..=20).collect(), "before any message arrived");
    world.handle(&[world.job(1, 0, 1), world.job(1, 1, 1)]).await;
    assert!(lost().await.contains(&1), "the third webhook has no attempt");
    world.handle(&[world.job(1, 2, 1)]).await;
    assert_eq!(lost().await, (2..=20).collect());
    // A webhook that is gone needs no attempt.
    world.replies([Reply::status(410, "")]);
    world.handle(&[world.job(2, 0, 1)]).await;
    world.handle(&[world.job(3, 0, 1), world.job(3, 1, 1), world.job(3, 2, 1)]).await;
    assert!(!lost().await.contains(&3));
}

#[tokio::test]
async fn after_410_only_a_redelivery_reaches_that_webhook() {
    let world = World::new().await;
    world.replies([Reply::status(410, "")]);
    world.handle(&[world.job(1, 0, 1)]).await;
    world.handle(&[world.job(2, 0, 1), world.job(2, 1, 1)]).await;
    let requests = world.received();
    assert_eq!(requests.iter().filter(|request| request.method == "POST").count(), 1);
    assert_eq!(requests.iter().filter(|request| request.method == "GET").count(), 1);
    let stopped = world.delivery(2, 0).await.unwrap();
    assert_eq!((stopped.status, stopped.attempts.len()), (DeliveryStatus::Stopped, 0));

    let again = stopped.clone().again(switchboard_runtime::now());
    world.webhooks.table.redeliver(&world.snapshot.conversation, Some(&stopped), &again).await.unwrap();
    world.handle(&[world.job(2, 0, again.attempt)]).await;
    assert_eq!(world.delivery(2, 0).await.unwrap().status, DeliveryStatus::Delivered);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_a_receiver_that_is_not_there_is_left_alone() {
    let world = World::new().await;
    let elsewhere = Reply { headers: vec![("location", "http://127.0.0.1:1/")], ..Reply::status(302, "") };
    world.replies([elsewhere]);
    world.handle(&[world.job(1, 0, 1)]).await;
    let attempt = world.delivery(1, 0).await.unwrap().attempts.pop().unwrap();
    assert_eq!(attempt.status, Some(302));
    world.queued();

    // No server listens at the address of the third webhook.
    for sequence in 1..=5 {
        world.handle(&[world.job(sequence, 2, 1)]).await;
        let attempt = world.delivery(sequence, 2).await.unwrap().attempts.pop().unwrap();
        assert_eq!((attempt.status, attempt.answer.as_deref()), (None, Some("the connection was refused")));
    }
    world.queued();
    let held = world.job(6, 2, 1);
    assert_eq!(world.handle(&[held, world.job(6, 0, 1)]).await, Vec::<String>::new());
    let (queued, delay) = world.queued().pop().unwrap();
    assert_eq!(queued, held, "the attempt is not used up");
    assert!((25..=46).contains(&delay), "{delay}");
    let postponed = world.delivery(6, 2).await.unwrap();
    assert_eq!((postponed.attempt, postponed.attempts), (1, vec![]));
    assert_eq!(world.delivery(6, 0).await.unwrap().status, DeliveryStatus::Delivered);
}

#[tokio::test]
async fn of_more_than_ten_for_one_host_the_others_come_later() {
    let world = World::new().await;
    let jobs: Vec<_> = (1..=12).map(|sequence| world.job(sequence, 0, 1)).collect();
    assert_eq!(world.handle(&jobs).await, Vec::<String>::new());
    assert_eq!(world.received().len(), 10);
    let queued = world.queued();
    assert_eq!(queued.len(), 2);
    for (job, delay) in queued {
        assert!(jobs.contains(&job));
        // An event of long ago asks less often.
        assert!((1..=90).contains(&delay), "{delay}");
    }
    // Their places were given back.
    world.handle(&[world.job(13, 0, 1)]).await;
    assert_eq!(world.received().len(), 1);
}

#[tokio::test]
async fn the_end_takes_the_conversation_along() {
    let world = World::new().await;
    let sequence = world.end(EndedReason::UserEnded).await;
    world.handle(&[world.job(sequence, 0, 1)]).await;
    let body: Value = serde_json::from_str(&world.received().pop().unwrap().body).unwrap();
    assert_eq!(body["event"], json!(EventName::Ended));
    let data = &body["data"];
    assert_eq!(data["ended_reason"], "user_ended");
    let id = world.snapshot.conversation.id;
    assert_eq!(data["conversation"]["uri"], format!("https://api.example.com/conversations/{id}"));
    assert_eq!(data["conversation"]["messages"], json!([]));
    assert!(data["conversation"]["cost_breakdown"]["total"].is_number());
    assert!(!data.to_string().contains("customer's-secret"));
}

#[tokio::test]
async fn a_poison_message_does_not_disturb_the_other_nine_of_its_batch() {
    let world = World::new().await;
    let mut event = World::event(&(1..=9).map(|sequence| world.job(sequence, 0, 1)).collect::<Vec<_>>());
    event.records.insert(4, message("poison", "{}"));
    // The queue shows it again until its limit of receptions.
    for _ in 0..5 {
        let response = world.webhooks.handle(event.clone()).await;
        let left: Vec<_> = response.batch_item_failures.iter().map(|it| &*it.item_identifier).collect();
        assert_eq!(left, ["poison"]);
        event.records.retain(|record| record.message_id.as_deref() == Some("poison"));
    }
    assert_eq!(world.received().len(), 9);
    for sequence in 1..=9 {
        assert_eq!(world.delivery(sequence, 0).await.unwrap().status, DeliveryStatus::Delivered);
    }
    assert_eq!(world.queued(), []);
}

#[tokio::test]
async fn what_can_never_be_delivered_holds_nothing_up() {
    let world = World::new().await;
    let mut event = World::event(&[world.job(99, 0, 1), world.job(1, 9, 1), world.job(1, 0, 7)]);
    event.records.extend(World::event(&[world.job(1, 0, 1)]).records);
    let response = world.webhooks.handle(event).await;
    assert!(response.batch_item_failures.is_empty(), "{response:?}");
    assert_eq!(world.received().len(), 1);
}

#[tokio::test]
async fn without_table_or_queue_the_messages_come_again() {
    let world = World::new().await;
    world.no_queue();
    world.replies([Reply::status(500, "")]);
    let job = world.job(1, 0, 1);
    assert_eq!(world.handle(&[job]).await.len(), 1, "the attempt is recorded, the next one not queued");
    assert_eq!(world.delivery(1, 0).await.unwrap().attempts.len(), 1);

    let world = World::without_table(world).await;
    assert_eq!(world.handle(&[world.job(1, 0, 1), world.job(2, 0, 1)]).await.len(), 2);
}

#[tokio::test]
async fn one_that_was_held_back_for_a_day_is_given_up() {
    let mut world = World::new().await;
    for sequence in 1..=5 {
        world.handle(&[world.job(sequence, 2, 1)]).await;
    }
    world.queued();
    let old = switchboard_runtime::now().as_millis() - 25 * 3_600_000;
    world.event_at(6, switchboard_model::time::Timestamp::from_millis(old)).await;
    world.handle(&[world.job(6, 2, 1)]).await;
    let delivery = world.delivery(6, 2).await.unwrap();
    assert_eq!(delivery.status, DeliveryStatus::Exhausted);
}

#[tokio::test]
async fn the_sample_of_the_queue_is_what_the_function_takes() {
    let world = World::new().await;
    let sample = serde_json::from_str(include_str!("../../../events/sqs_deliveries.json")).unwrap();
    let response = world.webhooks.handle(sample).await;
    assert!(response.batch_item_failures.is_empty(), "of an account that is not there");
}

#[test]
fn a_configuration_is_read() {
    let vars = Vars::from([
        ("TABLE_NAME", "t"),
        ("DELIVERIES_QUEUE_URL", "q"),
        ("SEALING_KEY_ID", "k"),
        ("PUBLIC_URL", "https://api.example.com/"),
    ]);
    let config = Config::from_vars(vars).unwrap();
    assert_eq!(config.public_url, "https://api.example.com");
    assert_eq!(config.egress_policy, switchboard_model::egress_policy::EgressPolicy::PublicOnly);
}
