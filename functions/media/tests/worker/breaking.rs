//! What breaks breaks alone, and a worker that must end does.

use std::{mem, process::Stdio, time::Duration};

use axum::{Json, Router};
use serde_json::json;
use switchboard_model::{
    agents::AgentConfig,
    conversations::{EndedReason, State},
    messages::Role,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    process::Command,
    runtime::Handle,
    time::{sleep, timeout},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::world::{Answer, FAST, Phone, TABLE, UNHURRIED, Way, World, greeting, quiet};

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready for you. We are open until \
                        six in the evening.";
const ANOTHER: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1";
/// How long a process may take for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// Panics where a call says that its model failed, in the middle of its work.
struct Explosive;

struct Message<'a>(&'a mut bool);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        *self.0 |= field.name() == "message" && format!("{value:?}") == "generation failed";
    }
}

impl Subscriber for Explosive {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut is_it = false;
        event.record(&mut Message(&mut is_it));
        assert!(!is_it, "a defect, as this test wants it");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn a_panic_in_one_call_ends_that_call_alone() {
    let world = World::new(quiet(), FAST).await;
    let another = ANOTHER.parse().unwrap();
    world.call(another, quiet()).await;
    let explosive = || mem::forget(tracing::subscriber::set_default(Explosive));
    let worker = world.serving(10, switchboard_media::DRAIN_TIMEOUT, explosive).await;
    let phones =
        [Phone::connect(worker.address).await, Phone::with(worker.address, "conversation_id", ANOTHER).await];
    world.vendors.until("both calls", |seen| seen.sessions == 2).await;
    // Whoever asks first has the defect.
    world.vendors.answer_with(Answer::Failure);
    world.vendors.answer_with(Answer::Words("At six."));
    world.vendors.hear("What time do you close?").await;
    let [one, other] = &phones;
    tokio::select! {
        _ = one.closed() => {}
        _ = other.closed() => {}
    }
    world.vendors.until("the call is hung up", |seen| seen.changed.len() == 1).await;

    let mut ends = vec![];
    for (id, phone) in [world.id, another].into_iter().zip(&phones) {
        let load = async || world.table.conversation(world.account, id).await.unwrap().unwrap().conversation;
        if phone.seen().closed.is_some() {
            // The stream breaks with the call; its supervisor writes the end after that.
            let written = timeout(PATIENCE, async {
                loop {
                    if let Some((_, reason, _)) = load().await.ended() {
                        return reason;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            });
            ends.push(written.await.expect("its supervisor writes the end"));
            let (events, _) = world.table.events(world.account, id, 0, 100).await.unwrap();
            assert_eq!(events.last().unwrap().name.as_str(), "conversation:ended");
            assert!(world.table.lease(world.account, id).await.unwrap().is_none());
        } else {
            phone.until("the answer", |seen| seen.played == 1).await;
            assert!(matches!(load().await.state, State::Started { .. }), "it goes on");
        }
    }
    assert_eq!(ends, [EndedReason::Unknown]);
    worker.stop().await.unwrap();
    let mut said = vec![];
    for id in [world.id, another] {
        said.extend(world.table.messages(world.account, id).await.unwrap());
    }
    said.retain(|message| message.role == Role::Agent);
    assert_eq!(said.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(), ["At six."]);
}

#[tokio::test]
async fn a_worker_whose_calls_do_not_end_gives_up_when_its_time_is_over() {
    let world = World::new(greeting(GREETING), UNHURRIED).await;
    let worker = world.serving(10, Duration::from_secs(1), || {}).await;
    let phone = Phone::connect(worker.address).await;
    phone.until("speech", |seen| seen.sent_ms() > 500).await;
    // What was heard cannot be stored, which is tried for a minute.
    world.gate.set(Way::Closed);
    let error = worker.stop().await.unwrap_err();
    assert_eq!(error.to_string(), "calls were still live after 1s");
}

#[tokio::test]
async fn a_connection_that_never_says_what_it_wants_does_not_keep_a_worker_from_stopping() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.serving(10, Duration::from_secs(1), || {}).await;
    let mut connection = TcpStream::connect(worker.address).await.unwrap();
    connection.write_all(b"GET /media HTTP/1.1\r\nhost").await.unwrap();
    // Whether it counts as a call or not: it ends.
    let _ = worker.stop().await;
}

/// As much of Secrets Manager as a worker needs.
async fn secrets() -> String {
    let keys =
        r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"o","deepgram_api_key":"d"}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(async move || Json(json!({ "Name": "keys", "SecretString": keys })));
    // The runtime of the test owns it.
    Handle::current().spawn(async move { axum::serve(listener, router).await });
    url
}

/// Tells a process to end.
async fn terminate(pid: u32) {
    let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await.unwrap();
    assert!(sent.success());
}

#[tokio::test]
async fn a_worker_that_is_told_twice_to_stop_does_so_at_once_with_an_error() {
    // The bucket is not there.
    let agent = AgentConfig { recording: false, ..greeting(GREETING) };
    let world = World::new(agent, UNHURRIED).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = &world.vendors.url;
    let mut process = Command::new(env!("CARGO_BIN_EXE_switchboard-media"))
        .env_clear()
        .envs([
            ("LISTEN", address.to_string()),
            ("TABLE_NAME", TABLE.to_owned()),
            ("RECORDINGS_BUCKET", "recordings".to_owned()),
            ("PROVIDER_KEYS_SECRET", "keys".to_owned()),
            ("SEALING_KEY_ID", "sealing".to_owned()),
            ("TWILIO_API_URL", url.clone()),
            ("OPENAI_API_URL", format!("{url}/v1")),
            ("DEEPGRAM_API_URL", url.clone()),
            ("AWS_ENDPOINT_URL", world.gate.url()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets().await),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = process.id().unwrap();
    let listens = async |wanted: bool| {
        let waited = timeout(PATIENCE, async {
            while TcpStream::connect(address).await.is_ok() != wanted {
                sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "it listens: never {wanted}");
    };
    listens(true).await;
    let phone = Phone::connect(address).await;
    phone.until("speech", |seen| seen.sent_ms() > 500).await;

    // What was heard cannot be stored, which is tried for a minute.
    world.gate.set(Way::Closed);
    terminate(pid).await;
    listens(false).await;
    assert_eq!(process.try_wait().unwrap(), None, "it hands its call over");
    terminate(pid).await;
    let status = timeout(PATIENCE, process.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(1));
}
