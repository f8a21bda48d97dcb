//! Providers that fail or stay silent.

use super::*;

fn spoken(story: &[String]) -> String {
    let texts =
        story.iter().filter(|line| line.starts_with("synthesize")).filter_map(|line| line.split_once(": "));
    texts.map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

/// Fails a generation and its retry; the story after that.
fn failed_turn(call: &mut Call, generation: u32) -> Vec<String> {
    call.fails(generation);
    call.advance(300);
    assert_eq!(call.story().last().unwrap(), &format!("generate {}", generation + 1));
    call.fails(generation + 1);
    call.advance(10_000);
    call.story()
}

#[test]
fn a_failed_generation_is_retried_once_then_the_agent_apologises() {
    let mut call = Call::asked("When do you close?");
    let story = failed_turn(&mut call, 0);
    assert_eq!(spoken(&story), APOLOGY);
    assert_eq!(story.last().unwrap(), &format!("agent: {APOLOGY}"));
    assert_eq!(call.history(), ["user: When do you close?", &format!("agent: {APOLOGY}")]);
}

#[test]
fn a_generation_that_fails_fast_is_retried_after_300_ms() {
    let mut call = Call::asked("When do you close?");
    call.fails(0);
    call.advance(299);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), ["generate 1"]);
    call.answers(1, "We close at six.");
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
}

#[test]
fn a_user_who_goes_on_before_the_retry_keeps_the_turn() {
    let mut call = Call::asked("When do you");
    call.fails(0);
    call.advance(200);
    call.transcribes("close?");
    call.feed(Input::TurnEnded);
    assert_eq!(call.story(), ["user starts", "user stops", "user: close?", "generate 1"]);
    call.advance(1000);
    assert_eq!(call.story(), [""; 0], "the retry was cancelled");
}

#[test]
fn a_pending_retry_is_left_to_the_next_worker() {
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
fn a_reply_resets_the_count_of_failed_turns() {
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
    assert_eq!(call.story().last().unwrap(), &format!("agent: {HOLD_PHRASE}"));
    call.advance(1);
    assert_eq!(call.story(), ["late: LanguageModel", "cancel generation 0", "generate 1"]);
    call.advance(4000);
    let story = call.story();
    assert_eq!(story[..2], ["late: LanguageModel", "cancel generation 1"]);
    assert_eq!(spoken(&story), APOLOGY);
}

#[test]
fn a_model_that_stalls_keeps_its_finished_clauses() {
    let mut call = Call::asked("When do you close?");
    call.writes(0, "We close at six today. But on Sat");
    call.advance(10_000);
    assert_eq!(
        call.story(),
        [
            "synthesize 0: We close at six today.",
            "agent starts",
            "late: LanguageModel",
            "cancel generation 0",
            "generated: We close at six today. But on Sat",
            "agent stops",
            "agent: We close at six today.",
        ]
    );
}

#[test]
fn a_generation_without_speakable_text_has_failed() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, " \u{1f370} ");
    call.advance(300);
    assert_eq!(call.story(), ["generate 1"]);
    call.finishes(1);
    assert!(APOLOGY.starts_with(&spoken(&call.story())));
}

#[test]
fn a_failed_clause_is_synthesized_once_more() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six.");
    call.voice_fails(0);
    assert_eq!(call.story()[2..], ["synthesize 1: We close at six."]);
    call.delivers(0, 500);
    assert_eq!(call.sent(), [], "audio of the failed attempt is ignored");
    call.delivers(1, 500);
    call.completes(1);
    call.advance(1000);
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
}

#[test]
fn a_clause_that_waits_for_its_turn_is_not_given_up() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.clips = true;
    call.answers(0, "We close at six.");
    for _ in 0..4 {
        call.advance(1900);
        call.feed(Input::VoiceDelayed { clause: ClauseId(0) });
    }
    let requested = call.synthesized().into_iter().filter(|text| text == "We close at six.").count();
    assert_eq!(requested, 1);
    call.delivers(0, 500);
    call.completes(0);
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
}

#[test]
fn a_clause_that_fails_twice_is_left_out() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six. Goodbye, Sir.");
    call.voice_fails(0);
    call.voice_fails(2);
    call.delivers(1, 500);
    call.completes(1);
    call.advance(1000);
    assert_eq!(call.story().last().unwrap(), "agent: Goodbye, Sir.");
    assert_eq!(call.history()[1], "agent: Goodbye, Sir.");
}

#[test]
fn a_synthesizer_silent_for_two_seconds_has_failed() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six. Goodbye, Sir.");
    call.story();
    call.advance(1999);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), ["late: Synthesizer", "synthesize 2: We close at six."]);
    call.advance(100);
    call.delivers(2, 3000);
    call.completes(2);
    call.advance(1999);
    assert_eq!(call.story(), ["agent starts"], "the second clause's time begins when the first is complete");
    call.advance(1);
    assert_eq!(call.story(), ["late: Synthesizer", "synthesize 3: Goodbye, Sir."]);
}

#[test]
fn a_clause_that_finishes_without_audio_has_failed() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six.");
    call.delivers(0, 0);
    call.completes(0);
    assert_eq!(call.story()[2..], ["synthesize 1: We close at six."]);
}

#[test]
fn a_synthesizer_that_stalls_for_three_seconds_has_failed() {
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
fn a_clause_that_breaks_off_counts_as_far_as_it_was_heard() {
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
fn a_turn_without_any_audio_has_failed() {
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
fn a_greeting_that_fails_lets_the_caller_speak() {
    let mut call = Call::new(Some("Hello, this is Ada."));
    call.voice = None;
    call.feed(Input::MediaStarted);
    call.advance(10_000);
    assert_eq!(
        call.story(),
        [
            "synthesize 0: Hello, this is Ada.",
            "late: Synthesizer",
            "synthesize 1: Hello, this is Ada.",
            "late: Synthesizer"
        ]
    );
    assert_eq!(call.history(), [""; 0]);
    call.says("Hello?");
    assert_eq!(call.story().last().unwrap(), "generate 0");
}
