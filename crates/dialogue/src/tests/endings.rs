//! How a conversation ends.

use super::*;

#[test]
fn a_hang_up_lets_the_agent_finish_what_it_says() {
    let mut call = Call::asked("Goodbye.");
    call.answers(0, "Thank you for calling. Have a nice day. Goodbye.");
    call.feed(Input::HangUp);
    call.feed(Input::HangUp);
    call.advance(10_000);
    let story = call.story();
    assert_eq!(
        story[story.len() - 2..],
        ["agent: Thank you for calling. Have a nice day. Goodbye.", "end: AgentEnded"]
    );
    // The clauses have 46 characters without the spaces between them.
    assert_eq!(call.done.last().unwrap().0, ms(100 + 46 * 50));
}

#[test]
fn a_hang_up_waits_at_most_five_seconds() {
    let mut call = Call::asked("Tell me all.");
    call.answers(0, &"This is one of many sentences. ".repeat(20));
    call.advance(1000);
    call.feed(Input::HangUp);
    call.advance(10_000);
    let story = call.story();
    assert!(story[story.len() - 2].starts_with("agent, cut off: This is one of many sentences. This is"));
    assert_eq!(*call.done.last().unwrap(), (ms(6000), Output::End { reason: EndedReason::AgentEnded }));
}

#[test]
fn a_hang_up_in_silence_is_immediate() {
    let mut call = Call::begun();
    call.transcribes("Hello");
    call.feed(Input::HangUp);
    assert_eq!(call.story(), ["user starts", "user stops", "user: Hello", "end: AgentEnded"]);
    let mut call = Call::asked("Hello.");
    call.feed(Input::HangUp);
    assert_eq!(call.story(), ["cancel generation 0", "end: AgentEnded"]);
}

#[test]
fn a_hang_up_stops_the_model_but_not_its_written_clauses() {
    let mut call = Call::asked("Tell me all.");
    call.writes(0, "We have bread. We have fresh cakes. We have rolls. We have t");
    call.feed(Input::HangUp);
    call.writes(0, "ea as well. ");
    call.finishes(0);
    call.advance(10_000);
    let story = call.story();
    assert!(story.contains(&"cancel generation 0".to_owned()));
    assert_eq!(
        story[story.len() - 2..],
        ["agent: We have bread. We have fresh cakes. We have rolls.", "end: AgentEnded",]
    );
}

#[test]
fn no_generation_starts_while_the_conversation_closes() {
    let mut call = Call::asked("Goodbye.");
    call.answers(0, "Thank you for calling. Goodbye.");
    call.advance(500);
    call.feed(Input::HangUp);
    call.says("Bye.");
    call.advance(10_000);
    assert_eq!(
        call.story()[3..],
        [
            "agent starts",
            "user starts",
            "user stops",
            "user: Bye.",
            "agent stops",
            "agent: Thank you for calling. Goodbye.",
            "end: AgentEnded",
        ]
    );
}

#[test]
fn the_maximum_duration_hangs_up() {
    let settings = EngineSettings { max_duration: Some(Duration::from_secs(3)), ..EngineSettings::default() };
    let mut call = Call::with(settings);
    call.now = ms(500);
    call.feed(Input::MediaStarted);
    call.advance(10_000);
    assert_eq!(call.story(), ["end: AgentEnded"]);
    assert_eq!(call.done.last().unwrap().0, ms(3500));
    assert_eq!(call.done.len(), 4, "three seconds and the end");
}

#[test]
fn a_closed_stream_keeps_the_words_of_both_sides() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, "We close at six in the evening.");
    call.advance(100 + 620);
    call.story();
    call.feed(Input::StreamClosed);
    assert_eq!(call.story(), ["agent stops", "agent, cut off: We close at", "end: UserEnded"]);

    let mut call = Call::begun();
    call.transcribes_interim("I have to");
    call.feed(Input::StreamClosed);
    assert_eq!(call.story(), ["user starts", "user stops", "user: I have to", "end: UserEnded"]);

    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.feed(Input::StreamClosed);
    assert_eq!(call.story(), ["user starts", "user stops", "end: UserEnded"]);
}

#[test]
fn the_first_side_that_hangs_up_gives_the_reason() {
    let mut call = Call::asked("Goodbye.");
    call.answers(0, "Thank you for calling. Goodbye.");
    call.advance(500);
    call.feed(Input::HangUp);
    call.feed(Input::StreamClosed);
    assert_eq!(call.story().last().unwrap(), "end: AgentEnded");
}

#[test]
fn nothing_follows_the_end() {
    let mut call = Call::new(Some("Hello, this is Ada."));
    call.feed(Input::StreamClosed);
    assert_eq!(call.story(), ["end: UserEnded"]);
    call.feed(Input::MediaStarted);
    call.says("Hello?");
    call.feed(Input::HangUp);
    call.feed(Input::StreamClosed);
    assert_eq!(call.story(), [""; 0]);
    assert_eq!(call.engine.deadline(), None);
}

#[test]
fn the_maximum_duration_lets_the_sentence_finish() {
    let settings = EngineSettings { max_duration: Some(Duration::from_secs(1)), ..EngineSettings::default() };
    let mut call = Call::with(settings);
    call.feed(Input::MediaStarted);
    call.says("When do you close?");
    call.answers(0, "We close at six in the evening.");
    call.advance(10_000);
    let story = call.story();
    assert_eq!(story[story.len() - 2..], ["agent: We close at six in the evening.", "end: AgentEnded"]);
    assert_eq!(call.done.last().unwrap().0, ms(100 + 31 * 50));
}

#[test]
fn a_hang_up_shortens_a_goodbye_without_audio() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.feed(Input::TranscriberLost);
    call.advance(1000);
    call.feed(Input::HangUp);
    call.advance(4999);
    assert!(!call.story().iter().any(|line| line.starts_with("end")));
    call.advance(1);
    assert_eq!(call.story().last().unwrap(), "end: Unknown");
}
