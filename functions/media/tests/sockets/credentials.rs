//! Calls that use the customer's own keys.

use switchboard_contract::credentials::CreateCredential;
use switchboard_model::{
    agents::{AgentConfig, LanguageModel, ModelSettings, Transcriber, Voice},
    conversations::EndedReason,
    costs::Usd,
    credentials::{Credential, Provider},
    ids::CredentialId,
    secrets::Secret,
};

use crate::prelude::*;

pub(crate) const MODEL: &str = "crd_01JD9XQ4T0000000000000000A";
pub(crate) const TRANSCRIBER: &str = "crd_01JD9XQ4T0000000000000000B";
pub(crate) const VOICE: &str = "crd_01JD9XQ4T0000000000000000C";

fn id(text: &str) -> CredentialId {
    text.parse().unwrap()
}

fn agent() -> AgentConfig {
    let LanguageModel::Openai(settings) = quiet().language_model else { panic!("it is OpenAI's") };
    AgentConfig {
        initial_message: Some("Hello, this is Ada.".to_owned()),
        language_model: LanguageModel::Openai(ModelSettings { credential_id: Some(id(MODEL)), ..settings }),
        transcriber: Transcriber::Deepgram {
            model: "nova-3".into(),
            language: "en".into(),
            keywords: vec![],
            credential_id: Some(id(TRANSCRIBER)),
        },
        voice: Voice::Deepgram { model: "aura-2-thalia-en".into(), credential_id: Some(id(VOICE)) },
        ..quiet()
    }
}

pub(crate) async fn store(
    world: &World,
    text: &str,
    provider: Provider,
    key: &str,
    base_url: Option<String>,
) {
    let sealed = world.sealer.seal((world.conversation.account, text), &Secret::new(key)).await.unwrap();
    // A key of PlayHT's belongs to a user.
    let user_id = (provider == Provider::Playht).then(|| "sandbox-playht-user".to_owned());
    let region = None;
    let new = CreateCredential { provider, api_key: Secret::new(key), region, user_id, base_url };
    let credential = new.credential(id(text), world.conversation.account, now());
    world.conversation.table.create_credential(&credential, sealed).await.unwrap();
}

/// Runs a call of one turn, which the caller then hangs up.
async fn talk(world: &World) {
    let worker = world.worker().await;
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    world.vendors.respond_with(Response::Words("At six."));
    world.vendors.transcribe("When do you close?").await;
    let said = world.conversation.until_messages(3).await;
    assert_eq!(said[2].content, "At six.");
    phone.send(STOP).await;
    phone.closed().await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
}

#[tokio::test]
async fn every_vendor_gets_the_customers_key_and_costs_nothing() {
    let world = World::new(agent(), FAST_VOICE).await;
    store(&world, MODEL, Provider::Openai, "key-to-think", None).await;
    store(&world, TRANSCRIBER, Provider::Deepgram, "key-to-hear", None).await;
    store(&world, VOICE, Provider::Deepgram, "key-to-speak", None).await;
    talk(&world).await;
    let expected = [
        ("/v1/chat/completions", "Bearer key-to-think"),
        ("/v1/listen", "Token key-to-hear"),
        ("/v1/speak", "Token key-to-speak"),
    ];
    let used = world.vendors.requests().keys;
    assert_eq!(used, expected.map(|(path, key)| (path.to_owned(), key.to_owned())).into());
    let (ended, _) = world.conversation.ended().await;
    let (_, _, cost) = ended.ended().unwrap();
    assert_eq!([cost.language_model.cost, cost.transcriber.cost, cost.voice.cost], [Usd::ZERO; 3]);
    assert!(cost.language_model.input_tokens > 0 && cost.transcriber.ms > 0 && cost.voice.characters > 0);
}

#[tokio::test]
async fn a_customers_own_server_gets_the_configured_model_name() {
    let LanguageModel::Openai(settings) = agent().language_model else { panic!("it is OpenAI's") };
    let model = ModelSettings { model: "gpt-4".into(), ..settings };
    let agent = AgentConfig { language_model: LanguageModel::Openai(model), ..quiet() };
    let world = World::new(agent, FAST_VOICE).await;
    let url = format!("{}/v1", world.vendors.url);
    store(&world, MODEL, Provider::Openai, "key-to-think", Some(url)).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(&worker.address).await;
    world.vendors.respond_with(Response::Words("At six."));
    world.vendors.transcribe("When do you close?").await;
    world.conversation.until_messages(2).await;
    assert_eq!(
        world.vendors.requests().generations[0]["model"],
        "gpt-4",
        "the agent's model and not its fallback"
    );
}

#[tokio::test]
async fn a_fallback_uses_and_bills_the_deployments_key() {
    let voice = Voice::Playht {
        model: "susan".into(),
        speed: 1.0,
        temperature: None,
        text_guidance: None,
        style_guidance: None,
        credential_id: Some(id(VOICE)),
    };
    let world = World::new(AgentConfig { voice, ..quiet() }, FAST_VOICE).await;
    store(&world, VOICE, Provider::Playht, "key-of-playht", None).await;
    let worker = world.worker().await;
    let phone = Phone::connect(&worker.address).await;
    world.vendors.respond_with(Response::Words("At six."));
    world.vendors.transcribe("When do you close?").await;
    world.conversation.until_messages(2).await;
    phone.send(STOP).await;
    phone.closed().await;
    let keys = world.vendors.requests().keys;
    assert!(keys.contains(&("/v1/speak".to_owned(), "Token d".to_owned())), "{keys:?}");
    assert!(keys.iter().all(|(_, key)| !key.contains("playht")), "{keys:?}");
    let (ended, _) = world.conversation.ended().await;
    let (_, _, cost) = ended.ended().unwrap();
    assert_eq!(cost.voice.provider, "deepgram");
    assert!(cost.voice.cost > Usd::ZERO);
}

#[tokio::test]
async fn a_deleted_credential_ends_the_call_without_another_key() {
    let world = World::new(agent(), FAST_VOICE).await;
    store(&world, MODEL, Provider::Openai, "key-to-think", None).await;
    store(&world, TRANSCRIBER, Provider::Deepgram, "key-to-hear", None).await;
    let worker = world.worker().await;
    let phone = Phone::connect(&worker.address).await;
    phone.closed().await;
    let (ended, reason) = world.conversation.ended().await;
    assert_eq!(reason, EndedReason::Unknown);
    let requests = world.vendors.requests();
    let call = ended.legs.caller().carrier_call_id().unwrap();
    assert_eq!(requests.changed_calls[0].0, call.id(), "the worker hung up");
    assert_eq!(requests.keys, [].into());
    let events = world.conversation.events().await;
    assert_eq!(events.last().unwrap().name.as_str(), "conversation:ended");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_sealed_for_another_credential_is_not_used() {
    let world = World::new(agent(), FAST_VOICE).await;
    store(&world, MODEL, Provider::Openai, "key-to-think", None).await;
    store(&world, TRANSCRIBER, Provider::Deepgram, "key-to-hear", None).await;
    let stored =
        world.conversation.table.credential(world.conversation.account, id(TRANSCRIBER)).await.unwrap();
    let (other, sealed) = stored.unwrap();
    let moved = Credential { id: id(VOICE), ..other };
    world.conversation.table.create_credential(&moved, sealed).await.unwrap();
    let worker = world.worker().await;
    Phone::connect(&worker.address).await.closed().await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::Unknown);
    assert_eq!(world.vendors.requests().keys, [].into());
}

/// Runs a call whose key for one role was revoked, until its event log names the key.
async fn call_with_a_revoked_key(key: &'static str, expected: &str) {
    // A caller who hears no voice waits: nothing else is stored before the end.
    let max_duration_seconds = (key == "key-to-speak").then_some(2);
    let world = World::new(AgentConfig { max_duration_seconds, ..agent() }, FAST_VOICE).await;
    store(&world, MODEL, Provider::Openai, "key-to-think", None).await;
    store(&world, TRANSCRIBER, Provider::Deepgram, "key-to-hear", None).await;
    store(&world, VOICE, Provider::Deepgram, "key-to-speak", None).await;
    world.vendors.revoke(key);
    let worker = world.worker().await;
    let _phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    if key != "key-to-hear" {
        world.vendors.transcribe("When do you close?").await;
        world.conversation.until_messages(1).await;
    }
    let revoked = move |used: &(String, String)| used.1.ends_with(key);
    world.vendors.until("a refused request", |requests| requests.keys.iter().any(revoked)).await;
    let named = async || {
        let faults = world.conversation.faults().await;
        faults.iter().any(|fault| fault == expected).then_some(())
    };
    world.conversation.poll(expected, named).await;
    // Nothing was asked with the deployment's key for the same vendor.
    let keys = world.vendors.requests().keys;
    assert!(keys.iter().all(|(_, key)| key.contains("key-to-")), "{keys:?}");
}

#[tokio::test]
async fn a_revoked_key_of_the_model_is_named_and_not_replaced() {
    let expected = format!("language model openai with {MODEL}: refused the request (401)");
    call_with_a_revoked_key("key-to-think", &expected).await;
}

#[tokio::test]
async fn a_revoked_key_of_the_transcriber_is_named_and_not_replaced() {
    let expected = format!("transcriber deepgram with {TRANSCRIBER}: refused the request (401)");
    call_with_a_revoked_key("key-to-hear", &expected).await;
}

#[tokio::test]
async fn a_revoked_key_of_the_voice_is_named_and_not_replaced() {
    let expected = format!("voice deepgram with {VOICE}: refused the request (401)");
    call_with_a_revoked_key("key-to-speak", &expected).await;
}
