//! Every transcriber with every language model and every voice: a call each, against the sandbox's servers, which are as
//! strict as the vendors'.
//!
//! The speech is canned: the sandbox recognises a question in any speech, and its voices say the same sound. What is
//! tested is each pair of our adapter and the vendor's protocol, in a whole call.

use std::{collections::BTreeMap, iter, time::Duration};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use switchboard_contract::agents;
use switchboard_model::{
    catalogue::{self, Service},
    conversations::EndedReason,
    costs::{CostBreakdown, Usd},
    credentials::Provider,
    egress_policy::EgressPolicy,
    messages::Role,
    recording,
};
use switchboard_providers::{Providers, egress, endpoints::Endpoints, keys::Keys};
use switchboard_sandbox::{Engines, Load, Sandbox};

use tokio::time::interval;

use crate::{
    credentials::{MODEL, TRANSCRIBER, VOICE, store},
    prelude::*,
    support::phone::browser_start,
};

const TRANSCRIBERS: [(&str, &str); 3] =
    [("deepgram", "nova-3"), ("deepgram", "flux-general-en"), ("azure", "")];
const MODELS: [&str; 2] = ["openai", "google"];
const VOICES: [&str; 5] = ["playht", "elevenlabs", "azure", "rimeai", "deepgram"];
/// Calls at the same time: enough to be quick, few enough for two cores.
const AT_ONCE: usize = 4;

/// The providers of one call.
#[derive(Debug, Clone, Copy)]
struct Combination {
    transcriber: (&'static str, &'static str),
    model: &'static str,
    voice: &'static str,
}

impl Combination {
    fn all() -> Vec<Self> {
        let mut all = vec![];
        for transcriber in TRANSCRIBERS {
            for model in MODELS {
                all.extend(VOICES.map(|voice| Self { transcriber, model, voice }));
            }
        }
        all
    }

    /// The body with which the API is asked for the agent.
    fn agent(self) -> Value {
        let (transcriber, name) = self.transcriber;
        let mut voice = json!({ "provider": self.voice });
        if self.voice == "elevenlabs" {
            // The default voice and its model are retired.
            voice["voice_id"] = json!("sandboxVoiceAda00001");
            voice["model_id"] = json!("eleven_flash_v2_5");
        }
        let mut transcriber = json!({ "provider": transcriber });
        if !name.is_empty() {
            transcriber["model"] = json!(name);
        }
        json!({
            "initial_message": "Hello, this is Ada.",
            "prompt": "You are Ada.",
            "transcriber": transcriber,
            "language_model": { "provider": self.model },
            "voice": voice,
        })
    }

    /// The roles that other providers served than these.
    fn strangers(self, cost: &CostBreakdown) -> Vec<String> {
        let asked = BTreeMap::from([
            (Service::Transcriber, self.transcriber.0),
            (Service::LanguageModel, self.model),
            (Service::Voice, self.voice),
        ]);
        let served = cost.served_by.iter().map(|served| (served.role, served.provider.as_str()));
        let mut strangers: Vec<_> = served
            .filter(|(role, provider)| catalogue::connection(asked[role]) != catalogue::connection(provider))
            .map(|(role, provider)| format!("{role:?}: {provider}"))
            .collect();
        strangers.extend(
            asked
                .keys()
                .filter(|role| cost.served_by.iter().all(|served| served.role != **role))
                .map(|role| format!("{role:?}: none")),
        );
        strangers
    }
}

/// The sandbox's vendors, as a worker of its own with all their keys reaches them.
fn providers(sandbox: &Sandbox) -> Providers {
    let variables: BTreeMap<_, _> = sandbox
        .vendors
        .iter()
        .filter_map(|vendor| Some((catalogue::connection(vendor.name)?.url_variable, vendor.url.clone())))
        .collect();
    let of_vendors = sandbox.vendors.iter().flat_map(|vendor| vendor.keys).copied();
    // The phone of the tests signs with this one.
    let keys: BTreeMap<_, _> = of_vendors.chain([("twilio_auth_token", "t")]).collect();
    Providers {
        http: egress::client(),
        endpoints: Endpoints::from_vars(&|name| variables.get(name).cloned()).unwrap(),
        keys: Keys::parse(&json!(keys).to_string()).unwrap(),
    }
}

/// A call that was held.
struct Held {
    /// Everything that is wrong with it, whoever served.
    wrong: Vec<String>,
    cost: CostBreakdown,
    notes: Vec<String>,
}

/// Holds a call with a question and an answer. `own` are the customer's keys of the model, the transcriber and the voice.
async fn hold(combination: Combination, providers: Providers, own: Option<[&str; 3]>) -> Held {
    let mut agent = combination.agent();
    let blocks = ["language_model", "transcriber", "voice"].into_iter().zip([MODEL, TRANSCRIBER, VOICE]);
    for (block, id) in blocks.filter(|_| own.is_some()) {
        agent[block]["credential_id"] = json!(id);
    }
    let agent = agents::create(&agent, EgressPolicy::Local).into_valid().unwrap();
    let world = World::new(agent, FAST_VOICE).await;
    let named = [combination.model, combination.transcriber.0, combination.voice];
    for ((id, provider), key) in
        [MODEL, TRANSCRIBER, VOICE].into_iter().zip(named).zip(own.into_iter().flatten())
    {
        let provider = Provider::ALL.into_iter().find(|one| one.as_str() == provider).unwrap();
        store(&world, id, provider, key, None).await;
    }
    let worker = world.worker_of(providers).await;
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    let greeted = phone.received().audio().len();
    phone.say();
    let messages = world.conversation.until_messages(3).await;
    let answered = phone.received().audio().len();
    phone.send(STOP).await;
    let (ended, reason) = world.conversation.ended().await;
    let (_, _, cost) = ended.ended().unwrap();
    let mut wrong = vec![];
    let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
    if roles != [Role::Agent, Role::User, Role::Agent] {
        wrong.push(format!("messages: {messages:?}"));
    }
    if greeted == 0 || answered <= greeted {
        wrong.push(format!("{greeted} bytes of the greeting, {answered} with the answer"));
    }
    if reason != EndedReason::UserEnded {
        wrong.push(format!("ended: {reason:?}"));
    }
    Held { wrong, cost: cost.clone(), notes: world.conversation.faults().await }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_providers_holds_a_call() {
    let sandbox = Sandbox::start(Engines::Canned(Load::new())).await.unwrap();
    let calls = Combination::all().into_iter().map(async |combination| {
        let Held { mut wrong, cost, notes } = hold(combination, providers(&sandbox), None).await;
        wrong.extend(combination.strangers(&cost));
        // Not every vendor reports what it bills; and the times of the answers are no fault.
        let is_fault = |note: &String| !note.ends_with("an estimate") && !note.contains(": response p50 ");
        wrong.extend(notes.into_iter().filter(is_fault));
        (!wrong.is_empty()).then(|| format!("{combination:?}: {wrong:?}"))
    });
    let wrong: Vec<_> =
        stream::iter(calls).buffer_unordered(AT_ONCE).filter_map(async |wrong| wrong).collect().await;
    sandbox.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Calls in which every provider occurs.
const EACH_PROVIDER: [Combination; 5] = [
    Combination { transcriber: ("deepgram", "nova-3"), model: "openai", voice: "playht" },
    Combination { transcriber: ("azure", ""), model: "google", voice: "elevenlabs" },
    Combination { transcriber: ("deepgram", "flux-general-en"), model: "openai", voice: "azure" },
    Combination { transcriber: ("azure", ""), model: "openai", voice: "rimeai" },
    Combination { transcriber: ("deepgram", "nova-3"), model: "google", voice: "deepgram" },
];

/// The key that the sandbox takes for a provider; PlayHT's is its first one.
fn key(sandbox: &Sandbox, provider: &str) -> &'static str {
    let connection = catalogue::connection(provider).unwrap();
    let vendor = sandbox.vendors.iter().find(|vendor| vendor.name == connection.provider).unwrap();
    vendor.keys[0].1
}

#[tokio::test(flavor = "multi_thread")]
async fn every_provider_serves_with_the_customers_key_and_costs_nothing() {
    let sandbox = Sandbox::start(Engines::Canned(Load::new())).await.unwrap();
    let mut wrong = vec![];
    for combination in EACH_PROVIDER {
        // The deployment's own keys would be refused.
        let mut providers = providers(&sandbox);
        let keys = sandbox.vendors.iter().flat_map(|vendor| {
            let is_carrier = vendor.name == "twilio";
            vendor.keys.iter().map(move |(name, key)| (*name, if is_carrier { *key } else { "refused" }))
        });
        let keys: BTreeMap<_, _> = keys.chain([("twilio_auth_token", "t")]).collect();
        providers.keys = Keys::parse(&json!(keys).to_string()).unwrap();
        let Combination { transcriber, model, voice } = combination;
        let own = [model, transcriber.0, voice].map(|provider| key(&sandbox, provider));
        let held = hold(combination, providers, Some(own)).await;
        wrong.extend(held.wrong);
        wrong.extend(combination.strangers(&held.cost));
        let cost = held.cost;
        let costs = [cost.language_model.cost, cost.transcriber.cost, cost.voice.cost];
        if costs != [Usd::ZERO; 3] || cost.voice.characters == 0 || cost.transcriber.ms == 0 {
            wrong.push(format!("{combination:?} costs {cost:?}"));
        }
    }
    sandbox.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_of_any_provider_is_named_and_another_vendor_serves() {
    let sandbox = Sandbox::start(Engines::Canned(Load::new())).await.unwrap();
    let mut wrong = vec![];
    for combination in EACH_PROVIDER {
        let held = hold(combination, providers(&sandbox), Some(["a-revoked-key"; 3])).await;
        wrong.extend(held.wrong);
        if combination.strangers(&held.cost).len() != 3 {
            wrong.push(format!("{combination:?} was served by its own vendor: {:?}", held.cost.served_by));
        }
        for id in [MODEL, TRANSCRIBER, VOICE] {
            let is_named = |note: &&String| note.contains(id) && note.ends_with(" serves");
            if held.notes.iter().filter(is_named).count() != 1 {
                wrong.push(format!("{combination:?} does not name {id} once: {:?}", held.notes));
            }
        }
        assert!(!format!("{:?}", held.notes).contains("a-revoked-key"));
    }
    sandbox.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Says "Wait a moment, please" and two seconds of silence as linear audio at 16 kHz, in real time.
async fn say_at_16_khz(browser: &Phone) {
    let speech = include_bytes!("../support/wait_a_moment.ulaw");
    let twice = |byte: &u8| [recording::decode(*byte).to_le_bytes(); 2];
    let speech = speech.chunks(160).map(|frame| frame.iter().flat_map(twice).flatten().collect());
    let silence = iter::repeat_n(vec![0; 640], 100);
    let mut ticks = interval(Duration::from_millis(20));
    for (number, frame) in speech.chain(silence).enumerate() {
        ticks.tick().await;
        browser.send_audio(number * 20, &frame).await;
    }
}

/// A browser that speaks at 16 kHz; everything that is wrong with its call.
async fn hold_in_browser(combination: Combination, sandbox: &Sandbox) -> Vec<String> {
    let agent = agents::create(&combination.agent(), EgressPolicy::Local).into_valid().unwrap();
    let world = World::new(agent.clone(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(agent).await;
    let worker = world.worker_of(providers(sandbox)).await;
    let browser = Phone::browser_at(&worker.address, &path).await;
    browser.send(&browser_start("audio/l16", 16_000, None)).await;
    call.until_messages(1).await;
    say_at_16_khz(&browser).await;
    let messages = call.until_messages(3).await;
    browser.hang_up().await;
    let (ended, _) = call.ended().await;
    let (_, _, cost) = ended.ended().unwrap();
    let mut wrong = combination.strangers(cost);
    let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
    if roles != [Role::Agent, Role::User, Role::Agent] {
        wrong.push(format!("messages: {messages:?}"));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transcriber_hears_a_browser_at_16_khz() {
    let sandbox = Sandbox::start(Engines::Canned(Load::new())).await.unwrap();
    let mut wrong = vec![];
    for transcriber in TRANSCRIBERS {
        let combination = Combination { transcriber, model: "openai", voice: "deepgram" };
        wrong.extend(hold_in_browser(combination, &sandbox).await);
    }
    sandbox.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
