//! Hooks that hang up, and filters of hooks and webhooks.

use switchboard_filters::Filter;
use switchboard_model::{
    agents::AgentConfig,
    conversations::EndedReason,
    event_names::EventName,
    hooks::{Hook, Instruction},
    webhooks::Webhook,
};

use crate::{prelude::*, support::agents::webhook};

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

fn hanging_up(event: EventName, text: &str) -> AgentConfig {
    let hook =
        Hook { events: vec![event], filter: Some(filter(text)), instructions: vec![Instruction::HangUp] };
    AgentConfig { hooks: vec![hook], ..quiet() }
}

#[tokio::test(start_paused = true)]
async fn a_hook_hangs_up_on_the_message_that_matches() {
    let agent = hanging_up(
        EventName::MessageSent,
        "message.role == 'user' && message.content.lowerAscii().contains('goodbye')",
    );
    let world = World::new(agent, FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Words("If you want to say goodbye, say it."));
    world.providers.transcribe("How do I end this?").await;
    world.conversation.until_messages(2).await;
    assert_eq!(world.conversation.load().await.ended(), None);
    world.providers.transcribe("Then goodbye.").await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::AgentEnded);
    phone.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_ends_the_call_at_its_second() {
    let mut agent = hanging_up(EventName::Duration, "duration == 2");
    agent.webhooks = vec![Webhook {
        events: vec![EventName::Duration, EventName::Started],
        filter: Some(filter("duration == 1 || message.content.contains('x')")),
        ..webhook("http://127.0.0.1:1/")
    }];
    let world = World::new(agent, FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::AgentEnded);
    phone.closed().await;
    let events = world.conversation.events().await;
    let started = events.iter().find(|event| event.name == EventName::Started).unwrap();
    assert!(started.faults[0].starts_with("webhooks.0.filter failed"), "{:?}", started.faults);
    let seconds: Vec<_> = events
        .iter()
        .filter(|event| event.name == EventName::Duration)
        .map(|event| (event.data["duration"].clone(), &event.webhooks[..], event.faults.len()))
        .collect();
    assert_eq!(seconds, [(1.into(), &[0][..], 0), (2.into(), &[][..], 0)]);
    let sequences: Vec<_> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..).take(events.len()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_hook_hangs_up_on_an_event_before_the_stream() {
    let robot = hanging_up(EventName::Accepted, "phone_call.answered_by == null && metadata.robots == null");
    let world = World::new(robot, FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::AgentEnded);
    phone.closed().await;
}
