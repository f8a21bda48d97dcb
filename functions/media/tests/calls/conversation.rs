//! Conversations from the greeting to the end: words, messages, history and recording.

use switchboard_model::{conversations::EndedReason, messages::Role};

use crate::prelude::*;

fn roles(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(role, content)| ((*role).to_owned(), (*content).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_conversation_runs_from_the_greeting_to_the_hang_up() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;

    world
        .providers
        .respond_with(Response::Words("On Saturday we close at six. Can I help you with anything else?"));
    world.providers.transcribe("What time do you close?").await;
    world.conversation.until_messages(3).await;
    let mut history = vec![
        ("system", "You are Ada."),
        ("assistant", "Hello, this is Ada."),
        ("user", "What time do you close?"),
    ];
    assert_eq!(world.providers.last_messages(), roles(&history));

    world.providers.respond_with(Response::Call("Thank you. Goodbye.", "end_call"));
    world.providers.transcribe("No, thank you.").await;
    let (ended, reason) = world.conversation.ended().await;
    phone.closed().await;
    history.push(("assistant", "On Saturday we close at six. Can I help you with anything else?"));
    history.push(("user", "No, thank you."));
    assert_eq!(world.providers.last_messages(), roles(&history));
    assert_eq!(world.providers.requests().generations.len(), 2);

    assert_eq!(reason, EndedReason::AgentEnded);
    assert_eq!(world.carrier.ended_calls(), [ended.legs.caller().carrier_call_id().unwrap().id()]);
    let whole = "Hello, this is Ada. On Saturday we close at six. Can I help you with anything else? Thank you. Goodbye.";
    assert_eq!(in_order(&world.providers.requests().clauses, whole), whole);
    let said: Vec<_> = world
        .conversation
        .messages()
        .await
        .into_iter()
        .map(|message| (message.role, message.content, message.interrupted))
        .collect();
    let expected = [
        (Role::Agent, "Hello, this is Ada."),
        (Role::User, "What time do you close?"),
        (Role::Agent, "On Saturday we close at six. Can I help you with anything else?"),
        (Role::User, "No, thank you."),
        (Role::Agent, "Thank you. Goodbye."),
    ];
    assert_eq!(said, expected.map(|(role, content)| (role, content.to_owned(), false)));

    let (_, _, cost) = ended.ended().unwrap();
    assert_eq!((cost.language_model.input_tokens, cost.language_model.output_tokens), (200, 20));
    let events = world.conversation.events().await;
    assert!(
        events.windows(2).all(|pair| pair[0].created_at <= pair[1].created_at),
        "events are ordered by time"
    );
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    let count = |name: &str| names.iter().filter(|known| **known == name).count();
    assert_eq!((count("message:sent"), count("message:generated")), (5, 2));
    assert_eq!((count("speech:started"), count("speech:ended")), (5, 5));
    assert_eq!((count("function_call:triggered"), count("conversation:ended")), (1, 1));
    assert_eq!(names.last(), Some(&"conversation:ended"));
    let answered = events.iter().find(|event| event.data["latency"].is_object()).unwrap();
    assert_eq!(answered.data["message"]["content"], expected[2].1);
}

#[tokio::test(start_paused = true)]
async fn barge_in_silences_the_agent_and_stores_the_heard_words() {
    const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on \
                        public holidays we are closed. In the summer we close at seven.";
    let world = World::new(quiet(), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Words(LONG));
    world.providers.transcribe("What time do you close?").await;
    phone.until("a second of speech", |received| received.sent_ms() > 1_400).await;

    world.providers.transcribe_interim("Thank").await;
    phone.until("a clear", |received| received.has(&Frame::Clear)).await;
    let messages = world.conversation.until_messages(2).await;
    let (cut, sent) = (&messages[1], phone.received().sent_ms());
    assert!(cut.interrupted && LONG.starts_with(&cut.content), "{cut:?}");
    assert!((10..LONG.len() / 2).contains(&cut.content.len()), "{cut:?}");
    // The heard words are at most those that the carrier can have played.
    assert!(cut.content.len() * SLOW_VOICE / 8 <= sent, "{cut:?} in {sent} ms");

    world.providers.respond_with(Response::Words("You are welcome."));
    world.providers.transcribe("Thank you.").await;
    let messages = world.conversation.until_messages(4).await;
    let lines = roles(&[
        ("system", "You are Ada."),
        ("user", "What time do you close?"),
        ("assistant", &messages[1].content),
        ("user", "Thank you."),
    ]);
    assert_eq!(world.providers.last_messages(), lines, "the model sees the heard words only");
    assert_eq!(
        (messages[2].content.as_str(), messages[3].content.as_str()),
        ("Thank you.", "You are welcome.")
    );

    let seen = phone.received();
    let cleared = seen.frames.iter().position(|(_, frame)| *frame == Frame::Clear).unwrap();
    let last_tone = world.providers.requests().clauses.len() - 1;
    for (_, frame) in &seen.frames[cleared..] {
        let Frame::Media(audio) = frame else { continue };
        assert!(audio.iter().all(|byte| *byte == tone(last_tone)), "only the new response is sent");
    }
    let events = world.conversation.events().await;
    let generated = events.iter().find(|event| event.name.as_str() == "message:generated").unwrap();
    assert_eq!(generated.data["message"]["content"], LONG);
}

#[tokio::test(start_paused = true)]
async fn the_recording_agrees_with_the_heard_words() {
    const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on \
                        public holidays we are closed. In the summer we close at seven.";
    const LONGEST_WORD: usize = 10;
    let world = World::new(quiet(), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    let mut turns = vec![];
    for heard_ms in [1_400, 2_600] {
        let sent_ms = phone.received().sent_ms();
        world.providers.respond_with(Response::Words(LONG));
        world.providers.transcribe("What time do you close?").await;
        phone.until("enough speech", |received| received.sent_ms() > sent_ms + heard_ms).await;
        world.providers.transcribe_interim("Thank").await;
        turns.push(LONG);
        let stored = 2 * turns.len() as u64;
        world.conversation.until_messages(stored).await;
        world.providers.respond_with(Response::Words("You are welcome."));
        world.providers.transcribe("Thank you.").await;
        turns.push("You are welcome.");
        world.conversation.until_messages(stored + 2).await;
    }
    phone.send(STOP).await;
    world.conversation.ended().await;
    // The recording is joined before the stream is closed.
    worker.stop().await.unwrap();

    // Messages and recording differ by at most the word that was cut off.
    let wav = world.object(|key| key.ends_with("recording.wav"));
    let samples = wav[44..].chunks_exact(4).filter(|sample| sample[2..] != [0, 0]).count();
    let messages = world.conversation.messages().await;
    let said: Vec<_> = messages.iter().filter(|message| message.role == Role::Agent).collect();
    assert_eq!(
        said.iter().map(|message| message.interrupted).collect::<Vec<_>>(),
        [true, false, true, false]
    );
    let characters: usize = said.iter().map(|message| message.content.len()).sum();
    let recorded = samples / SLOW_VOICE;
    assert!(
        (characters - 2 * LONGEST_WORD..characters + 2 * LONGEST_WORD).contains(&recorded),
        "{characters}, recorded {recorded}"
    );
}
