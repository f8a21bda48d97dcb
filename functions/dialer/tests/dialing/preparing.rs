//! Clips are prepared before a call is placed, but they delay no call for long.

use std::time::Duration;

use switchboard_filters::Filter;
use switchboard_model::{
    agents::{AgentConfig, Voice},
    clips::ClipSet,
    conversations::{EndedReason, State},
    costs::Prices,
    credentials::{Credential, Provider},
    event_names::EventName,
    hooks::Hook,
    ids::CredentialId,
    secrets::Secret,
    webhooks::{Webhook, WebhookMethod},
};
use switchboard_runtime as system;
use tokio::time::timeout;

use crate::world::{Says, World, event, failures};

/// Longer than any wait of these tests, on any machine.
const TIME_LIMIT: Duration = Duration::from_mins(1);

fn greeter() -> AgentConfig {
    AgentConfig { initial_message: Some("Hello, this is the bakery.".into()), ..AgentConfig::default() }
}

fn texts(agent: &AgentConfig) -> Vec<String> {
    switchboard_calls::clip_sets(agent, &agent.voice).into_iter().flat_map(|set| set.texts).collect()
}

fn characters(agent: &AgentConfig) -> u64 {
    switchboard_calls::clip_sets(agent, &agent.voice).iter().map(ClipSet::characters).sum()
}

impl World {
    /// Resolves once the requests that arrived fulfil `is_so`.
    async fn until(&self, is_so: impl Fn(&crate::world::Seen) -> bool) {
        let looking = async {
            while !is_so(&self.seen()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TIME_LIMIT, looking).await.expect("it happens");
    }

    async fn has_clips_of(&self, agent: &AgentConfig) -> bool {
        for set in switchboard_calls::clip_sets(agent, &agent.voice) {
            let Some(clips) = self.dialer.preparation.clips.load(self.job.account_id, &set).await.unwrap()
            else {
                return false;
            };
            assert!(set.texts.iter().all(|text| clips[text].ends_with(text.as_bytes())));
        }
        true
    }
}

#[tokio::test]
async fn clips_are_synthesized_once_for_all_calls() {
    let world = World::new(greeter()).await;
    assert!(world.deliver().await.is_empty());
    let mut spoken: Vec<_> = world.seen().spoken.iter().map(|(text, _)| text.clone()).collect();
    spoken.sort();
    let mut expected = texts(&greeter());
    expected.sort();
    assert_eq!(spoken, expected);
    assert!(world.has_clips_of(&greeter()).await);
    assert_eq!(world.conversation().await.usage.characters, characters(&greeter()), "it is paid for");

    let (id, again) = world.another_call().await;
    assert!(failures(&world.dialer.handle(event(&again)).await).is_empty());
    {
        let seen = world.seen();
        assert_eq!((seen.spoken.len(), seen.calls.len()), (expected.len(), 2));
    }
    let second = world.table.conversation(world.job.account_id, id).await.unwrap().unwrap();
    assert_eq!(second.conversation.usage.characters, 0);
}

#[tokio::test]
async fn a_failed_voice_delays_no_call_and_costs_nothing() {
    let world = World::new(greeter()).await;
    world.seen().voice = Says::Nothing;
    assert!(world.deliver().await.is_empty());
    let conversation = world.conversation().await;
    assert!(conversation.legs.caller().carrier_call_id().is_some());
    assert_eq!(conversation.usage.characters, 0);
    assert!(world.objects.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_unreachable_bucket_delays_no_call() {
    let mut world = World::new(greeter()).await;
    let nobody =
        switchboard_aws::table::testing::config(&switchboard_testkit::server::unused_url().await).await;
    world.dialer.preparation.clips = switchboard_aws::clips::Clips::new(&nobody, "recordings".into());
    assert!(world.deliver().await.is_empty());
    assert!(world.conversation().await.legs.caller().carrier_call_id().is_some());
    assert_eq!(world.seen().spoken.len(), 0, "what cannot be kept is not spoken");
}

#[tokio::test]
async fn a_slow_voice_delays_the_call_briefly_and_completes_its_clips() {
    let world = World::new(greeter()).await;
    world.seen().voice = Says::Little;
    let placed = async {
        world.until(|seen| !seen.calls.is_empty()).await;
        assert_eq!(world.conversation().await.usage.characters, characters(&greeter()));
        assert!(!world.has_clips_of(&greeter()).await);
        world.seen().voice = Says::Everything;
    };
    let (failures, ()) = tokio::join!(world.deliver(), placed);
    assert!(failures.is_empty());
    assert!(world.has_clips_of(&greeter()).await);
    assert_eq!(world.seen().calls.len(), 1);
}

#[tokio::test]
async fn a_call_that_ends_during_preparation_is_not_placed() {
    let world = World::new(greeter()).await;
    world.seen().voice = Says::Little;
    let ending = async {
        world.until(|seen| !seen.spoken.is_empty()).await;
        world
            .change(|now| {
                let (usage, prices) = (&now.conversation.usage, Prices::default());
                now.conversation.end(&now.agent, EndedReason::AgentEnded, &[], usage, &prices, system::now())
            })
            .await;
        world.seen().voice = Says::Everything;
    };
    let (failures, ()) = tokio::join!(world.deliver(), ending);
    assert!(failures.is_empty());
    assert_eq!(world.seen().calls.len(), 0);
    assert!(matches!(world.conversation().await.state, State::Ended { .. }));
}

#[tokio::test]
async fn a_customers_voice_uses_the_customers_key() {
    let id = CredentialId::new(system::now(), 1);
    let voice = Voice::Deepgram { model: "aura-2-zeus-en".into(), credential_id: Some(id) };
    let world = World::new(AgentConfig { voice, ..greeter() }).await;
    let account_id = world.job.account_id;
    let key = Secret::new("of-the-customer");
    let sealed = world.dialer.backend.sealer.seal((account_id, &id.to_string()), &key).await.unwrap();
    let credential = Credential {
        id,
        account_id,
        provider: Provider::Deepgram,
        last4: "omer".into(),
        region: None,
        user_id: None,
        base_url: None,
        created_at: system::now(),
    };
    world.table.create_credential(&credential, sealed).await.unwrap();
    assert!(world.deliver().await.is_empty());
    let seen = world.seen();
    assert!(!seen.spoken.is_empty() && seen.spoken.iter().all(|(_, key)| key == "Token of-the-customer"));
}

#[tokio::test]
async fn a_deleted_voice_key_is_not_replaced_and_the_call_is_placed() {
    let voice = Voice::Deepgram {
        model: "aura-2-zeus-en".into(),
        credential_id: Some(CredentialId::new(system::now(), 1)),
    };
    let world = World::new(AgentConfig { voice, ..greeter() }).await;
    assert!(world.deliver().await.is_empty());
    let seen = world.seen();
    assert_eq!((seen.spoken.len(), seen.calls.len()), (0, 1));
}

#[tokio::test]
async fn amd_is_requested_only_if_a_filter_reads_its_result() {
    let hook = |filter: &str| Hook {
        events: vec![EventName::Started],
        filter: Some(Filter::parse(filter).unwrap()),
        instructions: vec![],
    };
    let webhook = |filter: &str| Webhook {
        events: vec![EventName::Ended],
        url: "https://example.com/".into(),
        method: WebhookMethod::Post,
        headers: None,
        filter: Some(Filter::parse(filter).unwrap()),
    };
    let (asks, asks_not) = ("phone_call.answered_by != 'human'", "metadata.note == 'answered_by'");
    for (agent, is_requested) in [
        (AgentConfig::default(), false),
        (AgentConfig { hooks: vec![hook(asks_not)], ..AgentConfig::default() }, false),
        (AgentConfig { hooks: vec![hook(asks_not), hook(asks)], ..AgentConfig::default() }, true),
        (AgentConfig { webhooks: vec![webhook(asks)], ..AgentConfig::default() }, true),
    ] {
        let world = World::new(agent).await;
        assert!(world.deliver().await.is_empty());
        let call = world.seen().calls[0].clone();
        let field = |name: &str| call.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(field("MachineDetection"), is_requested.then_some("Enable"));
        assert_eq!(field("AsyncAmd"), is_requested.then_some("true"));
        let (status, _) = field("StatusCallback").unwrap().split_once('#').unwrap();
        let callback = status.replace("/status", "/amd");
        assert_eq!(field("AsyncAmdStatusCallback"), is_requested.then_some(&*callback));
    }
}
