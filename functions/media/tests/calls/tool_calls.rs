//! Functions that the model calls, and the webhooks that answer them.

use switchboard_model::{
    conversations::EndedReason, deliveries::DeliveryStatus, event_names::EventName, events::Event,
    webhooks::Webhook,
};

use crate::{
    prelude::*,
    support::agents::{calling, webhook},
    webhooks::ScriptedWebhooks,
};

/// The results of functions in the last generation.
fn results(world: &World) -> Vec<String> {
    let tools = world.providers.last_messages().into_iter().filter(|(role, _)| role == "tool");
    tools.map(|(_, content)| content).collect()
}

async fn function_calls(world: &World) -> Vec<Event> {
    let events = world.conversation.events().await;
    events.into_iter().filter(|event| event.name == EventName::FunctionCallTriggered).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_webhook_answers_the_function() {
    let other_event = Webhook { events: vec![EventName::MessageSent], ..webhook("https://bakery.example/0") };
    let (first, second) = (webhook("https://bakery.example/1"), webhook("https://bakery.example/2"));
    let world = World::new(calling(vec![other_event, first, second]), FAST_VOICE).await;
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Call("Let me have a look.", "price"));
    world.providers.respond_with(Response::Words("It costs three euros."));
    world.providers.transcribe("What does it cost?").await;
    let messages = world.conversation.until_messages(3).await;
    assert_eq!(messages[2].content, "It costs three euros.");
    assert_eq!(results(&world), [r#"{"euros":3}"#]);

    let [event] = &function_calls(&world).await[..] else { panic!("one function was called") };
    assert_eq!((event.synchronous, &event.webhooks[..]), (Some(1), &[2][..]));
    let calls = world.webhooks.calls();
    assert_eq!(calls.ids, [format!("{}_1", event.id)]);
    let [(url, body)] = &calls.requests[..] else { panic!("the worker calls the first webhook alone") };
    assert_eq!(url, "https://bakery.example/1");
    assert_eq!(body["id"], event.id.to_string());
    assert_eq!(
        (&body["event"], &body["sequence"]),
        (&"function_call:triggered".into(), &event.sequence.into())
    );
    assert_eq!((&body["data"], &body["conversation"]["status"]), (&event.data, &"started".into()));

    let [delivery] = &world.conversation.until_deliveries(1).await[..] else { panic!("one delivery") };
    assert_eq!((delivery.event_id, delivery.webhook), (event.id, 1));
    assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Delivered, None));
    let [attempt] = &delivery.attempts[..] else { panic!("one attempt") };
    assert_eq!(attempt.status, Some(200));
    assert_eq!(attempt.answer.as_deref(), Some(r#"{"result": {"euros": 3}, "internal": "x"}"#));
    assert!(attempt.at >= event.created_at);
}

/// Calls a function once. Returns its result, the stored delivery, and the number of requests to webhooks.
async fn call_function(
    webhooks: Vec<Webhook>,
    function: &'static str,
) -> (String, Option<(DeliveryStatus, String)>, usize) {
    let expected = webhooks.len();
    let world = World::new(calling(webhooks), FAST_VOICE).await;
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Call("", function));
    world.providers.respond_with(Response::Words("Well."));
    world.providers.transcribe("What does it cost?").await;
    world.providers.until("the second generation", |requests| requests.generations.len() == 2).await;
    let result = results(&world).concat();
    let delivery = world.conversation.until_deliveries(expected).await.pop();
    let stored = delivery.map(|mut delivery| {
        assert_eq!((delivery.attempts.len(), delivery.next_attempt_at), (1, None));
        (delivery.status, delivery.attempts.remove(0).answer.unwrap())
    });
    (result, stored, world.webhooks.calls().ids.len())
}

#[tokio::test(start_paused = true)]
async fn a_function_without_a_webhook_succeeds() {
    assert_eq!(call_function(vec![], "price").await, (r#"{"ok": true}"#.to_owned(), None, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_json_is_the_result() {
    let delivered = |text: &str| Some((DeliveryStatus::Delivered, text.to_owned()));
    let hours = call_function(vec![ScriptedWebhooks::webhook()], "hours").await;
    assert_eq!(hours, ("Until six.".to_owned(), delivered("Until six."), 1));
    let nothing = call_function(vec![ScriptedWebhooks::webhook()], "nothing").await;
    assert_eq!(nothing, (r#"{"ok": true}"#.to_owned(), delivered(""), 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_function_is_reported_and_not_repeated() {
    let (result, stored, requests) = call_function(vec![ScriptedWebhooks::webhook()], "broken").await;
    assert_eq!(result, r#"{"error":"the function answered with status 500"}"#);
    assert_eq!(stored, Some((DeliveryStatus::Failed, "database down".to_owned())));
    assert_eq!(requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_function_fails_after_ten_seconds() {
    let late = "no whole answer within 10 seconds";
    let (result, stored, requests) = call_function(vec![ScriptedWebhooks::webhook()], "never").await;
    assert_eq!(result, format!(r#"{{"error":"{late}"}}"#));
    assert_eq!(stored, Some((DeliveryStatus::Failed, late.to_owned())));
    assert_eq!(requests, 1);
}

#[tokio::test(start_paused = true)]
async fn at_most_eight_functions_run_at_the_same_time() {
    const ALL: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let world = World::new(calling(vec![ScriptedWebhooks::webhook()]), FAST_VOICE).await;
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Calls("", &ALL));
    world.providers.respond_with(Response::Words("Well."));
    world.providers.transcribe("What does it all cost?").await;
    world.webhooks.until("eight calls", |calls| calls.waiting == 8).await;
    world.webhooks.release();
    world.providers.until("the second generation", |requests| requests.generations.len() == 2).await;
    assert_eq!(results(&world), ALL, "each has its own result");
    assert_eq!(world.webhooks.calls().most_waiting, 8);
    let delivered = world.conversation.until_deliveries(ALL.len()).await;
    assert!(delivered.iter().all(|delivery| delivery.status == DeliveryStatus::Delivered));
}

#[tokio::test(start_paused = true)]
async fn the_user_may_speak_while_a_function_runs() {
    let world = World::new(calling(vec![ScriptedWebhooks::webhook()]), FAST_VOICE).await;
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Call("", "slow"));
    world.providers.transcribe("Is the cake ready?").await;
    world.webhooks.until("a call", |calls| calls.waiting == 1).await;
    // The event is stored before the webhook answers.
    assert_eq!(function_calls(&world).await.len(), 1);
    assert_eq!(world.conversation.deliveries().await, []);

    world.providers.respond_with(Response::Words("The bread is."));
    world.providers.transcribe("And the bread?").await;
    assert_eq!(world.conversation.until_messages(3).await[2].content, "The bread is.");
    assert_eq!(world.webhooks.calls().waiting, 1, "the function still runs");
    world.webhooks.release();
    world.conversation.until_deliveries(1).await;

    world.providers.respond_with(Response::Words("Yes, it is."));
    world.providers.transcribe("And the cake now?").await;
    world.conversation.until_messages(5).await;
    assert_eq!(results(&world), ["slow"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_cancels_its_running_function() {
    let world = World::new(calling(vec![ScriptedWebhooks::webhook()]), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Call("", "slow"));
    world.providers.transcribe("Is the cake ready?").await;
    world.webhooks.until("a call", |calls| calls.waiting == 1).await;
    phone.send(STOP).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    world.webhooks.until("the end of the request", |calls| calls.waiting == 0).await;
    let [delivery] = &world.conversation.deliveries().await[..] else { panic!("stored before the end was") };
    assert_eq!(delivery.status, DeliveryStatus::Failed);
    assert_eq!(
        delivery.attempts[0].answer.as_deref(),
        Some("the call ended, or changed workers, before there was an answer")
    );
    assert_eq!(world.webhooks.calls().ids.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_function_is_not_called_before_its_event_is_stored() {
    let world = World::new(calling(vec![ScriptedWebhooks::webhook()]), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.until("a session", |requests| requests.open_sessions == 1).await;
    world.conversation.started().await;
    world.set_table_fault(TableFault::Unreachable);
    world.providers.respond_with(Response::Call("One moment.", "price"));
    world.providers.transcribe("What does it cost?").await;
    phone.until("the words before the call", |received| received.played == 1).await;
    assert!(world.webhooks.calls().ids.is_empty());
    // The call ends before the table can be reached: the event is stored, with a delivery that was not attempted.
    phone.send(STOP).await;
    world.providers.until("the end of the session", |requests| requests.open_sessions == 0).await;
    world.set_table_fault(TableFault::None);
    world.conversation.ended().await;
    assert!(world.webhooks.calls().ids.is_empty());
    let [delivery] = &world.conversation.deliveries().await[..] else { panic!("stored before the end was") };
    assert_eq!((delivery.status, delivery.attempts[0].status), (DeliveryStatus::Failed, None));
    assert_eq!(function_calls(&world).await[0].sequence, delivery.sequence);
}

/// The model calls a function that is not executed; the fault is recorded, and the model is told.
async fn is_not_executed(name: &'static str, arguments: &'static str, told: &str, fault: &str) {
    let world = World::new(calling(vec![ScriptedWebhooks::webhook()]), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::CallWith(name, arguments));
    world.providers.respond_with(Response::Words("I cannot do that."));
    world.providers.transcribe("What does it cost?").await;
    assert_eq!(world.conversation.until_messages(2).await[1].content, "I cannot do that.");
    let result = results(&world).concat();
    assert!(result.starts_with(&format!(r#"{{"error":"nothing was done: {told}"#)), "{result}");
    assert_eq!(function_calls(&world).await, []);
    assert_eq!(world.webhooks.calls().ids.len(), 0);
    phone.send(STOP).await;
    world.conversation.ended().await;
    let faults = world.conversation.faults().await;
    assert!(faults.iter().any(|found| found == &format!("language model openai: {fault}")), "{faults:?}");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_the_agent_does_not_have_is_not_executed() {
    let fault = "it called a function that the agent does not have";
    is_not_executed("transfer_to_human", "{}", "there is no such function", fault).await;
}

#[tokio::test(start_paused = true)]
async fn arguments_that_were_broken_off_are_not_executed() {
    let problem = "they are not a whole JSON object";
    let fault = format!("it called price with invalid arguments: {problem}");
    is_not_executed("price", r#"{"kind":"apple","count":1"#, problem, &fault).await;
}

#[tokio::test(start_paused = true)]
async fn results_of_calls_with_one_id_do_not_change_places() {
    let world = World::new(calling(vec![ScriptedWebhooks::webhook()]), FAST_VOICE).await;
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    // Both calls have the vendor's id `call_1`; the first one is answered last.
    world.providers.respond_with(Response::CallWith("slow", "{}"));
    world.providers.transcribe("Is the cake ready?").await;
    world.webhooks.until("a call", |calls| calls.waiting == 1).await;
    world.providers.respond_with(Response::CallWith("hours", "{}"));
    world.providers.respond_with(Response::Words("Until six."));
    world.providers.transcribe("When do you close?").await;
    world.conversation.until_messages(3).await;
    assert_eq!(results(&world)[1], "Until six.");
    world.webhooks.release();
    world.conversation.until_deliveries(2).await;
    world.providers.respond_with(Response::Words("Yes, it is."));
    world.providers.transcribe("And the cake now?").await;
    world.conversation.until_messages(5).await;
    assert_eq!(results(&world), ["slow", "Until six."]);
    let calls = function_calls(&world).await;
    assert_ne!(calls[0].data["function"]["id"], calls[1].data["function"]["id"]);
}
