//! A conversation that was answered, the vendors that serve it, and workers that hold it.

mod bucket;
mod phone;
mod receiver;
mod table;
mod vendors;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;
use switchboard_aws::{
    clips::Clips,
    recordings::Recordings,
    sealing::{self, Sealer},
    table::{Outcome, Table, testing},
};
use switchboard_media::{DRAIN_TIMEOUT, Worker, WorkerParts, without_delay};
use switchboard_model::{
    accounts::{Account, Token, sha256_hex},
    agents::{AgentConfig, Function, Hook, Instruction, LanguageModel, ModelSettings, Tool, ToolKind},
    conversations::{
        Conversation, EndedReason, InvalidTransition, Snapshot, State, Transition, UtteranceProgress,
    },
    costs::Prices,
    egress_policy::EgressPolicy,
    events::{Event, EventName},
    ids::{AccountId, ConversationId},
    messages::Message,
    time::Timestamp,
};
use switchboard_providers::{Providers, egress, endpoints::Endpoints, keys::Keys, webhooks::Sender};
use switchboard_runtime as system;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    bucket::Objects,
    phone::{Closing, Frame, MEDIA, Phone, START, STOP},
    receiver::{Receiver, webhook},
    table::{Gate, TABLE, Way},
    vendors::{Answer, Hoarse, PATIENCE, Vendors, tone},
};

/// A voice of 25 characters a second: somewhat faster than people speak.
pub(crate) const UNHURRIED: usize = 320;
/// One of 100, where the test waits for nothing that is said.
pub(crate) const FAST: usize = 80;

/// The account's.
pub(crate) const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct World {
    /// The table, as everybody but the worker sees it.
    pub(crate) table: Table,
    /// Between a worker and the table.
    pub(crate) gate: Gate,
    pub(crate) vendors: Vendors,
    pub(crate) objects: Objects,
    pub(crate) account: AccountId,
    pub(crate) id: ConversationId,
    pub(crate) sealer: Sealer,
    bucket_url: String,
}

/// A worker that serves.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
    /// Of its own, so that it can die; none once it has.
    runtime: Option<Runtime>,
}

impl World {
    /// The conversation that the sample's stream belongs to, answered and waiting for it.
    pub(crate) async fn new(agent: AgentConfig, bytes_per_character: usize) -> Self {
        let (table, gate) = table::open().await;
        let (bucket_url, objects) = bucket::serve().await;
        let start: Value = serde_json::from_str(START).unwrap();
        let parameter = |name: &str| start["start"]["customParameters"][name].as_str().unwrap();
        let (account, id) =
            (parameter("account_id").parse().unwrap(), parameter("conversation_id").parse().unwrap());
        let vendors = Vendors::start(bytes_per_character).await;
        let sealer = sealing::testing::sealer().await;
        let world = Self { table, gate, vendors, objects, account, id, sealer, bucket_url };
        let owner = Account::new(account, "Bakery".to_owned(), now(), SIGNING_SECRET.to_owned());
        world.table.create_account(&owner, &Token::new([7; 32])).await.unwrap();
        world.call(id, agent).await;
        world
    }

    /// A conversation that was answered: its stream differs from the sample's by its id alone.
    pub(crate) async fn call(&self, id: ConversationId, agent: AgentConfig) {
        let start: Value = serde_json::from_str(START).unwrap();
        let token = start["start"]["customParameters"]["token"].as_str().unwrap();
        let call = start["start"]["callSid"].as_str().unwrap();
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        let conversation = Conversation::outbound(id, self.account, None, to, from, now());
        self.table.create_conversation(&Snapshot { conversation, agent }).await.unwrap();
        let dial =
            |before: &Snapshot| before.conversation.mark_dialing(&before.agent, sha256_hex(token), now());
        let answer = |before: &Snapshot| before.conversation.mark_answered(&before.agent, call, now());
        for change in [&dial as &dyn Fn(&Snapshot) -> _, &answer] {
            let outcome = self.table.transition(self.account, id, change).await.unwrap();
            assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
        }
    }

    /// Starts a worker that lets so many calls in.
    pub(crate) async fn worker_for(&self, calls: usize) -> Serving {
        self.serving(calls, DRAIN_TIMEOUT, || {}).await
    }

    /// Starts a worker that has so long to hand its calls over; each of its threads begins with `begin`.
    pub(crate) async fn serving(&self, calls: usize, drain: Duration, begin: fn()) -> Serving {
        let url = &self.vendors.url;
        let keys = r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"o","deepgram_api_key":"d"}"#;
        let endpoint =
            |name: &str| Some(if name == "OPENAI_API_URL" { format!("{url}/v1") } else { url.clone() });
        let providers = Providers {
            http: egress::client(),
            endpoints: Endpoints::from_vars(&endpoint).unwrap(),
            keys: Keys::parse(keys).unwrap(),
        };
        let prices = Prices { agent_per_minute: "0.06".parse().unwrap() };
        let recordings = Recordings::new(&testing::config(&self.bucket_url).await, bucket::NAME.to_owned());
        let (table, sealer) = (self.gate.table().await, self.sealer.clone());
        let clips = Clips::new(&testing::config(&self.bucket_url).await, bucket::NAME.to_owned());
        let worker = Worker::new(WorkerParts {
            table,
            recordings,
            clips,
            sealer,
            providers,
            webhooks: Arc::new(Sender::new(EgressPolicy::Local)),
            egress_policy: EgressPolicy::Local,
            prices,
            max_calls: calls,
            clock: now,
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).on_thread_start(begin).enable_all().build().unwrap();
        let served = runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            switchboard_media::serve(without_delay(listener), worker, stopped, drain).await
        });
        Serving { address, stop, served, runtime: Some(runtime) }
    }

    pub(crate) async fn worker(&self) -> Serving {
        self.worker_for(10).await
    }

    /// What somebody else changes.
    pub(crate) async fn change(
        &self,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) {
        let outcome = self.table.transition(self.account, self.id, change).await.unwrap();
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }

    pub(crate) async fn conversation(&self) -> Conversation {
        self.table.conversation(self.account, self.id).await.unwrap().unwrap().conversation
    }

    /// What one object of the bucket holds.
    pub(crate) fn object(&self, is_it: impl Fn(&str) -> bool) -> Vec<u8> {
        let objects = self.objects.lock().unwrap();
        objects.iter().find(|(key, _)| is_it(key)).expect("there is such an object").1.to_vec()
    }

    pub(crate) async fn messages(&self) -> Vec<Message> {
        self.table.messages(self.account, self.id).await.unwrap()
    }

    /// All events; their numbers are proved to have no gaps.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let (events, has_more) = self.table.events(self.account, self.id, 0, 1_000).await.unwrap();
        assert!(!has_more);
        let sequence: Vec<_> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequence, (1..=events.len() as u64).collect::<Vec<_>>());
        events
    }

    /// Waits until the conversation is as expected.
    pub(crate) async fn until(
        &self,
        expected: &str,
        mut is_so: impl FnMut(&Conversation) -> bool,
    ) -> Conversation {
        let by = Instant::now() + PATIENCE;
        loop {
            let conversation = self.conversation().await;
            if is_so(&conversation) {
                return conversation;
            }
            assert!(Instant::now() < by, "never {expected}: {conversation:?}");
            // There is nobody who would tell.
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn started(&self) -> Conversation {
        self.until("started", |conversation| matches!(conversation.state, State::Started { .. })).await
    }

    /// Waits for the end, and why it was.
    pub(crate) async fn ended(&self) -> (Conversation, EndedReason) {
        let conversation = self.until("ended", |conversation| conversation.ended().is_some()).await;
        let (_, reason, _) = conversation.ended().unwrap();
        (conversation, reason)
    }

    /// Waits until the lease tells that the agent is saying what is expected.
    pub(crate) async fn until_speaking(&self, is_so: impl Fn(&UtteranceProgress) -> bool) {
        let by = Instant::now() + PATIENCE;
        loop {
            let lease = self.table.lease(self.account, self.id).await.unwrap();
            if lease.and_then(|lease| lease.utterance).is_some_and(|speaking| is_so(&speaking)) {
                return;
            }
            assert!(Instant::now() < by, "the agent is never said to speak");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the log says beside the events so far.
    pub(crate) async fn notes(&self) -> Vec<String> {
        self.events().await.into_iter().flat_map(|event| event.faults).collect()
    }

    /// Waits until so many messages are stored.
    pub(crate) async fn until_messages(&self, count: u64) -> Vec<Message> {
        self.until("said", |conversation| conversation.next_message > count).await;
        self.messages().await
    }
}

impl Serving {
    /// Tells the worker to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let served = timeout(PATIENCE, &mut self.served).await;
        served.expect("the worker stops in time").unwrap()
    }

    /// Ends the worker without a word.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Waiting for its tasks is not possible here, and they need not end well.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Puts the clauses that were spoken in the order of a text: the voice is asked for several at once.
pub(crate) fn in_order(clauses: &[String], text: &str) -> String {
    let mut clauses = clauses.to_vec();
    clauses.sort_by_key(|clause| text.find(clause.as_str()));
    clauses.join(" ")
}

pub(crate) fn now() -> Timestamp {
    system::now()
}

/// An agent that says this first.
pub(crate) fn greeting(text: &str) -> AgentConfig {
    AgentConfig { initial_message: Some(text.to_owned()), ..quiet() }
}

/// An agent that waits for the caller, and hangs up with `end_call`.
pub(crate) fn quiet() -> AgentConfig {
    let function = Function { name: "end_call".to_owned(), description: None, parameters: None };
    let settings = ModelSettings {
        tools: vec![Tool { kind: ToolKind::Function, function }],
        ..ModelSettings::default()
    };
    let hook = Hook {
        events: vec![EventName::FunctionCallTriggered],
        filter: None,
        instructions: vec![Instruction::HangUp],
    };
    AgentConfig {
        prompt: Some("You are Ada.".to_owned()),
        language_model: LanguageModel::Openai(settings),
        hooks: vec![hook],
        ..AgentConfig::default()
    }
}
