//! Throughput of deliveries on one core: the function builds an event, signs it, sends it over a connection
//! of its own to a receiver on this machine, and reads the answer. The table and the queue are not in it.
//!
//! `cargo bench -p webhooks`. The function runs on one thread, as it does on Lambda, the receiver on
//! another.

#![expect(clippy::cast_precision_loss, reason = "2^52 deliveries would take years")]

use std::{
    hint::black_box,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use switchboard_contract::{events::payload::Payload, signature};
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, JournalEntry, LegState, Snapshot, State},
    costs::Usage,
    deliveries,
    egress_policy::EgressPolicy,
    event_names::EventName,
    events::Event,
    ids::{AccountId, ConversationId},
    messages::{Message, Role},
    webhooks::{Webhook, WebhookMethod},
};
use switchboard_providers::webhooks::{WebhookClient, WebhookRequest};
use switchboard_runtime as system;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::{Builder, Runtime},
    task::JoinSet,
};

/// Time for which each part is measured.
const LASTS: Duration = Duration::from_secs(5);
/// Deliveries at the same time.
const AT_ONCE: usize = 50;
const SECRETS: [&str; 1] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];

fn main() {
    let (snapshot, event) = said("http://127.0.0.1:1/");
    let secrets = || SECRETS.iter().copied();
    report("put together and sign", 1, || {
        let payload = payload(&snapshot, &event);
        let signed = payload.signed("http://127.0.0.1:1/");
        black_box(signature::sign(secrets(), "evt_0", 1_795_339_800, &signed));
    });

    let (snapshot, event) = said(&receiver());
    let (runtime, client) = (runtime(), WebhookClient::new(EgressPolicy::Local));
    report("put together, sign and send", AT_ONCE, || {
        runtime.block_on(async {
            let mut sending = JoinSet::new();
            for _ in 0..AT_ONCE {
                let (snapshot, event, client) = (snapshot.clone(), event.clone(), client.clone());
                sending.spawn(async move { once(&snapshot, &event, &client).await });
            }
            assert!(sending.join_all().await.into_iter().all(|delivered| delivered));
        });
    });
}

/// Does something for a while on this thread, and says how many of it a second has.
fn report(what: &str, of_it: usize, mut work: impl FnMut()) {
    work();
    let (began, mut done) = (Instant::now(), 0);
    while began.elapsed() < LASTS {
        work();
        done += of_it;
    }
    let rate = done as f64 / began.elapsed().as_secs_f64();
    eprintln!("{what}: {rate:.0} a second on one core");
}

async fn once(snapshot: &Snapshot, event: &Event, client: &WebhookClient) -> bool {
    let id = deliveries::webhook_id(event.id, 0);
    let request = WebhookRequest {
        webhook: &snapshot.agent.webhooks[0],
        payload: &payload(snapshot, event),
        id: &id,
        secrets: &SECRETS,
        now: system::now(),
        timeout: Duration::from_secs(15),
    };
    client.send(request).await.0.delivered()
}

fn payload(snapshot: &Snapshot, event: &Event) -> Payload {
    Payload::new(event, &snapshot.conversation, &snapshot.agent, WebhookMethod::Post, None)
}

/// A sentence of a conversation.
fn said(url: &str) -> (Snapshot, Event) {
    let at = system::now();
    let (to, from) = ("+14155550100".parse(), "+14155550199".parse());
    let (to, from) = (to.expect("it is E.164"), from.expect("it is E.164"));
    let (id, account) = (ConversationId::new(at, 1), AccountId::new(at, 2));
    let mut conversation = Conversation::outbound(id, account, None, to, from, at);
    conversation.legs.caller_mut().state = LegState::Answered { answered_at: at };
    conversation.state = State::Started { started_at: at };
    let webhook = Webhook {
        events: vec![EventName::MessageSent],
        url: url.to_owned(),
        method: WebhookMethod::Post,
        headers: None,
        filter: None,
    };
    let agent = AgentConfig { webhooks: vec![webhook], ..AgentConfig::default() };
    let content = "I would like to know when my cake is ready, please.".to_owned();
    let message = Message {
        kind: switchboard_model::messages::MessageKind::Speech,
        role: Role::User,
        content,
        started_at: at,
        ended_at: at,
        interrupted: false,
    };
    let data = json!({ "message": message });
    let entry =
        JournalEntry { at, name: EventName::MessageSent, data, message: Some(message), faults: vec![] };
    let said = conversation.append(&agent, &[entry], &Usage::default()).expect("it goes on");
    let event = said.events.into_iter().next().expect("it is stored");
    (Snapshot { conversation: said.conversation, agent }, event)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be had")
}

/// Takes everything, on a thread of its own.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.set_nonblocking(true).expect("sockets can be");
    let url = format!("http://{}/hook", listener.local_addr().expect("it is bound"));
    thread::spawn(|| runtime().block_on(serve(listener)));
    url
}

async fn serve(listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it does not block");
    let mut connections = JoinSet::new();
    while let Ok((mut socket, _)) = listener.accept().await {
        connections.spawn(async move {
            // Head and body of this request fit into one segment on loopback.
            let _ = socket.read(&mut [0; 8 * 1024]).await;
            let _ =
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        });
        while connections.try_join_next().is_some() {}
    }
}
