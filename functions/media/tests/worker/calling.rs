//! Functions that the model calls, and what their webhooks answer.

use std::time::Duration;

use switchboard_model::{
    agents::{AgentConfig, Webhook},
    conversations::EndedReason,
    deliveries::{Delivery, DeliveryStatus},
    events::{Event, EventName},
};
use tokio::{net::TcpSocket, time::timeout};

use crate::world::{Answer, FAST, Phone, Receiver, STOP, Way, World, quiet, webhook};

/// An agent that goes on after it has called a function.
fn calling(webhooks: Vec<Webhook>) -> AgentConfig {
    AgentConfig { hooks: vec![], webhooks, ..quiet() }
}

/// What the model is told that the functions answered.
fn results(world: &World) -> Vec<String> {
    let tools = world.vendors.told().into_iter().filter(|(role, _)| role == "tool");
    tools.map(|(_, content)| content).collect()
}

async fn function_calls(world: &World) -> Vec<Event> {
    let events = world.events().await;
    events.into_iter().filter(|event| event.name == EventName::FunctionCallTriggered).collect()
}

async fn deliveries(world: &World) -> Vec<Delivery> {
    world.table.deliveries(world.account, world.id, 1, 1_000).await.unwrap()
}

/// The call's deliveries, once there are so many.
async fn until_delivered(world: &World, count: usize) -> Vec<Delivery> {
    let until = async {
        loop {
            let deliveries = deliveries(world).await;
            if deliveries.len() == count {
                return deliveries;
            }
            // There is nobody who would tell.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_mins(1), until).await.expect("the deliveries are stored")
}

#[tokio::test]
async fn the_answer_of_the_first_webhook_is_the_functions_result() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let elsewhere = Webhook { events: vec![EventName::MessageSent], ..webhook("http://127.0.0.1:1/") };
    let world = World::new(calling(vec![elsewhere, first.webhook(), second.webhook()]), FAST).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(worker.address).await;
    world.vendors.answer_with(Answer::Call("Let me have a look.", "price"));
    world.vendors.answer_with(Answer::Words("It costs three euros."));
    world.vendors.hear("What does it cost?").await;
    let messages = world.until_messages(3).await;
    assert_eq!(messages[2].content, "It costs three euros.");
    assert_eq!(results(&world), [r#"{"euros":3}"#]);

    let [event] = &function_calls(&world).await[..] else { panic!("one function was called") };
    assert_eq!((event.synchronous, &event.webhooks[..]), (Some(1), &[2][..]));
    let called = first.called();
    assert_eq!(called.ids, [format!("{}_1", event.id)]);
    let body = &called.bodies[0];
    assert_eq!(body["id"], event.id.to_string());
    assert_eq!(
        (&body["event"], &body["sequence"]),
        (&"function_call:triggered".into(), &event.sequence.into())
    );
    assert_eq!((&body["data"], &body["conversation"]["status"]), (&event.data, &"started".into()));
    assert!(second.called().ids.is_empty(), "the others are delivered to as usual");

    let [delivery] = &until_delivered(&world, 1).await[..] else { panic!("one delivery") };
    assert_eq!((delivery.event_id, delivery.webhook), (event.id, 1));
    assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Delivered, None));
    let [attempt] = &delivery.attempts[..] else { panic!("one attempt") };
    assert_eq!(attempt.status, Some(200));
    assert_eq!(attempt.answer.as_deref(), Some(r#"{"result": {"euros": 3}, "internal": "x"}"#));
    assert!(attempt.at >= event.created_at);
}

/// What the model is told, and what is stored, of a function that this webhook answers.
async fn called(
    webhooks: Vec<Webhook>,
    function: &'static str,
) -> (String, Option<(DeliveryStatus, String)>) {
    let expected = webhooks.len();
    let world = World::new(calling(webhooks), FAST).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(worker.address).await;
    world.vendors.answer_with(Answer::Call("", function));
    world.vendors.answer_with(Answer::Words("Well."));
    world.vendors.hear("What does it cost?").await;
    world.vendors.until("the second question", |seen| seen.asked.len() == 2).await;
    let told = results(&world).concat();
    let delivery = until_delivered(&world, expected).await.pop();
    let stored = delivery.map(|mut delivery| {
        assert_eq!((delivery.attempts.len(), delivery.next_attempt_at), (1, None));
        (delivery.status, delivery.attempts.remove(0).answer.unwrap())
    });
    (told, stored)
}

#[tokio::test]
async fn a_function_that_nobody_answers_has_succeeded() {
    assert_eq!(called(vec![], "price").await, (r#"{"ok": true}"#.to_owned(), None));
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_the_result_as_it_is() {
    let receiver = Receiver::start().await;
    let delivered = |text: &str| Some((DeliveryStatus::Delivered, text.to_owned()));
    let hours = called(vec![receiver.webhook()], "hours").await;
    assert_eq!(hours, ("Until six.".to_owned(), delivered("Until six.")));
    let nothing = called(vec![receiver.webhook()], "nothing").await;
    assert_eq!(nothing, (r#"{"ok": true}"#.to_owned(), delivered("")));
}

#[tokio::test]
async fn the_model_is_told_that_a_function_failed_and_is_not_called_again() {
    let receiver = Receiver::start().await;
    let failed = |text: &str| Some((DeliveryStatus::Failed, text.to_owned()));
    let (told, stored) = called(vec![receiver.webhook()], "broken").await;
    assert_eq!(told, r#"{"error":"the function answered with status 500"}"#);
    assert_eq!(stored, failed("database down"));
    assert_eq!(receiver.called().ids.len(), 1);

    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nowhere = format!("http://{}/", reserved.local_addr().unwrap());
    let refused = "the connection was refused";
    assert_eq!(
        called(vec![webhook(&nowhere)], "price").await,
        (format!(r#"{{"error":"{refused}"}}"#), failed(refused))
    );

    let private = "not called: URL should point to a public address";
    assert_eq!(
        called(vec![webhook("http://169.254.169.254/latest")], "price").await,
        (format!(r#"{{"error":"{private}"}}"#), failed(private))
    );
}

#[tokio::test]
async fn a_function_that_takes_more_than_ten_seconds_has_failed() {
    let receiver = Receiver::start().await;
    let late = "no whole answer within 10 seconds";
    let (told, stored) = called(vec![receiver.webhook()], "never").await;
    assert_eq!(told, format!(r#"{{"error":"{late}"}}"#));
    assert_eq!(stored, Some((DeliveryStatus::Failed, late.to_owned())));
}

#[tokio::test]
async fn functions_are_called_at_the_same_time_but_not_more_than_eight() {
    const ALL: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let receiver = Receiver::start().await;
    let world = World::new(calling(vec![receiver.webhook()]), FAST).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(worker.address).await;
    world.vendors.answer_with(Answer::Calls("", &ALL));
    world.vendors.answer_with(Answer::Words("Well."));
    world.vendors.hear("What does it all cost?").await;
    receiver.until("eight calls", |called| called.waiting == 8).await;
    receiver.release();
    world.vendors.until("the second question", |seen| seen.asked.len() == 2).await;
    assert_eq!(results(&world), ALL, "each has its own result");
    assert_eq!(receiver.called().most_waiting, 8);
    let delivered = until_delivered(&world, ALL.len()).await;
    assert!(delivered.iter().all(|delivery| delivery.status == DeliveryStatus::Delivered));
}

#[tokio::test]
async fn the_user_may_speak_while_a_function_runs_and_its_result_is_kept() {
    let receiver = Receiver::start().await;
    let world = World::new(calling(vec![receiver.webhook()]), FAST).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(worker.address).await;
    world.vendors.answer_with(Answer::Call("", "slow"));
    world.vendors.hear("Is the cake ready?").await;
    receiver.until("a call", |called| called.waiting == 1).await;
    // The log has it while nobody knows the answer yet.
    assert_eq!(function_calls(&world).await.len(), 1);
    assert_eq!(deliveries(&world).await, []);

    world.vendors.answer_with(Answer::Words("The bread is."));
    world.vendors.hear("And the bread?").await;
    assert_eq!(world.until_messages(3).await[2].content, "The bread is.");
    assert_eq!(receiver.called().waiting, 1, "it still runs");
    receiver.release();
    until_delivered(&world, 1).await;

    world.vendors.answer_with(Answer::Words("Yes, it is."));
    world.vendors.hear("And the cake now?").await;
    world.until_messages(5).await;
    assert_eq!(results(&world), ["slow"]);
}

#[tokio::test]
async fn a_call_that_ends_drops_the_function_that_still_runs() {
    let receiver = Receiver::start().await;
    let world = World::new(calling(vec![receiver.webhook()]), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.answer_with(Answer::Call("", "slow"));
    world.vendors.hear("Is the cake ready?").await;
    receiver.until("a call", |called| called.waiting == 1).await;
    phone.send(STOP).await;
    assert_eq!(world.ended().await.1, EndedReason::UserEnded);
    receiver.until("the end of the request", |called| called.waiting == 0).await;
    let [delivery] = &deliveries(&world).await[..] else { panic!("stored before the end was") };
    assert_eq!(delivery.status, DeliveryStatus::Failed);
    assert_eq!(
        delivery.attempts[0].answer.as_deref(),
        Some("the call ended, or changed workers, before there was an answer")
    );
    assert_eq!(receiver.called().ids.len(), 1);
}

#[tokio::test]
async fn a_function_is_not_called_before_its_event_is_stored() {
    let receiver = Receiver::start().await;
    let world = World::new(calling(vec![receiver.webhook()]), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.until("a session", |seen| seen.sessions == 1).await;
    world.started().await;
    world.gate.set(Way::Closed);
    world.vendors.answer_with(Answer::Call("One moment.", "price"));
    world.vendors.hear("What does it cost?").await;
    phone.until("what it says meanwhile", |seen| seen.played == 1).await;
    assert!(receiver.called().ids.is_empty());
    // The call ends before the table is back: the event is stored, and that nobody was called.
    phone.send(STOP).await;
    world.vendors.until("the end of the session", |seen| seen.sessions == 0).await;
    world.gate.set(Way::Open);
    world.ended().await;
    assert!(receiver.called().ids.is_empty());
    let [delivery] = &deliveries(&world).await[..] else { panic!("stored before the end was") };
    assert_eq!((delivery.status, delivery.attempts[0].status), (DeliveryStatus::Failed, None));
    assert_eq!(function_calls(&world).await[0].sequence, delivery.sequence);
}
