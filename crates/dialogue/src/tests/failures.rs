//! Providers that fail or stay silent.

use super::*;

fn spoken(story: &[String]) -> String {
    let texts =
        story.iter().filter(|line| line.starts_with("speak")).filter_map(|line| line.split_once(": "));
    texts.map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

/// Two failed requests, and what follows them.
fn failed_turn(call: &mut Call, generation: u32) -> Vec<String> {
    call.fails(generation);
    call.advance(300);
    assert_eq!(call.story().last().unwrap(), &format!("ask {}", generation + 1));
    call.fails(generation + 1);
    call.advance(10_000);
    call.story()
}

#[test]
fn a_model_that_fails_is_asked_once_again_and_then_the_agent_apologises() {
    let mut call = Call::asked("When do you close?");
    let story = failed_turn(&mut call, 0);
    assert_eq!(spoken(&story), APOLOGY);
    assert_eq!(story.last().unwrap(), &format!("agent: {APOLOGY}"));
    assert_eq!(call.history(), ["user: When do you close?", &format!("agent: {APOLOGY}")]);
}

#[test]
fn a_model_that_fails_fast_is_asked_again_after_300_ms() {
    let mut call = Call::asked("When do you close?");
    call.fails(0);
    call.advance(299);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), ["ask 1"]);
    call.answers(1, "We close at six.");
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
}

#[test]
fn a_user_who_goes_on_before_the_model_is_asked_again_keeps_the_turn() {
    let mut call = Call::asked("When do you");
    call.fails(0);
    call.advance(200);
    call.hears("close?");
    call.feed(Input::TurnEnded);
    assert_eq!(call.story(), ["user starts", "user stops", "user: close?", "ask 1"]);
    call.advance(1000);
    assert_eq!(call.story(), [""; 0], "it is asked once");
}

#[test]
fn a_model_that_is_to_be_asked_again_is_asked_by_the_next_worker() {
    let mut call = Call::asked("When do you close?");
    call.fails(0);
    call.feed(Input::Drain);
    assert_eq!(call.story(), ["hand over"]);
    assert_eq!(call.history(), ["user: When do you close?"]);
}

#[test]
fn three_failed_turns_in_a_row_end_the_conversation() {
    let mut call = Call::asked("When do you close?");
    for generation in [0, 2] {
        assert_eq!(spoken(&failed_turn(&mut call, generation)), APOLOGY);
        call.says("When do you close?");
    }
    let story = failed_turn(&mut call, 4);
    assert_eq!(spoken(&story), GOODBYE);
    assert_eq!(story[story.len() - 2..], [format!("agent: {GOODBYE}"), "end: Unknown".into()]);
}

#[test]
fn an_answer_in_between_makes_up_for_failed_turns() {
    let mut call = Call::asked("When do you close?");
    for generation in [0, 3, 6] {
        assert_eq!(spoken(&failed_turn(&mut call, generation)), APOLOGY);
        call.says("When do you close?");
        call.answers(generation + 2, "We close at six.");
        call.advance(5000);
        call.says("Really?");
    }
}

#[test]
fn a_model_that_stays_silent_for_four_seconds_has_failed() {
    let mut call = Call::asked("When do you close?");
    call.advance(3999);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {MOMENT}"));
    call.advance(1);
    assert_eq!(call.story(), ["late: LanguageModel", "cancel ask 0", "ask 1"]);
    call.advance(4000);
    let story = call.story();
    assert_eq!(story[..2], ["late: LanguageModel", "cancel ask 1"]);
    assert_eq!(spoken(&story), APOLOGY);
}

#[test]
fn a_model_that_stops_in_the_middle_has_said_what_it_said() {
    let mut call = Call::asked("When do you close?");
    call.writes(0, "We close at six today. But on Sat");
    call.advance(10_000);
    assert_eq!(
        call.story(),
        [
            "speak 0: We close at six today.",
            "agent starts",
            "late: LanguageModel",
            "cancel ask 0",
            "generated: We close at six today. But on Sat",
            "agent stops",
            "agent: We close at six today.",
        ]
    );
}

#[test]
fn a_model_that_answers_nothing_has_failed() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, " \u{1f370} ");
    call.advance(300);
    assert_eq!(call.story(), ["ask 1"]);
    call.finishes(1);
    assert!(APOLOGY.starts_with(&spoken(&call.story())));
}

#[test]
fn a_voice_that_fails_is_asked_once_again() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six.");
    call.voice_fails(0);
    assert_eq!(call.story()[2..], ["speak 1: We close at six."]);
    call.delivers(0, 500);
    assert_eq!(call.sent(), [], "of the first try nothing is wanted any more");
    call.delivers(1, 500);
    call.spoke(1);
    call.advance(1000);
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
}

#[test]
fn a_clause_the_voice_cannot_speak_is_left_out() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six. Goodbye, Sir.");
    call.voice_fails(0);
    call.voice_fails(2);
    call.delivers(1, 500);
    call.spoke(1);
    call.advance(1000);
    assert_eq!(call.story().last().unwrap(), "agent: Goodbye, Sir.");
    assert_eq!(call.history()[1], "agent: Goodbye, Sir.");
}

#[test]
fn a_voice_that_stays_silent_for_two_seconds_has_failed() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six. Goodbye, Sir.");
    call.story();
    call.advance(1999);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), ["late: Synthesizer", "speak 2: We close at six."]);
    call.advance(100);
    call.delivers(2, 3000);
    call.spoke(2);
    call.advance(1999);
    assert_eq!(call.story(), ["agent starts"], "the second clause's time begins when the first is done");
    call.advance(1);
    assert_eq!(call.story(), ["late: Synthesizer", "speak 3: Goodbye, Sir."]);
}

#[test]
fn a_voice_that_speaks_without_audio_has_failed() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six.");
    call.delivers(0, 0);
    call.spoke(0);
    assert_eq!(call.story()[2..], ["speak 1: We close at six."]);
}

#[test]
fn a_voice_that_stops_in_the_middle_has_failed_after_three_seconds() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six.");
    call.delivers(0, 700);
    call.advance(2999);
    assert!(!call.story().contains(&"agent stops".to_owned()));
    call.advance(1);
    assert_eq!(call.story(), ["late: Synthesizer", "agent stops", "agent: We close"], "no more was heard");
}

#[test]
fn a_voice_that_breaks_off_has_said_what_was_heard() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six o'clock in the evening.");
    call.delivers(0, 1000);
    call.voice_fails(0);
    call.advance(2000);
    // A second of speech has about 15 characters.
    assert_eq!(call.story().last().unwrap(), "agent: We close at six");
}

#[test]
fn a_turn_in_which_nothing_could_be_spoken_has_failed() {
    let mut call = Call::begun();
    call.voice = None;
    for turn in 0..3 {
        call.says("When do you close?");
        let Some((_, Output::StartGeneration { generation })) = call.done.last().cloned() else { panic!() };
        call.answers(generation.0, "We close at six.");
        call.advance(20_000);
        let story = call.story();
        let apology = if turn < 2 { "I'm sorry, I didn't" } else { "I'm sorry, I'm having" };
        assert!(story.iter().any(|line| line.contains(apology)), "{story:?}");
    }
    assert_eq!(call.done.last().unwrap().1, Output::End { reason: EndedReason::Unknown });
}

#[test]
fn a_greeting_that_cannot_be_spoken_lets_the_caller_speak() {
    let mut call = Call::new(Some("Hello, this is Ada."));
    call.voice = None;
    call.feed(Input::MediaStarted);
    call.advance(10_000);
    assert_eq!(
        call.story(),
        [
            "speak 0: Hello, this is Ada.",
            "late: Synthesizer",
            "speak 1: Hello, this is Ada.",
            "late: Synthesizer"
        ]
    );
    assert_eq!(call.history(), [""; 0]);
    call.says("Hello?");
    assert_eq!(call.story().last().unwrap(), "ask 0");
}
