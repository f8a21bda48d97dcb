//! A provider that fails is replaced within the turn, noted once, and not billed for what another one served.

use switchboard_model::{
    agents::{AgentConfig, LanguageModel, ModelSettings, Voice},
    catalogue::Service,
    costs::{CostBreakdown, Usd},
    ids::ConversationId,
};

use super::providers::ScriptedProviders;
use crate::prelude::*;

const ANOTHER: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1";

/// Ends the call, and returns its cost.
async fn cost(world: &World, phone: &Phone) -> CostBreakdown {
    phone.send(STOP).await;
    phone.closed().await;
    let (ended, _) = world.conversation.ended().await;
    ended.ended().unwrap().2.clone()
}

/// The providers and models that served a role, with what they cost.
fn served(cost: &CostBreakdown, role: Service) -> Vec<(&str, &str, String)> {
    let served = cost.served_by.iter().filter(|served| served.role == role);
    served.map(|one| (one.provider.as_str(), one.model.as_str(), one.cost.to_string())).collect()
}

/// Asks twice, and waits for both answers of these providers.
async fn ask_twice(world: &World, hears: &ScriptedProviders, thinks: &ScriptedProviders) {
    for (count, words) in [(2, "At six in the evening."), (4, "On Sunday we are closed.")] {
        thinks.respond_with(Response::Words(words));
        hears.transcribe("When do you close?").await;
        assert_eq!(world.conversation.until_messages(count).await.last().unwrap().content, words);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_refuses_is_replaced_in_the_same_turn() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let other = world.providers.add_stand_in();
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Refused);
    ask_twice(&world, &world.providers, &other).await;
    assert_eq!(
        world.providers.requests().generations.len(),
        1,
        "each turn does not pay the failing one again"
    );
    let cost = cost(&world, &phone).await;
    let note = "language model openai: refused the request (401); google (gemini-3.5-flash-lite) serves";
    let faults = world.conversation.faults().await;
    let noted: Vec<_> = faults.iter().filter(|fault| fault.starts_with("language model")).collect();
    assert_eq!(noted, [note], "once, without the vendor's explanation");
    // Two responses of 100 tokens in at 0.30 and 10 out at 2.50 a million.
    assert_eq!((cost.language_model.provider.as_str(), cost.language_model.input_tokens), ("google", 200));
    assert_eq!(cost.language_model.cost.to_string(), "0.000110");
    let google = ("google", "gemini-3.5-flash-lite", "0.000110".to_owned());
    assert_eq!(served(&cost, Service::LanguageModel), [google]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_begins_to_fail_is_billed_for_what_it_served() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let other = world.providers.add_stand_in();
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    for response in [Response::Words("At six in the evening."), Response::Failure, Response::Failure] {
        world.providers.respond_with(response);
    }
    world.providers.transcribe("When do you close?").await;
    world.conversation.until_messages(2).await;
    other.respond_with(Response::Words("On Sunday we are closed."));
    world.providers.transcribe("And on Sunday?").await;
    world.conversation.until_messages(4).await;
    assert_eq!(world.providers.requests().generations.len(), 3, "a failing server is asked twice");
    let cost = cost(&world, &phone).await;
    // 100 tokens in and 10 out each: at 0.10 and 0.50, at 0.30 and 2.50 a million.
    let expected = [
        ("openai", "gpt-6-luna", "0.000015".to_owned()),
        ("google", "gemini-3.5-flash-lite", "0.000055".to_owned()),
    ];
    assert_eq!(served(&cost, Service::LanguageModel), expected);
    assert_eq!(cost.language_model.cost.to_string(), "0.000070");
    assert_eq!(cost.language_model.provider, "openai", "of two that served alike, the agent's own");
}

#[tokio::test(start_paused = true)]
async fn a_voice_that_fails_is_replaced_for_the_rest_of_the_call() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let other = world.providers.add_stand_in();
    world.providers.fail_voice(VoiceFault::Refused);
    world.providers.fail_voice(VoiceFault::Refused);
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    assert_eq!(world.conversation.until_messages(1).await[0].content, "Hello, this is Ada.");
    world.providers.respond_with(Response::Words("At six in the evening."));
    world.providers.transcribe("When do you close?").await;
    world.conversation.until_messages(3).await;
    assert_eq!(world.providers.requests().clauses.len(), 2, "both for the greeting");
    assert_eq!(other.requests().clauses[..2], ["Hello, this is Ada.", "At six in the evening."]);
    let cost = cost(&world, &phone).await;
    let faults = world.conversation.faults().await;
    assert!(
        faults.contains(&"voice deepgram: 503; deepgram (aura-2-zeus-en) serves".to_owned()),
        "{faults:?}"
    );
    let [(_, voice, _)] = &served(&cost, Service::Voice)[..] else { panic!("{cost:?}") };
    assert_eq!(*voice, "aura-2-zeus-en");
    assert_eq!(cost.voice.characters, 41);
}

#[tokio::test(start_paused = true)]
async fn a_silent_voice_is_replaced_before_the_clause_is_given_up() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let other = world.providers.add_stand_in();
    world.providers.fail_voice(VoiceFault::Silent);
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    assert_eq!(world.conversation.until_messages(1).await[0].content, "Hello, this is Ada.");
    assert_eq!((world.providers.requests().clauses.len(), other.requests().clauses.len()), (1, 1));
    cost(&world, &phone).await;
    let faults = world.conversation.faults().await;
    let expected = "voice deepgram: it sent nothing for 1500 ms; deepgram (aura-2-zeus-en) serves";
    assert!(faults.contains(&expected.to_owned()), "{faults:?}");
    assert!(!faults.iter().any(|fault| fault.contains("no audio in time")), "{faults:?}");
}

#[tokio::test(start_paused = true)]
async fn a_transcriber_that_refuses_is_replaced_and_costs_nothing() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let other = world.providers.add_stand_in();
    world.providers.refuse_session(403);
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    ask_twice(&world, &other, &world.providers).await;
    let cost = cost(&world, &phone).await;
    let faults = world.conversation.faults().await;
    assert!(
        faults.contains(&"transcriber deepgram: refused the request (403); azure serves".to_owned()),
        "{faults:?}"
    );
    assert_eq!((cost.transcriber.provider.as_str(), world.providers.requests().audio_bytes), ("azure", 0));
    assert_eq!(cost.transcriber.ms, other.requests().audio_bytes / 8);
    assert_eq!(served(&cost, Service::Transcriber).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transcriber_that_is_lost_in_the_call_is_billed_up_to_then() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let other = world.providers.add_stand_in();
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Words("At six in the evening."));
    world.providers.transcribe("When do you close?").await;
    for _ in 0..40 {
        phone.send(MEDIA).await;
    }
    world.conversation.until_messages(2).await;
    world.providers.until("the audio", |requests| requests.audio_bytes >= 40 * 160).await;
    world.providers.close_transcriber();
    world.providers.respond_with(Response::Words("On Sunday we are closed."));
    other.transcribe("And on Sunday?").await;
    world.conversation.until_messages(4).await;
    let cost = cost(&world, &phone).await;
    let roles = served(&cost, Service::Transcriber);
    assert_eq!(roles.iter().map(|(provider, ..)| *provider).collect::<Vec<_>>(), ["deepgram", "azure"]);
    let heard = world.providers.requests().audio_bytes + other.requests().audio_bytes;
    assert_eq!(cost.transcriber.ms, heard / 8);
    let sum = cost.served_by.iter().filter(|one| one.role == Service::Transcriber);
    assert_eq!(sum.map(|one| one.cost).fold(Usd::ZERO, std::ops::Add::add), cost.transcriber.cost);
}

#[tokio::test(start_paused = true)]
async fn the_next_call_of_the_worker_does_not_ask_the_failing_provider() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let other = world.providers.add_stand_in();
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Refused);
    ask_twice(&world, &world.providers, &other).await;
    let id: ConversationId = ANOTHER.parse().unwrap();
    world.conversation.answer(id, quiet()).await;
    let _second = Phone::with(&worker.address, "conversation_id", ANOTHER).await;
    world.providers.until("both sessions", |requests| requests.open_sessions == 2).await;
    for _ in 0..2 {
        other.respond_with(Response::Words("At six in the evening."));
    }
    // Both calls hear it.
    world.providers.transcribe("When do you close?").await;
    other.until("a response for each call", |requests| requests.generations.len() == 4).await;
    assert_eq!(world.providers.requests().generations.len(), 1);
    let faults = world
        .conversation
        .poll("a note", async || {
            let events = world.conversation.table.events(world.conversation.account, id, 0, 100);
            let faults =
                events.await.unwrap().0.into_iter().flat_map(|event| event.faults).collect::<Vec<_>>();
            (!faults.is_empty()).then_some(faults)
        })
        .await;
    let note = "language model openai: refused the request (401), a short time ago; google (gemini-3.5-flash-lite) \
                serves";
    assert_eq!(faults, [note]);
}

/// Runs a call of one turn in a deployment without keys for the agent's providers, and returns its cost and its notes.
async fn call_without_keys(agent: AgentConfig) -> (CostBreakdown, Vec<String>) {
    let world = World::new(agent, FAST_VOICE).await;
    let other = world.providers.add_stand_in();
    world.providers.lose_keys();
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    other.respond_with(Response::Words("At six in the evening."));
    other.transcribe("When do you close?").await;
    assert_eq!(world.conversation.until_messages(2).await[1].content, "At six in the evening.");
    let cost = cost(&world, &phone).await;
    let asked = world.providers.requests();
    assert_eq!((asked.generations.len(), asked.clauses.len(), asked.audio_bytes), (0, 0, 0));
    (cost, world.conversation.faults().await)
}

#[tokio::test(start_paused = true)]
async fn every_model_of_the_api_runs_without_its_vendor() {
    for model in [
        "gpt-3.5-turbo",
        "gpt-3.5-turbo-0125",
        "gpt-3.5-turbo-1106",
        "gpt-3.5-turbo-16k",
        "gpt-3.5-turbo-0613",
        "gpt-4-turbo",
        "gpt-4-turbo-2024-04-09",
        "gpt-4-turbo-preview",
        "gpt-4-0125-preview",
        "gpt-4-1106-preview",
        "gpt-4-0613",
        "gpt-4",
        "gpt-4o",
    ] {
        let settings = ModelSettings { model: model.into(), ..quiet().language_model.settings().clone() };
        let agent = AgentConfig { language_model: LanguageModel::Openai(settings), ..quiet() };
        let (cost, notes) = call_without_keys(agent).await;
        assert_eq!(cost.language_model.provider, "google", "{model}");
        assert!(cost.language_model.cost > Usd::ZERO, "{model}");
        let note = "language model openai: this deployment has no key for it, so google (gemini-3.5-flash-lite) \
                    serves";
        assert_eq!(notes.iter().filter(|one| *one == note).count(), 1, "{model}: {notes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_playht_voice_of_the_api_runs_without_its_vendor() {
    for model in ["susan", "william", "phoebe", "arthur", "ayla", "dylan", "madelyn", "oliver", "sophia"] {
        let voice = Voice::Playht {
            model: model.into(),
            speed: 1.0,
            temperature: None,
            text_guidance: None,
            style_guidance: None,
            credential_id: None,
        };
        let (cost, notes) = call_without_keys(AgentConfig { voice, ..quiet() }).await;
        assert_eq!(cost.voice.provider, "deepgram", "{model}");
        assert!(cost.voice.characters > 0 && cost.voice.cost > Usd::ZERO, "{model}");
        assert!(notes.iter().any(|note| note.starts_with("voice ") && note.contains("serves")), "{notes:?}");
    }
}
