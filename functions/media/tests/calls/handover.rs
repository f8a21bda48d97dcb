//! Handovers: a worker that stops, and the worker that takes the call over. `tests/sockets` has workers that die.

use std::time::Duration;

use switchboard_aws::table::Outcome;
use switchboard_model::{
    accounts::sha256_hex,
    carriers::{CarrierCallId, CarrierName},
    conversations::{EndedReason, Lease, LegId, State},
    messages::Role,
};

use crate::{prelude::*, support::task::TASK};

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready for you. We are open until \
                        six in the evening.";
const TOKEN: &str = "mt_vutsrqponmlkjihgfedcba9876543210";

/// The carrier asks how the call continues, and opens a stream to another worker.
async fn reconnect(world: &World, worker: &RunningWorker) -> Phone {
    world
        .conversation
        .change(|before| {
            before.conversation.begin_resume(LegId::CALLER, sha256_hex(TOKEN), switchboard_runtime::now())
        })
        .await;
    Phone::with_token(&worker.address, TOKEN).await
}

#[tokio::test(start_paused = true)]
async fn a_worker_hands_its_calls_over_before_the_platform_cuts_them_off() {
    for by_mark in [false, true] {
        let world = World::new(greeting(GREETING), SLOW_VOICE).await;
        let worker = world.worker();
        let phone = Phone::connect(&worker.address).await;
        phone.until("a second of speech", |received| received.sent_ms() > 1_400).await;
        let table = &world.conversation.table;
        let reports = table.fleet(now()).await.unwrap().workers;
        assert_eq!((reports[0].id.as_str(), reports[0].capacity), (TASK, 10));
        if by_mark {
            assert!(table.mark_worker_draining(TASK).await.unwrap());
        } else {
            world.task.stop();
        }
        // No signal has come: the sockets are still open.
        phone.closed_within(Duration::from_secs(12)).await;
        worker.ended().await.unwrap();
        assert!(matches!(world.conversation.load().await.state, State::Started { .. }));
        let lease = world.conversation.lease().await.unwrap();
        assert!(lease.until.since(now()) <= Duration::from_secs(20), "the lease was given back");
        assert!(!table.fleet(now()).await.unwrap().has_room(now()), "the fleet has no room any more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_continues_where_the_stopped_worker_left_it() {
    let world = World::new(greeting(GREETING), SLOW_VOICE).await;
    let first = world.worker();
    let phone = Phone::connect(&first.address).await;
    phone.until("a second of speech", |received| received.sent_ms() > 1_400).await;
    first.stop().await.unwrap();
    phone.closed_within(Duration::from_secs(1)).await;
    assert!(phone.received().has(&Frame::Clear));
    assert_eq!(world.carrier.ended_calls(), [""; 0], "the carrier's call goes on");
    let left = world.conversation.load().await;
    assert!(matches!(left.state, State::Started { .. }));
    let lease = world.conversation.lease().await.unwrap();
    assert!(lease.until.since(now()) <= Duration::from_secs(20), "the first worker gave the lease back");
    let rest = lease.utterance.unwrap().unheard;
    let heard = world.conversation.messages().await.remove(0);
    assert!(heard.interrupted);
    assert_eq!(format!("{} {rest}", heard.content), GREETING);
    let said_before = world.providers.requests().clauses.len();

    let second = world.worker();
    let phone = reconnect(&world, &second).await;
    let messages = world.conversation.until_messages(2).await;
    assert_eq!(
        (messages[1].role, &messages[1].content),
        (Role::Agent, &rest),
        "the unspoken rest, without a greeting"
    );
    assert_eq!(in_order(&world.providers.requests().clauses[said_before..], &rest), rest);
    assert_eq!(world.providers.requests().generations.len(), 0);

    world.providers.respond_with(Response::Words("You are welcome."));
    world.providers.transcribe("Thank you.").await;
    world.conversation.until_messages(4).await;
    let assistant = |text: &str| ("assistant".to_owned(), text.to_owned());
    let user = ("user".to_owned(), "Thank you.".to_owned());
    let history = &world.providers.last_messages()[1..];
    assert!(
        *history == [assistant(&heard.content), assistant(&rest), user.clone()]
            || *history == [assistant(GREETING), user],
        "{history:?}"
    );

    phone.send(STOP).await;
    let (ended, reason) = world.conversation.ended().await;
    assert_eq!(reason, EndedReason::UserEnded);
    let (ended_at, _, cost) = ended.ended().unwrap();
    let lasted = ended_at.since(ended.started_at().unwrap());
    assert_eq!(u128::from(cost.agent.ms), lasted.as_millis(), "one cost for both workers");
    assert_eq!(cost.transcriber.ms, world.providers.requests().audio_bytes / 8);
    second.stop().await.unwrap();

    let names: Vec<_> = world.conversation.events().await.iter().map(|event| event.name.as_str()).collect();
    for once in ["conversation:started", "conversation:ended"] {
        assert_eq!(names.iter().filter(|name| **name == once).count(), 1, "{once}");
    }
    // The agent's channel: the beginning of the greeting, silence, the rest of the greeting.
    let objects = world.objects.lock().unwrap();
    let wav = &objects[&format!("{}/{}/recording.wav", world.conversation.account, world.conversation.id)];
    let sounds: Vec<bool> = wav[44..].chunks_exact(4).map(|sample| sample[2..] != [0, 0]).collect();
    let last_before = sounds.iter().position(|sounds| *sounds).unwrap();
    assert!(last_before < 8_000, "the greeting begins at once");
    let turn = sounds[last_before..].iter().position(|sounds| !sounds).unwrap() + last_before;
    let rest_at = sounds[turn..].iter().position(|sounds| *sounds).unwrap() + turn;
    assert!(rest_at - turn > 8_000, "silent between the workers");
    let message = &messages[1];
    let said_at = message.started_at.since(ended.started_at().unwrap()).as_millis() * 8;
    let said_at = usize::try_from(said_at).unwrap();
    assert!(rest_at.abs_diff(said_at) < 2_000, "the rest is at {rest_at}, and was said at {said_at}");
}

#[tokio::test(start_paused = true)]
async fn the_next_worker_replies_to_an_open_turn() {
    let world = World::new(greeting("Hello."), FAST_VOICE).await;
    let first = world.worker();
    let phone = Phone::connect(&first.address).await;
    world.conversation.until_messages(1).await;
    world.providers.respond_with(Response::Silence);
    world.providers.transcribe("What time do you close?").await;
    world.providers.until("the question", |requests| requests.generations.len() == 1).await;
    first.stop().await.unwrap();
    phone.closed_within(Duration::from_secs(1)).await;
    assert_eq!(world.conversation.messages().await.len(), 2);

    let second = world.worker();
    world.providers.respond_with(Response::Words("At six."));
    let _phone = reconnect(&world, &second).await;
    assert_eq!(world.conversation.until_messages(3).await[2].content, "At six.");
    assert_eq!(world.providers.requests().generations[1], world.providers.requests().generations[0]);
    assert_eq!(world.providers.requests().clauses, ["Hello.", "At six."]);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_greeting_is_greeted_by_the_next_worker() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    // The first worker was admitted, and then died.
    let lease = Lease::new("the dead".to_owned(), now());
    let started = world.conversation.table.transition_taking(
        &lease,
        world.conversation.account,
        world.conversation.id,
        |before| {
            let call = CarrierCallId::new(CarrierName::Twilio, "CA0123456789abcdef0123456789abcdef").unwrap();
            before.conversation.mark_started(LegId::CALLER, &before.agent, &call, now())
        },
    );
    assert!(matches!(started.await.unwrap(), Outcome::Changed(_)));

    let worker = world.worker();
    let _phone = reconnect(&world, &worker).await;
    assert_eq!(world.conversation.until_messages(1).await[0].content, "Hello, this is Ada.");
}
