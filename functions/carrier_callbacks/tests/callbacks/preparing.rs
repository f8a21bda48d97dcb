//! The clips of an inbound call are in the bucket when the call is answered.

use axum::http::StatusCode;
use switchboard_model::{
    agents::{Agent, AgentConfig},
    clips::ClipSet,
    conversations::LegState,
    ids::{AgentId, ConversationId, PhoneNumberId},
    phone_numbers::PhoneNumber,
};

use crate::world::{ACCOUNT, World, at, ids, send, signed};

const AGENT: &str = "agt_01JD9XQ4T0000000000000000A";

fn greeter(greeting: &str) -> AgentConfig {
    AgentConfig { initial_message: Some(greeting.to_owned()), ..AgentConfig::default() }
}

impl World {
    /// With a number of this agent.
    async fn with_agent(agent: AgentConfig) -> Self {
        let world = Self::new().await;
        let (account, _) = ids();
        let id: AgentId = AGENT.parse().unwrap();
        world.table.create_agent(&Agent::new(id, account, agent, at(0))).await.unwrap();
        let number = "+14155550199".parse().unwrap();
        let number = PhoneNumber::coming(PhoneNumberId::new(at(0), 1), account, number, None, at(0));
        let number = PhoneNumber { inbound_agent_id: Some(id), ..number.arrived(format!("PN{:032}", 1)) };
        world.table.add_phone_number(&number).await.unwrap();
        world
    }

    /// The characters that a call has used when it is answered.
    async fn answer(&self, number: u32) -> u64 {
        let sid = format!("CA{number:032}");
        let form = format!(
            "CallSid={sid}&CallStatus=ringing&Direction=inbound&From=%2B14155550100&To=%2B14155550199"
        );
        let (status, twiml) = send(&self.router, signed(&format!("/twilio/{ACCOUNT}/inbound"), &form)).await;
        assert!(status == StatusCode::OK && twiml.contains("<Stream"), "{twiml}");
        let (account, _) = ids();
        let id = ConversationId::of_call(account, &sid);
        let conversation = self.table.conversation(account, id).await.unwrap().unwrap().conversation;
        assert!(matches!(conversation.legs.caller().state, LegState::Answered { .. }), "{conversation:?}");
        conversation.usage.characters
    }
}

#[tokio::test]
async fn clips_are_synthesized_once_for_all_calls() {
    let agent = greeter("Hello, this is the bakery.");
    let world = World::with_agent(agent.clone()).await;
    let sets = switchboard_calls::clip_sets(&agent, &agent.voice);
    assert_eq!(world.answer(1).await, sets.iter().map(ClipSet::characters).sum::<u64>(), "it is paid for");
    let texts: usize = sets.iter().map(|set| set.texts.len()).sum();
    assert_eq!(world.spoken.lock().unwrap().len(), texts);
    for set in &sets {
        let clips = world.clips.load(ids().0, set).await.unwrap().unwrap();
        assert!(set.texts.iter().all(|text| clips[text] == text.as_bytes()));
    }
    assert_eq!(world.answer(2).await, 0);
    assert_eq!(world.spoken.lock().unwrap().len(), texts);
}

#[tokio::test]
async fn a_failed_voice_does_not_prevent_an_answer() {
    let agent = greeter("Refuse this.");
    let world = World::with_agent(agent.clone()).await;
    let sets = switchboard_calls::clip_sets(&agent, &agent.voice);
    assert_eq!(world.answer(1).await, sets[1].characters(), "what was refused is not paid");
    assert!(world.clips.load(ids().0, &sets[0]).await.unwrap().is_none());
    assert!(world.clips.load(ids().0, &sets[1]).await.unwrap().is_some());
}
