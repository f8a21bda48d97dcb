//! Calls from a browser.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_aws::table::Outcome;
use switchboard_model::{
    conversations::{EndedReason, Lease, Snapshot, State},
    costs::{Prices, Usage},
    messages::Role,
    recording,
};

use crate::{
    prelude::*,
    support::{
        conversation::StoredConversation,
        phone::{START, browser_start},
    },
};

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready for you. We are open until \
                        six in the evening.";

/// The close frame of the worker.
async fn close_frame(browser: &Phone) -> (u16, String) {
    assert_eq!(browser.closed().await, Closing::Clean);
    browser.received().close_frame.expect("a browser learns why")
}

async fn token(browser: &Phone) -> String {
    browser.until("a token", |received| received.resume_token().is_some()).await;
    browser.received().resume_token().unwrap()
}

/// Waits until the worker has given the lease back.
async fn given_back(call: &StoredConversation) -> Lease {
    call.poll("a lease that was given back", async || call.lease().await.filter(Lease::is_given_back)).await
}

#[tokio::test(start_paused = true)]
async fn a_browser_holds_a_conversation_and_hangs_up() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(greeting("Hello.")).await;
    let worker = world.worker();
    let browser = Phone::browser(&worker.address, &path, None).await;
    call.until_messages(1).await;
    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("When do you close?").await;
    let messages = call.until_messages(3).await;
    let said: Vec<_> = messages.iter().map(|message| (message.role, message.content.as_str())).collect();
    let expected = [(Role::Agent, "Hello."), (Role::User, "When do you close?"), (Role::Agent, "At six.")];
    assert_eq!(said, expected);
    assert!(browser.received().played > 0, "marks come back");

    browser.hang_up().await;
    let (ended, reason) = call.ended().await;
    assert_eq!(reason, EndedReason::UserEnded);
    let (_, _, cost) = ended.ended().unwrap();
    assert_eq!(cost.telephony, None);
    assert!(cost.agent.ms > 0 && cost.transcriber.ms > 0 && cost.voice.characters > 0, "{cost:?}");
    assert_eq!(world.carrier.ended_calls(), [""; 0], "there is no carrier");
    let names: Vec<_> = call.events().await.iter().map(|event| event.name.as_str()).collect();
    assert_eq!((names[0], names[names.len() - 1]), ("conversation:started", "conversation:ended"));
    assert!(names.iter().all(|name| !name.starts_with("phone_call:")), "{names:?}");
    // The worker stores the recording after the end.
    worker.stop().await.unwrap();
    let wav = world.object(|key| key.ends_with(&format!("{}/recording.wav", call.id)));
    assert!(wav[44..].chunks_exact(4).any(|sample| sample[2..] != [0, 0]), "the agent is on the recording");
}

#[tokio::test(start_paused = true)]
async fn a_wideband_browser_is_served_by_providers_of_the_telephone() {
    let world = World::new(quiet(), SLOW_VOICE).await;
    let (call, path) = world.conversation.web(greeting("Hello, this is Ada.")).await;
    let worker = world.worker();
    let browser = Phone::browser_at(&worker.address, &path).await;
    browser.send(&browser_start("audio/l16", 16_000, None)).await;
    call.until_messages(1).await;
    let frame: Vec<u8> = (0..320).flat_map(|_| 8_000_i16.to_le_bytes()).collect();
    for number in 100..150 {
        browser.send_audio(number * 20, &frame).await;
    }
    world
        .providers
        .until("the caller's audio", |requests| {
            requests.session_audio.iter().flatten().filter(|byte| **byte == recording::encode(8_000)).count()
                > 7_000
        })
        .await;
    browser.hang_up().await;
    call.ended().await;
    worker.stop().await.unwrap();

    let received = browser.received().audio();
    let samples: Vec<i16> =
        received.chunks_exact(2).map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]])).collect();
    // The scripted voice speaks a byte of mu-law, as long as each clause is.
    let tone = recording::decode(tone(0));
    let spoken =
        samples.iter().filter(|sample| i32::from(**sample - tone).abs() < i32::from(tone).abs() / 50).count();
    let expected = "Hello, this is Ada.".len() * SLOW_VOICE * 2;
    assert!(spoken.abs_diff(expected) < 50, "{spoken} samples of {tone}, not {expected}");
    let wav = world.object(|key| key.ends_with(&format!("{}/recording.wav", call.id)));
    assert_eq!(wav[24..28], 16_000_u32.to_le_bytes(), "the recording has the browser's rate");
    let is_tone = |pair: &&[u8]| {
        let sample = i16::from_le_bytes([pair[2], pair[3]]);
        i32::from(sample - tone).abs() < i32::from(tone).abs() / 50
    };
    let recorded = wav[44..].chunks_exact(4).filter(is_tone).count();
    assert!(
        recorded.abs_diff(expected) < 50,
        "{recorded} samples of {tone} in the recording, not {expected}"
    );
}

/// Sends these frames; all of their samples have this value.
async fn send_wideband(browser: &Phone, frames: std::ops::Range<usize>, sample: i16) {
    let frame: Vec<u8> = (0..320).flat_map(|_| sample.to_le_bytes()).collect();
    for number in frames {
        browser.send_audio(number * 20, &frame).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_serves_a_browser_in_wideband() {
    let world = World::new(quiet(), SLOW_VOICE).await;
    let other = world.providers.add_stand_in();
    world.providers.allow_wideband();
    // The voice of a chain has one format; the transcriber's sessions each have theirs.
    other.allow_wideband();
    let (call, path) = world.conversation.web(greeting("Hello, this is Ada.")).await;
    let worker = world.worker();
    let browser = Phone::browser_at(&worker.address, &path).await;
    browser.send(&browser_start("audio/l16", 16_000, None)).await;
    call.until_messages(1).await;
    send_wideband(&browser, 100..150, 8_001).await;
    let unchanged =
        |audio: &[u8]| audio.chunks_exact(2).filter(|one| **one == 8_001_i16.to_le_bytes()).count();
    world
        .providers
        .until("the caller's audio", |requests| unchanged(&requests.session_audio.concat()) == 50 * 320)
        .await;
    browser.hang_up().await;
    let (ended, _) = call.ended().await;
    assert_eq!(ended.ended().unwrap().2.transcriber.ms, world.providers.requests().audio_bytes / 32);
    worker.stop().await.unwrap();
    let spoken = browser.received().audio().into_iter().filter(|byte| *byte == tone(0)).count();
    assert_eq!(
        spoken,
        ("Hello, this is Ada.".len() * SLOW_VOICE).next_multiple_of(160),
        "as the voice yields it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stand_in_gets_the_audio_that_it_takes() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let other = world.providers.add_stand_in();
    world.providers.allow_wideband();
    world.providers.refuse_session(403);
    let (call, path) = world.conversation.web(quiet()).await;
    let worker = world.worker();
    let browser = Phone::browser_at(&worker.address, &path).await;
    browser.send(&browser_start("audio/l16", 16_000, None)).await;
    other.until("a session", |requests| requests.open_sessions > 0).await;
    send_wideband(&browser, 100..150, 8_000).await;
    let narrow = recording::encode(8_000);
    other
        .until("the caller's audio", |requests| {
            requests.session_audio.iter().flatten().filter(|byte| **byte == narrow).count() > 7_000
        })
        .await;
    browser.hang_up().await;
    call.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_browser_is_told_of_events_as_they_happen() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(greeting("Hello.")).await;
    let worker = world.worker();
    let browser = Phone::browser(&worker.address, &path, None).await;
    call.until_messages(1).await;
    browser.until("the greeting", |received| received.events().contains(&"message:sent")).await;
    browser.send(r#"{"event":"stop"}"#).await;
    assert_eq!(close_frame(&browser).await, (1000, "the conversation has ended".to_owned()));
    assert_eq!(call.ended().await.1, EndedReason::UserEnded);
    let received = browser.received();
    let events = received.events();
    assert_eq!((events[0], events[events.len() - 1]), ("conversation:started", "conversation:ended"));
    let data = |name: &str| {
        let found = received.frames.iter().find_map(|(_, frame)| match frame {
            Frame::Event(event, data) if event == name => Some(data.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no {name} in {events:?}"))
    };
    assert_eq!(data("conversation:started"), Value::Null);
    assert_eq!(data("speech:started"), json!({ "role": "agent" }));
    assert_eq!(data("message:sent")["message"]["content"], "Hello.");
    assert_eq!(data("conversation:ended"), json!({ "ended_reason": "user_ended" }));
    assert!(matches!(received.frames[0].1, Frame::Resume(_)), "the token comes first");
}

#[tokio::test(start_paused = true)]
async fn a_broken_socket_is_resumed_where_the_agent_was() {
    let world = World::new(quiet(), SLOW_VOICE).await;
    let (call, path) = world.conversation.web(greeting(GREETING)).await;
    let worker = world.worker();
    let browser = Phone::browser(&worker.address, &path, None).await;
    browser.until("a second of speech", |received| received.sent_ms() > 1_400).await;
    let first = token(&browser).await;
    browser.break_off().await;
    let heard = call.until_messages(1).await.remove(0);
    assert!(heard.interrupted && GREETING.starts_with(&heard.content), "{heard:?}");
    // Its worker gives the lease back with the words that are left.
    let rest = given_back(&call).await.utterance.unwrap().unheard;
    assert!(matches!(call.load().await.state, State::Started { .. }));

    let browser = Phone::browser(&worker.address, &path, Some(&first)).await;
    let messages = call.until_messages(2).await;
    assert_eq!((messages[1].role, &messages[1].content), (Role::Agent, &rest), "it says the rest only");
    assert_eq!(call.load().await.legs.caller().resumes, 1);
    assert!(!browser.received().events().contains(&"conversation:started"), "it started once");
    let second = token(&browser).await;
    assert_ne!(first, second);

    let late = Phone::browser(&worker.address, &path, Some(&first)).await;
    assert_eq!(close_frame(&late).await.0, 4003, "a token resumes once");
    browser.hang_up().await;
    assert_eq!(call.ended().await.1, EndedReason::UserEnded);
    let over = Phone::browser(&worker.address, &path, Some(&second)).await;
    assert_eq!(close_frame(&over).await.0, 4003, "an ended call is not resumed");
}

#[tokio::test(start_paused = true)]
async fn a_second_socket_takes_the_call_from_the_first() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(greeting("Hello.")).await;
    let worker = world.worker();
    let first = Phone::browser(&worker.address, &path, None).await;
    call.until_messages(1).await;
    let resumed_at = now().since(call.load().await.started_at().unwrap());
    // The network changed: the browser does not wait until the old socket breaks.
    let second = Phone::browser(&worker.address, &path, Some(&token(&first).await)).await;
    let (code, _) = close_frame(&first).await;
    assert_eq!(code, 4001);
    assert!(matches!(call.load().await.state, State::Started { .. }), "the first socket ends nothing");
    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("When do you close?").await;
    call.until_messages(3).await;
    second.hang_up().await;
    assert_eq!(call.ended().await.1, EndedReason::UserEnded);
    worker.stop().await.unwrap();
    let wav = world.object(|key| key.ends_with(&format!("{}/recording.wav", call.id)));
    let samples = usize::try_from(resumed_at.as_millis()).unwrap() * 16;
    let spoken = |pairs: &[u8]| pairs.chunks_exact(4).filter(|pair| pair[2..] != [0, 0]).count();
    let (before, after) = wav[44..].split_at(4 * samples);
    // Whole frames are played, and recorded at twice the telephone's rate.
    let said = |text: &str| 2 * (text.len() * FAST_VOICE).next_multiple_of(160);
    assert!(spoken(before).abs_diff(said("Hello.")) < 50, "the first socket's part is stored");
    assert!(spoken(after).abs_diff(said("At six.")) < 50, "and the second one's");
    let replays = world.objects.lock().unwrap().keys().filter(|key| key.contains("/replay/")).count();
    assert_eq!(replays, 2, "each socket has a replay log");
}

#[tokio::test(start_paused = true)]
async fn a_browser_learns_that_its_conversation_has_ended_elsewhere() {
    for writes in [false, true] {
        let world = World::new(quiet(), FAST_VOICE).await;
        let (call, path) = world.conversation.web(quiet()).await;
        let worker = world.worker();
        let browser = Phone::browser(&worker.address, &path, None).await;
        call.started().await;
        let holder = call.lease().await.unwrap().holder;
        let end = |Snapshot { conversation, agent }: &Snapshot| {
            let (usage, prices) = (Usage::default(), Prices::default());
            conversation.end(agent, EndedReason::Unknown, &[], &usage, &prices, now())
        };
        let ended = call.table.transition_as(&holder, call.account, call.id, end).await.unwrap();
        assert!(matches!(ended, Outcome::Changed(_)), "{ended:?}");
        if writes {
            // The refused write comes before the next look at the worker signals.
            world.providers.transcribe("When do you close?").await;
        }
        assert_eq!(close_frame(&browser).await, (1000, "the conversation has ended".to_owned()), "{writes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_hands_the_browser_over() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(greeting("Hello.")).await;
    let first = world.worker();
    let browser = Phone::browser(&first.address, &path, None).await;
    call.until_messages(1).await;
    let offered = token(&browser).await;
    first.stop().await.unwrap();
    assert_eq!(close_frame(&browser).await.0, 1012);
    let tokens = browser
        .received()
        .frames
        .iter()
        .filter(|(_, frame)| *frame == Frame::Resume(offered.clone()))
        .count();
    assert_eq!(tokens, 2, "at the start and before the handover");

    let second = world.worker();
    let browser = Phone::browser(&second.address, &path, Some(&offered)).await;
    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("When do you close?").await;
    assert_eq!(call.until_messages(3).await[2].content, "At six.");
    assert!(browser.received().sent_ms() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_url_opens_one_call_of_a_browser_only() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(quiet()).await;
    let worker = world.worker();
    let (folder, url_token) = path.rsplit_once('/').unwrap();
    for wrong in [format!("{folder}/{}", "0".repeat(64)), format!("/web/acc_1/{}/{url_token}", call.id)] {
        let browser = Phone::browser(&worker.address, &wrong, None).await;
        assert_eq!(close_frame(&browser).await, (4003, "the token is not valid".to_owned()), "{wrong}");
    }
    // The token of a phone call admits no browser, and that of a web call no carrier.
    let start: Value = serde_json::from_str(START).unwrap();
    let phone_token = start["start"]["customParameters"]["token"].as_str().unwrap();
    let phone_path = format!("/web/{}/{}/{phone_token}", call.account, world.conversation.id);
    let browser = Phone::browser(&worker.address, &phone_path, None).await;
    assert_eq!(close_frame(&browser).await.0, 4003);
    let mut start = start.clone();
    start["start"]["customParameters"]["conversation_id"] = json!(call.id);
    start["start"]["customParameters"]["token"] = json!(url_token);
    let phone_path = format!("media/{}/{}", call.account, call.id);
    let phone = Phone::at(&worker.address, &phone_path, None).await.unwrap();
    phone.send(&start.to_string()).await;
    assert_eq!(phone.closed().await, Closing::Clean);
    assert!(matches!(call.load().await.state, State::Connecting));

    let _first = Phone::browser(&worker.address, &path, None).await;
    call.started().await;
    let second = Phone::browser(&worker.address, &path, None).await;
    assert_eq!(close_frame(&second).await.0, 4003, "the URL is used up");
}

#[tokio::test(start_paused = true)]
async fn an_expired_url_opens_nothing() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(quiet()).await;
    let worker = world.worker();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let browser = Phone::browser(&worker.address, &path, None).await;
    assert_eq!(close_frame(&browser).await.0, 4003);
    assert!(matches!(call.load().await.state, State::Connecting), "the sweeper ends it");
}

#[tokio::test(start_paused = true)]
async fn a_full_worker_asks_the_browser_to_try_again() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(quiet()).await;
    let worker = world.worker_with(1, Duration::from_secs(10));
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    let browser = Phone::browser(&worker.address, &path, None).await;
    assert_eq!(close_frame(&browser).await.0, 1013);
    phone.send(STOP).await;
    phone.closed().await;
    // The place is free once the recording is joined.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _browser = Phone::browser(&worker.address, &path, None).await;
    call.started().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_cannot_be_served_is_explained() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (_, path) = world.conversation.web(quiet()).await;
    let worker = world.worker();
    for (message, reason) in [
        (browser_start("audio/opus", 48_000, None), "its media format is neither"),
        (
            r#"{"event":"mark","mark":{"name":"1:1"}}"#.to_owned(),
            "the start should come before other messages",
        ),
        ("[]".to_owned(), "not readable as JSON"),
    ] {
        let browser = Phone::browser_at(&worker.address, &path).await;
        browser.send(&message).await;
        let (code, told) = close_frame(&browser).await;
        assert!(code == 1003 && told.starts_with(reason), "{code} {told}");
    }
    let silent = Phone::browser_at(&worker.address, &path).await;
    assert_eq!(close_frame(&silent).await, (1003, "the start did not come within 5 s".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn audio_faster_than_twice_real_time_closes_the_stream() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(quiet()).await;
    let worker = world.worker();
    let browser = Phone::browser(&worker.address, &path, None).await;
    call.started().await;
    for frame in 0..700 {
        browser.send_audio(frame * 20, &[0xFF; 160]).await;
    }
    assert_eq!(close_frame(&browser).await, (1008, "audio came faster than twice real time".to_owned()));
    assert!(matches!(call.load().await.state, State::Started { .. }), "it may be resumed");
}

#[tokio::test(start_paused = true)]
async fn pings_are_limited_like_other_messages() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(quiet()).await;
    let worker = world.worker();
    let browser = Phone::browser(&worker.address, &path, None).await;
    call.started().await;
    for _ in 0..1_100 {
        browser.ping().await;
    }
    assert_eq!(close_frame(&browser).await.0, 1008, "each counts as 10 ms of a burst of 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_binary_message_closes_the_stream() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(quiet()).await;
    let worker = world.worker();
    let browser = Phone::browser(&worker.address, &path, None).await;
    call.started().await;
    browser.send_binary(vec![0xFF; 160]).await;
    assert_eq!(close_frame(&browser).await, (1008, "a message was no text".to_owned()));
    given_back(&call).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_socket_counts_as_broken() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let (call, path) = world.conversation.web(quiet()).await;
    let worker = world.worker();
    let browser = Phone::browser(&worker.address, &path, None).await;
    call.started().await;
    let offered = token(&browser).await;
    browser.freeze();
    given_back(&call).await;
    let browser = Phone::browser(&worker.address, &path, Some(&offered)).await;
    call.until("resumed", |conversation| conversation.legs.caller().resumes == 1).await;
    browser.hang_up().await;
    assert_eq!(call.ended().await.1, EndedReason::UserEnded);
}
