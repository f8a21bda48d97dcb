//! The user speaks while the agent speaks.

use super::*;

/// 25 characters: they play for 1,250 ms, from 100 ms on.
const ANSWER: &str = "We close at six as always";

/// A call in which [`ANSWER`] was sent to the synthesizer as one clause.
fn speaking() -> Call {
    let mut call = Call::asked("When do you close?");
    call.answers(0, ANSWER);
    assert_eq!(call.story(), [format!("generated: {ANSWER}"), format!("synthesize 0: {ANSWER}")]);
    call
}

#[test]
fn words_interrupt_the_agent_and_its_heard_words_are_kept() {
    let mut call = speaking();
    call.advance(100 + 500);
    assert_eq!(call.story(), ["agent starts"]);
    call.transcribes_interim("wait");
    // Ten characters have played; the word they end in was not heard to its end.
    assert_eq!(
        call.story(),
        ["user starts", "clear", "cancel synthesis", "agent stops", "agent, cut off: We close",]
    );
    assert_eq!(call.history(), ["user: When do you close?", "agent: We close"]);
    call.transcribes("Wait, tomorrow?");
    call.feed(Input::TurnEnded);
    assert_eq!(call.story(), ["user stops", "user: Wait, tomorrow?", "generate 1"]);
    assert_eq!(call.history()[2..], ["user: Wait, tomorrow?"]);
}

#[test]
fn an_interrupted_message_ends_at_the_barge_in() {
    let mut call = speaking();
    call.advance(600);
    call.transcribes_interim("wait");
    assert_eq!(call.messages().last(), Some(&(600, 100, 600)));
}

#[test]
fn an_unheard_response_is_no_message() {
    let mut call = speaking();
    call.advance(150);
    call.feed(Input::SpeechStarted);
    call.transcribes_interim("and tomorrow");
    assert_eq!(call.story(), ["agent starts", "user starts", "clear", "cancel synthesis", "agent stops"]);
    assert_eq!(call.history(), ["user: When do you close?"]);
    call.transcribes("and tomorrow?");
    call.feed(Input::TurnEnded);
    assert_eq!(call.history(), ["user: When do you close? and tomorrow?"]);
}

#[test]
fn the_greeting_can_be_interrupted() {
    let mut call = Call::new(Some("Hello, this is Ada. Do you have any questions?"));
    call.feed(Input::MediaStarted);
    call.advance(1000);
    call.says("Who is this?");
    assert_eq!(
        call.story()[3..],
        [
            "user starts",
            "clear",
            "cancel synthesis",
            "agent stops",
            "agent, cut off: Hello, this is",
            "user stops",
            "user: Who is this?",
            "generate 0",
        ]
    );
}

#[test]
fn speech_without_words_does_not_interrupt() {
    let mut call = speaking();
    call.advance(500);
    call.feed(Input::SpeechStarted);
    call.advance(200);
    call.feed(Input::TurnEnded);
    call.advance(2000);
    assert_eq!(
        call.story(),
        ["agent starts", "user starts", "user stops", "agent stops", &format!("agent: {ANSWER}"),]
    );
}

#[test]
fn nothing_is_cleared_when_nothing_was_sent() {
    let mut call = speaking();
    call.advance(50);
    call.transcribes_interim("and");
    assert_eq!(call.story(), ["user starts", "cancel synthesis"]);
}

#[test]
fn marks_of_cleared_audio_prove_nothing() {
    let mut call = speaking();
    call.advance(500);
    call.transcribes_interim("wait");
    call.feed(Input::TurnEnded);
    call.advance(10);
    call.answers(1, "We close at seven tomorrow.");
    call.advance(300);
    let old = Mark { clears: 0, number: 0 };
    call.feed(Input::Played { mark: old });
    call.advance(3000);
    assert_eq!(call.marks(), [(1, 0)]);
    assert_eq!(call.story().last().unwrap(), "agent: We close at seven tomorrow.");
}

#[test]
fn audio_behind_a_missing_mark_was_not_heard() {
    let mut call = Call::asked("When do you close?");
    call.carrier = None;
    call.answers(0, "We close at six today. Tomorrow we close at seven.");
    // By the clock, half of the second clause has played.
    call.advance(100 + 1100 + 700);
    call.transcribes_interim("wait");
    assert_eq!(call.story().last().unwrap(), "agent, cut off: We close at six today.");
}

#[test]
fn a_message_heard_to_its_end_is_not_interrupted() {
    let mut call = Call::asked("When do you close?");
    call.carrier = Some(Duration::from_millis(100));
    call.answers(0, "We close at six.");
    call.advance(100 + 800 + 50);
    call.transcribes("Thank you.");
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
}

#[test]
fn a_barge_in_cancels_an_unfinished_generation() {
    let mut call = Call::asked("When do you close?");
    call.writes(0, "We close at six today. But ");
    call.advance(2000);
    call.transcribes_interim("wait");
    assert_eq!(
        call.story()[1..],
        [
            "agent starts",
            "user starts",
            "cancel generation 0",
            "agent stops",
            "agent, cut off: We close at six today.",
        ]
    );
    call.writes(0, "this is not wanted any more.");
    call.finishes(0);
    call.advance(500);
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn the_pause_behind_the_words_is_no_part_of_them() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, ANSWER);
    // 50 ms per character, and a pause of 500 ms.
    call.delivers(0, 1250 + 500);
    call.feed(Input::VoiceFinished { clause: ClauseId(0), trailing_silence: Duration::from_millis(500) });
    call.advance(810);
    call.transcribes_interim("wait");
    assert_eq!(call.story().last().unwrap(), "agent, cut off: We close at six");
}

#[test]
fn the_clock_estimates_a_clause_whose_audio_is_not_complete() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six o'clock in the evening.");
    call.delivers(0, 1000);
    call.advance(990);
    call.transcribes_interim("wait");
    // A second of speech has about 15 characters.
    assert_eq!(call.story().last().unwrap(), "agent, cut off: We close at");
}

#[test]
fn two_barge_ins_keep_the_heard_words_of_both_responses() {
    let mut call = speaking();
    call.advance(600);
    call.says("Wait, on Sunday?");
    call.answers(1, "On Sunday we close at five.");
    call.advance(700);
    call.says("No, on Monday.");
    assert_eq!(call.story().last().unwrap(), "generate 2");
    call.answers(2, "At six as well.");
    call.advance(3000);
    assert_eq!(
        call.history(),
        [
            "user: When do you close?",
            "agent: We close",
            "user: Wait, on Sunday?",
            "agent: On Sunday we",
            "user: No, on Monday.",
            "agent: At six as well."
        ]
    );
}
