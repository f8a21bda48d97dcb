//! A call that changes workers.

use std::time::Duration;

use switchboard_aws::table::Outcome;
use switchboard_model::{
    accounts::sha256_hex,
    agents::AgentConfig,
    conversations::{EndedReason, Lease, State, UtteranceProgress},
    messages::Role,
};

use crate::world::{
    Answer, FAST, Frame, Phone, STOP, Serving, UNHURRIED, World, greeting, in_order, now, quiet,
};

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready for you. We are open until \
                        six in the evening.";
const TOKEN: &str = "mt_vutsrqponmlkjihgfedcba9876543210";

/// The carrier asks how the call goes on, and connects it to another worker.
async fn reconnect(world: &World, worker: &Serving) -> Phone {
    world.change(|before| before.conversation.begin_resume(sha256_hex(TOKEN))).await;
    Phone::with_token(worker.address, TOKEN).await
}

#[tokio::test]
async fn a_call_goes_on_where_a_worker_that_was_told_to_stop_left_it() {
    let world = World::new(greeting(GREETING), UNHURRIED).await;
    let first = world.worker().await;
    let phone = Phone::connect(first.address).await;
    phone.until("a second of speech", |seen| seen.sent_ms() > 1_400).await;
    first.stop().await.unwrap();
    phone.closed_within(Duration::from_secs(1)).await;
    assert!(phone.seen().has(&Frame::Clear));
    assert_eq!(world.vendors.seen().changed, [], "nobody hung up");
    let left = world.conversation().await;
    assert!(matches!(left.state, State::Started { .. }));
    let lease = world.table.lease(world.account, world.id).await.unwrap().unwrap();
    assert!(lease.until.since(now()) <= Duration::from_secs(20), "it is given back");
    let rest = lease.utterance.unwrap().unheard;
    let heard = world.messages().await.remove(0);
    assert!(heard.interrupted);
    assert_eq!(format!("{} {rest}", heard.content), GREETING);
    let said_before = world.vendors.seen().spoken.len();

    let second = world.worker().await;
    let phone = reconnect(&world, &second).await;
    let messages = world.until_messages(2).await;
    assert_eq!((messages[1].role, &messages[1].content), (Role::Agent, &rest), "the rest, and no greeting");
    assert_eq!(in_order(&world.vendors.seen().spoken[said_before..], &rest), rest);
    assert_eq!(world.vendors.seen().asked.len(), 0);

    world.vendors.answer_with(Answer::Words("You are welcome."));
    world.vendors.hear("Thank you.").await;
    world.until_messages(4).await;
    let assistant = |text: &str| ("assistant".to_owned(), text.to_owned());
    let user = ("user".to_owned(), "Thank you.".to_owned());
    let history = &world.vendors.told()[1..];
    assert!(
        *history == [assistant(&heard.content), assistant(&rest), user.clone()]
            || *history == [assistant(GREETING), user],
        "{history:?}"
    );

    phone.send(STOP).await;
    let (ended, reason) = world.ended().await;
    assert_eq!(reason, EndedReason::UserEnded);
    let (ended_at, _, cost) = ended.ended().unwrap();
    let lasted = ended_at.since(ended.started_at().unwrap());
    assert_eq!(u128::from(cost.agent.ms), lasted.as_millis(), "one cost for both");
    assert_eq!(cost.transcriber.ms, world.vendors.seen().heard / 8);
    second.stop().await.unwrap();

    let names: Vec<_> = world.events().await.iter().map(|event| event.name.as_str()).collect();
    for once in ["conversation:started", "conversation:ended"] {
        assert_eq!(names.iter().filter(|name| **name == once).count(), 1, "{once}");
    }
    // The agent's side: first the beginning of the greeting, then silence, then its rest.
    let objects = world.objects.lock().unwrap();
    let wav = &objects[&format!("{}/{}/recording.wav", world.account, world.id)];
    let sounds: Vec<bool> = wav[44..].chunks_exact(4).map(|sample| sample[2..] != [0, 0]).collect();
    let last_before = sounds.iter().position(|sounds| *sounds).unwrap();
    assert!(last_before < 8_000, "the greeting begins at once");
    let turn = sounds[last_before..].iter().position(|sounds| !sounds).unwrap() + last_before;
    let rest_at = sounds[turn..].iter().position(|sounds| *sounds).unwrap() + turn;
    assert!(rest_at - turn > 8_000, "silent while nobody spoke");
    let message = &messages[1];
    let said_at = message.started_at.since(ended.started_at().unwrap()).as_millis() * 8;
    let said_at = usize::try_from(said_at).unwrap();
    assert!(rest_at.abs_diff(said_at) < 2_000, "the rest is at {rest_at}, and was said at {said_at}");
}

#[tokio::test]
async fn a_question_that_nobody_has_answered_is_answered_by_the_next_worker() {
    let world = World::new(greeting("Hello."), FAST).await;
    let first = world.worker().await;
    let phone = Phone::connect(first.address).await;
    world.until_messages(1).await;
    world.vendors.answer_with(Answer::Silence);
    world.vendors.hear("What time do you close?").await;
    world.vendors.until("the question", |seen| seen.asked.len() == 1).await;
    first.stop().await.unwrap();
    phone.closed_within(Duration::from_secs(1)).await;
    assert_eq!(world.messages().await.len(), 2);

    let second = world.worker().await;
    world.vendors.answer_with(Answer::Words("At six."));
    let _phone = reconnect(&world, &second).await;
    assert_eq!(world.until_messages(3).await[2].content, "At six.");
    assert_eq!(world.vendors.seen().asked[1]["messages"], world.vendors.seen().asked[0]["messages"]);
    assert_eq!(world.vendors.seen().spoken, ["Hello.", "At six."]);
}

#[tokio::test]
async fn a_call_goes_on_where_a_worker_that_died_left_it() {
    let world = World::new(greeting(GREETING), UNHURRIED).await;
    let first = world.worker().await;
    let phone = Phone::connect(first.address).await;
    world.until_speaking(|_| true).await;
    first.kill();
    phone.closed_within(Duration::from_secs(1)).await;
    let said_before = world.vendors.seen().spoken.len();

    let second = world.worker().await;
    let _phone = reconnect(&world, &second).await;
    let messages = world.until_messages(2).await;
    assert_eq!((messages[0].interrupted, messages[1].interrupted), (true, false));
    assert_eq!(
        format!("{} {}", messages[0].content, messages[1].content),
        GREETING,
        "nothing is lost or said twice"
    );
    let rest = &messages[1].content;
    assert_eq!(in_order(&world.vendors.seen().spoken[said_before..], rest), *rest);
    world.events().await;
}

#[tokio::test]
async fn a_message_that_was_stored_before_the_worker_died_is_neither_stored_nor_said_again() {
    let world = World::new(greeting("Hello, this is Ada."), FAST).await;
    let first = world.worker().await;
    let phone = Phone::connect(first.address).await;
    let message = world.until_messages(1).await.remove(0);
    first.kill();
    phone.closed_within(Duration::from_secs(1)).await;
    // The heartbeat is slower than the journal: it may still tell of the middle of the message.
    let lease = world.table.lease(world.account, world.id).await.unwrap().unwrap();
    let speaking = UtteranceProgress {
        heard: "Hello, this".to_owned(),
        unheard: "is Ada.".to_owned(),
        started_at: message.started_at,
    };
    let late = Lease { utterance: Some(speaking), ..lease };
    assert!(world.table.renew_lease(world.account, world.id, &late).await.unwrap());

    let second = world.worker().await;
    let _phone = reconnect(&world, &second).await;
    world.vendors.answer_with(Answer::Words("At six."));
    world.vendors.until("a session", |seen| seen.sessions == 1).await;
    world.vendors.hear("What time do you close?").await;
    world.vendors.until("the question", |seen| !seen.asked.is_empty()).await;
    let told: Vec<_> = world.vendors.told().into_iter().map(|(_, content)| content).collect();
    assert_eq!(told, ["You are Ada.", "Hello, this is Ada.", "What time do you close?"]);
    let messages = world.until_messages(3).await;
    assert_eq!(messages[0], message);
    assert_eq!(messages[1].role, Role::User);
    assert_eq!(world.vendors.seen().spoken, ["Hello, this is Ada.", "At six."]);
}

#[tokio::test]
async fn a_caller_whose_worker_died_before_the_greeting_is_greeted_by_the_next() {
    let world = World::new(greeting("Hello, this is Ada."), FAST).await;
    // The worker was let in, and no more.
    let lease = Lease::new("the dead".to_owned(), now());
    let started = world.table.transition_taking(&lease, world.account, world.id, |before| {
        before.conversation.mark_started(&before.agent, "CA0123456789abcdef0123456789abcdef", now())
    });
    assert!(matches!(started.await.unwrap(), Outcome::Changed(_)));

    let worker = world.worker().await;
    let _phone = reconnect(&world, &worker).await;
    assert_eq!(world.until_messages(1).await[0].content, "Hello, this is Ada.");
}

#[tokio::test]
async fn of_two_messages_in_a_row_the_second_goes_on_after_its_worker_died() {
    const SECOND: &str =
        "On Saturday we close at six in the evening, and on Sunday we are closed all day long.";
    let agent = AgentConfig { hooks: vec![], ..quiet() };
    let world = World::new(agent, UNHURRIED).await;
    let first = world.worker().await;
    let phone = Phone::connect(first.address).await;
    world.vendors.answer_with(Answer::Call("One moment.", "look_up"));
    world.vendors.answer_with(Answer::Words(SECOND));
    world.vendors.hear("What time do you close?").await;
    world.until_messages(2).await;
    world.until_speaking(|speaking| SECOND.starts_with(&speaking.heard)).await;
    first.kill();
    phone.closed_within(Duration::from_secs(1)).await;

    let second = world.worker().await;
    let _phone = reconnect(&world, &second).await;
    let messages = world.until_messages(4).await;
    assert_eq!(messages[1].content, "One moment.");
    assert!(messages[2].interrupted);
    assert_eq!(format!("{} {}", messages[2].content, messages[3].content), SECOND);
}
