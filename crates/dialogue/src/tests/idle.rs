//! Silence: neither the caller nor the agent speaks.

use super::*;

#[test]
fn fifteen_seconds_of_silence_start_a_reminder() {
    let mut call = Call::new(Some("Hello, this is Ada."));
    call.feed(Input::MediaStarted);
    // The greeting plays from 100 to 1,050 ms.
    call.advance(16_000);
    assert_eq!(call.story().last().unwrap(), "agent: Hello, this is Ada.");
    call.advance(100);
    assert_eq!(call.story(), ["generate 0"]);
    assert_eq!(call.history(), ["agent: Hello, this is Ada.", "note"]);
    call.answers(0, "Are you still there?");
    call.advance(2000);
    assert_eq!(call.story().last().unwrap(), "agent: Are you still there?");
    assert_eq!(call.history(), ["agent: Hello, this is Ada.", "note", "agent: Are you still there?"]);
}

#[test]
fn after_three_reminders_the_agent_says_goodbye_and_ends() {
    let mut call = Call::begun();
    for generation in 0..3 {
        call.advance(15_000);
        assert_eq!(call.story().last().unwrap(), &format!("generate {generation}"));
        call.answers(generation, "Are you still there?");
        call.advance(1100);
    }
    call.advance(20_000);
    let story = call.story();
    assert_eq!(story[story.len() - 2..], [format!("agent: {IDLE_GOODBYE}"), "end: AgentEnded".into()]);
}

#[test]
fn words_reset_the_count_of_reminders() {
    let mut call = Call::begun();
    for generation in [0, 2, 4] {
        call.advance(15_000);
        assert_eq!(call.story().last().unwrap(), &format!("generate {generation}"));
        call.answers(generation, "Are you still there?");
        call.advance(1100);
        call.says("Just a moment please.");
        call.answers(generation + 1, "Take your time.");
        call.advance(1100);
    }
    assert!(!call.story().iter().any(|line| line.starts_with("end")));
}

#[test]
fn a_sound_puts_the_reminder_off() {
    let mut call = Call::begun();
    call.advance(14_000);
    call.sounds(100, -15);
    call.advance(14_900);
    assert_eq!(call.story(), [""; 0]);
    call.advance(100);
    assert_eq!(call.story(), ["generate 0"]);
}

#[test]
fn a_sound_that_goes_on_without_a_word_is_silence() {
    let mut call = Call::begun();
    for (generation, after_ms) in [31_000, 20_000, 20_000].into_iter().enumerate() {
        call.feed(Input::SpeechStarted);
        call.sounds(after_ms, -15);
        let story = call.story();
        assert!(story.contains(&format!("generate {generation}")), "{story:?}");
        call.answers(u32::try_from(generation).unwrap(), "Are you still there?");
    }
    call.sounds(40_000, -15);
    assert_eq!(call.story().last().unwrap(), "end: AgentEnded");
}

#[test]
fn a_running_tool_is_no_silence() {
    let mut call = Call::asked("Is there a table?");
    call.calls(0, "a");
    call.finishes(0);
    call.story();
    call.advance(60_000);
    let moment = format!("agent: {HOLD_PHRASE}");
    assert_eq!(
        call.story(),
        [&format!("synthesize 0: {HOLD_PHRASE}"), "agent starts", "agent stops", &moment]
    );
}

#[test]
fn a_failed_reminder_is_no_failed_turn() {
    let mut call = Call::begun();
    call.advance(15_000);
    call.fails(0);
    call.advance(300);
    call.fails(1);
    call.advance(5000);
    assert_eq!(call.story(), ["generate 0", "generate 1"]);
}
