//! The log of a call: every line carries the ids of its call, and none holds personal data.

use std::{
    io,
    sync::{OnceLock, atomic::Ordering},
};

use switchboard_model::conversations::EndedReason;
use switchboard_runtime::{Vars, logging};
use switchboard_testkit::log_lines::LogLines;
use tracing::Dispatch;

use crate::prelude::*;

/// Collects all log lines of this thread, in the worker's format.
fn capture(lines: &LogLines, vars: &Vars) -> tracing::subscriber::DefaultGuard {
    // With one subscriber in the process, `tracing` caches whether a line is enabled on the thread that reaches it
    // first, and the threads of other tests have no subscriber. With a second one it asks every time.
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(logging::worker_subscriber(&Vars::default(), io::sink)));
    let writer = lines.clone();
    tracing::subscriber::set_default(logging::worker_subscriber(vars, move || writer.clone()))
}

/// Runs a call in which every provider and the table fail at least once.
async fn call_with_faults(world: &World) {
    let worker = world.worker();
    world.providers.refuse_session(503);
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    world.providers.respond_with(Response::Failure);
    world.providers.respond_with(Response::Words("At six in the evening."));
    world.providers.fail_voice(VoiceFault::Refused);
    world.providers.transcribe("What time do you close?").await;
    world.conversation.until_messages(3).await;
    world.providers.break_sessions();
    world.set_table_fault(TableFault::Unreachable);
    // The worker reads its signals once a second: six seconds hold several reads.
    phone.speak_frames(300).await;
    world.set_table_fault(TableFault::None);
    phone.send(STOP).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    worker.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_line_of_a_call_has_its_ids_and_no_personal_data() {
    for (level, least) in [("", 8), ("warn", 5)] {
        let lines = LogLines::default();
        let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
        let guard = capture(&lines, &Vars::from([("RUST_LOG", level)]));
        call_with_faults(&world).await;
        drop(guard);

        let call_sid = world.conversation.load().await.legs.caller().carrier_call_id().unwrap().to_string();
        let mut lines = lines.json();
        // The worker's own reports are about no call.
        lines.retain(|line| line["span"]["name"] != "fleet");
        assert!(lines.len() >= least, "{lines:#?}");
        for line in &lines {
            let ids = ["account_id", "conversation_id", "call_sid"].map(|id| line["span"][id].as_str());
            let (account, id) = (world.conversation.account.to_string(), world.conversation.id.to_string());
            assert_eq!(ids, [Some(&*account), Some(&*id), Some(&*call_sid)], "{line}");
            for id in ["account_id", "conversation_id", "call_sid"] {
                assert!(line["fields"].get(id).is_none(), "the span has the id already: {line}");
            }
            let text = line.to_string().to_lowercase();
            for secret in ["ada", "six", "evening", "what time", "+1415", "4155550"] {
                assert!(!text.contains(secret), "{secret} in {line}");
            }
        }
        // Each fault was logged, with its provider.
        for provider in ["deepgram", "openai"] {
            assert!(
                lines.iter().any(|line| line["fields"]["provider"] == provider),
                "{provider}: {lines:#?}"
            );
        }
        if level.is_empty() {
            let last = lines.last().unwrap();
            assert_eq!(last["fields"]["outcome"], "ended");
            assert!(last["fields"]["held_ms"].as_u64().unwrap() > 2_000);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_panic_has_the_ids_of_its_call() {
    let lines = LogLines::default();
    let world = World::new(quiet(), FAST_VOICE).await;
    let _guard = capture(&lines, &Vars::default());
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Panic);
    world.providers.transcribe("What time do you close?").await;
    phone.closed().await;
    world.conversation.ended().await;
    worker.stop().await.unwrap();
    let lines = lines.json();
    assert_eq!(lines.last().unwrap()["fields"]["outcome"], "panicked");
    let id = world.conversation.id.to_string();
    assert!(lines.iter().all(|line| line["span"]["conversation_id"] == id), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_refusal_of_a_browser_has_the_ids_of_its_url() {
    let lines = LogLines::default();
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(quiet()).await;
    let _guard = capture(&lines, &Vars::default());
    let worker = world.worker();
    let browser = Phone::browser_at(&worker.address, &path).await;
    browser.send("[]").await;
    browser.closed().await;
    worker.stop().await.unwrap();
    let mut lines = lines.json();
    lines.retain(|line| line["span"]["name"] != "fleet");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["fields"]["message"], "media stream of a browser refused");
    let ids = ["account_id", "conversation_id"].map(|id| lines[0]["span"][id].as_str().unwrap());
    assert_eq!(ids, [&*call.account.to_string(), &*call.id.to_string()]);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_cannot_be_verified_is_logged_once_with_its_cause() {
    let lines = LogLines::default();
    let world = World::new(quiet(), FAST_VOICE).await;
    let _guard = capture(&lines, &Vars::default());
    let worker = world.worker();
    world.carrier.never_verifies.store(true, Ordering::Relaxed);
    assert_eq!(Phone::silent(&worker.address).await.closed().await, Closing::Clean);
    worker.stop().await.unwrap();
    let mut lines = lines.json();
    lines.retain(|line| line["span"]["name"] != "fleet");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["fields"]["message"], "media stream refused: handshake not verified in time");
    assert_eq!(lines[0]["span"]["conversation_id"], world.conversation.id.to_string());
}
