//! Answering machine detection (AMD) by the carrier, requested for agents with a filter on its result.

use axum::http::StatusCode;
use switchboard_filters::Filter;
use switchboard_model::{
    agents::AgentConfig,
    conversations::{LegId, State},
    event_names::EventName,
    hooks::{Hook, Instruction},
};

use crate::world::{ACCOUNT, SID, World, at, call_id, fields, ids, request, send};

const OK: (StatusCode, String) = (StatusCode::OK, String::new());

impl World {
    async fn detected(&self, who: &str) -> (StatusCode, String) {
        self.post("amd", &format!("CallSid={SID}&AnsweredBy={who}&MachineDetectionDuration=2600")).await
    }

    async fn answered_by(&self) -> Option<String> {
        self.conversation().await.legs.caller().phone_call.clone().unwrap().answered_by
    }
}

#[tokio::test]
async fn the_sample_of_a_verdict_arrives_through_the_gateway() {
    let world = World::new().await;
    let sample = include_str!("../../../../events/http_twilio_amd.json");
    assert_eq!(world.sample(sample).await, OK);
    assert_eq!(world.answered_by().await.as_deref(), Some("machine_start"));
    assert!(world.event_names().await.is_empty());
}

#[tokio::test]
async fn a_verdict_is_written_once_beside_a_live_lease() {
    let world = World::started("a", 3).await;
    assert_eq!(world.detected("machine_start").await, OK);
    let before = world.conversation().await;
    assert!(matches!(before.state, State::Started { .. }), "{before:?}");
    for again in ["machine_start", "human"] {
        assert_eq!(world.detected(again).await, OK);
    }
    assert_eq!(world.conversation().await, before);
    let (account, id) = ids();
    assert_eq!(
        world.table.lease(account, id).await.unwrap().unwrap().holder,
        "a",
        "it is still the worker's"
    );
}

#[tokio::test]
async fn a_verdict_on_an_ended_or_unknown_call_changes_nothing() {
    let world = World::new().await;
    assert_eq!(world.report(&fields("in-progress", "")).await, OK);
    let answered = world.conversation().await;
    let another = format!("CallSid=CA{}&AnsweredBy=human", "f".repeat(32));
    assert_eq!(world.post("amd", &another).await, OK);
    assert_eq!(world.conversation().await, answered);
    assert_eq!(world.report(&fields("completed", "&CallDuration=3")).await, OK);
    let over = world.conversation().await;
    assert!(over.ended().is_some());
    assert_eq!(world.detected("human").await, OK);
    assert_eq!(world.conversation().await, over);
}

#[tokio::test]
async fn a_forged_or_empty_verdict_is_refused() {
    let world = World::new().await;
    let path = format!("/twilio/{ACCOUNT}/{}/amd", ids().1);
    let forged = request(&path, &format!("CallSid={SID}&AnsweredBy=human"), "AAAA");
    assert_eq!(send(&world.router, forged).await.0, StatusCode::FORBIDDEN);
    for nothing in ["", "two words", "<script>"] {
        assert_eq!(world.detected(nothing).await.0, StatusCode::BAD_REQUEST, "{nothing}");
    }
    assert_eq!(world.answered_by().await, None);
}

#[tokio::test]
async fn filters_see_the_verdict_from_the_next_event_on() {
    let world = World::new().await;
    let filter = Some(Filter::parse("phone_call.answered_by == 'machine_start'").unwrap());
    let (events, instructions) = (vec![EventName::Started], vec![Instruction::HangUp]);
    let agent = AgentConfig { hooks: vec![Hook { events, filter, instructions }], ..AgentConfig::default() };
    assert_eq!(world.report(&fields("in-progress", "")).await, OK);
    assert!(!world.conversation().await.hook_hangs_up(&agent, EventName::Started));
    assert_eq!(world.detected("machine_start").await, OK);
    let conversation = world.conversation().await;
    assert!(conversation.hook_hangs_up(&agent, EventName::Started));
    let started = conversation.mark_started(LegId::CALLER, &agent, &call_id(SID), at(4)).unwrap();
    assert!(started.events.iter().any(|event| event.name == EventName::Started));
}
