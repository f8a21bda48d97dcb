//! What is said, and what of it is stored.

use switchboard_model::{conversations::EndedReason, messages::Role};

use crate::world::{Answer, FAST, Frame, Phone, STOP, UNHURRIED, World, greeting, in_order, quiet};

fn told(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(role, content)| ((*role).to_owned(), (*content).to_owned())).collect()
}

#[tokio::test]
async fn a_conversation_goes_from_the_greeting_to_the_hook_that_hangs_up() {
    let world = World::new(greeting("Hello, this is Ada."), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.until_messages(1).await;

    world
        .vendors
        .answer_with(Answer::Words("On Saturday we close at six. Can I help you with anything else?"));
    world.vendors.hear("What time do you close?").await;
    world.until_messages(3).await;
    let mut history = vec![
        ("system", "You are Ada."),
        ("assistant", "Hello, this is Ada."),
        ("user", "What time do you close?"),
    ];
    assert_eq!(world.vendors.told(), told(&history));

    world.vendors.answer_with(Answer::Call("Thank you. Goodbye.", "end_call"));
    world.vendors.hear("No, thank you.").await;
    let (ended, reason) = world.ended().await;
    phone.closed().await;
    history.push(("assistant", "On Saturday we close at six. Can I help you with anything else?"));
    history.push(("user", "No, thank you."));
    assert_eq!(world.vendors.told(), told(&history));
    assert_eq!(world.vendors.seen().asked.len(), 2);

    assert_eq!(reason, EndedReason::AgentEnded);
    let hung_up = [("Status".to_owned(), "completed".to_owned())].to_vec();
    assert_eq!(world.vendors.seen().changed, [(ended.carrier_call_id.clone().unwrap(), hung_up)]);
    let whole = "Hello, this is Ada. On Saturday we close at six. Can I help you with anything else? Thank you. Goodbye.";
    assert_eq!(in_order(&world.vendors.seen().spoken, whole), whole);
    let said: Vec<_> = world
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
    let events = world.events().await;
    assert!(events.windows(2).all(|pair| pair[0].created_at <= pair[1].created_at), "in the order of time");
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    let count = |name: &str| names.iter().filter(|known| **known == name).count();
    assert_eq!((count("message:sent"), count("message:generated")), (5, 2));
    assert_eq!((count("speech:started"), count("speech:ended")), (5, 5));
    assert_eq!((count("function_call:triggered"), count("conversation:ended")), (1, 1));
    assert_eq!(names.last(), Some(&"conversation:ended"));
    let answered = events.iter().find(|event| event.data["latency"].is_object()).unwrap();
    assert_eq!(answered.data["message"]["content"], expected[2].1);
}

#[tokio::test]
async fn an_agent_that_is_interrupted_falls_silent_and_only_what_was_heard_is_stored() {
    const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on \
                        public holidays we are closed. In the summer we close at seven.";
    let world = World::new(quiet(), UNHURRIED).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.answer_with(Answer::Words(LONG));
    world.vendors.hear("What time do you close?").await;
    phone.until("a second of speech", |seen| seen.sent_ms() > 1_400).await;

    world.vendors.hear_begin("Thank").await;
    phone.until("a clear", |seen| seen.has(&Frame::Clear)).await;
    let messages = world.until_messages(2).await;
    let (cut, sent) = (&messages[1], phone.seen().sent_ms());
    assert!(cut.interrupted && LONG.starts_with(&cut.content), "{cut:?}");
    assert!((10..LONG.len() / 2).contains(&cut.content.len()), "{cut:?}");
    // As many words as the carrier can have played.
    assert!(cut.content.len() * UNHURRIED / 8 <= sent, "{cut:?} in {sent} ms");

    world.vendors.answer_with(Answer::Words("You are welcome."));
    world.vendors.hear("Thank you.").await;
    let messages = world.until_messages(4).await;
    let lines = told(&[
        ("system", "You are Ada."),
        ("user", "What time do you close?"),
        ("assistant", &messages[1].content),
        ("user", "Thank you."),
    ]);
    assert_eq!(world.vendors.told(), lines, "the model knows what was heard, and no more");
    assert_eq!(
        (messages[2].content.as_str(), messages[3].content.as_str()),
        ("Thank you.", "You are welcome.")
    );

    let seen = phone.seen();
    let cleared = seen.frames.iter().position(|(_, frame)| *frame == Frame::Clear).unwrap();
    let last_tone = world.vendors.seen().spoken.len() - 1;
    for (_, frame) in &seen.frames[cleared..] {
        let Frame::Media(audio) = frame else { continue };
        assert!(
            audio.iter().all(|byte| *byte == crate::world::tone(last_tone)),
            "only the new answer is sent"
        );
    }
    let events = world.events().await;
    let generated = events.iter().find(|event| event.name.as_str() == "message:generated").unwrap();
    assert_eq!(generated.data["message"]["content"], LONG);
}

#[tokio::test]
async fn the_recording_has_of_an_interrupted_agent_what_is_stored_of_it() {
    const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on \
                        public holidays we are closed. In the summer we close at seven.";
    const LONGEST_WORD: usize = 10;
    let world = World::new(quiet(), UNHURRIED).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    let mut turns = vec![];
    for heard_ms in [1_400, 2_600] {
        let sent_ms = phone.seen().sent_ms();
        world.vendors.answer_with(Answer::Words(LONG));
        world.vendors.hear("What time do you close?").await;
        phone.until("enough speech", |seen| seen.sent_ms() > sent_ms + heard_ms).await;
        world.vendors.hear_begin("Thank").await;
        turns.push(LONG);
        let stored = 2 * turns.len() as u64;
        world.until_messages(stored).await;
        world.vendors.answer_with(Answer::Words("You are welcome."));
        world.vendors.hear("Thank you.").await;
        turns.push("You are welcome.");
        world.until_messages(stored + 2).await;
    }
    phone.send(STOP).await;
    world.ended().await;
    // It is joined by then.
    worker.stop().await.unwrap();

    // Both were counted by the worker's clock: they differ by the word that was cut.
    let wav = world.object(|key| key.ends_with("recording.wav"));
    let samples = wav[44..].chunks_exact(4).filter(|sample| sample[2..] != [0, 0]).count();
    let messages = world.messages().await;
    let said: Vec<_> = messages.iter().filter(|message| message.role == Role::Agent).collect();
    assert_eq!(
        said.iter().map(|message| message.interrupted).collect::<Vec<_>>(),
        [true, false, true, false]
    );
    let characters: usize = said.iter().map(|message| message.content.len()).sum();
    let recorded = samples / UNHURRIED;
    assert!(
        (characters - 2 * LONGEST_WORD..characters + 2 * LONGEST_WORD).contains(&recorded),
        "{characters}, recorded {recorded}"
    );
}
