//! A model that writes without end.

use super::*;

const SENTENCE: &str = "This sentence is said. ";

/// The story until the response has been said, without the reminders that follow.
fn until_said(call: &mut Call) -> Vec<String> {
    let mut story = vec![];
    for _ in 0..1_000 {
        call.advance(1_000);
        story.extend(call.story());
        if story.iter().any(|line| line.starts_with("agent: ")) {
            return story;
        }
    }
    panic!("not said: {story:?}");
}

#[test]
fn a_response_that_is_too_long_is_cut_and_said() {
    let mut call = Call::asked("Tell me everything.");
    // In one piece, as a server that does not stream sends it.
    call.writes(0, &SENTENCE.repeat(10_000));
    let story = call.story();
    assert!(
        story.contains(&"model: TooLong".into()) && story.contains(&"cancel generation 0".into()),
        "{story:?}"
    );
    let story = until_said(&mut call);
    let said = story.iter().filter(|line| line.starts_with("synthesize")).count();
    assert_eq!(said, 300 - 2, "two clauses were at the synthesizer before");
    assert_eq!(story.iter().filter(|line| line.starts_with("agent: ")).count(), 1);
    call.says("Thank you.");
    assert_eq!(call.story().last().unwrap(), "generate 1", "the call goes on");
    assert!(call.history().concat().len() < 40 * 1024);
}

#[test]
fn a_text_without_a_clause_that_is_too_long_has_failed() {
    let mut call = Call::asked("Tell me everything.");
    for generation in [0, 1] {
        call.writes(generation, &"\u{1f370}".repeat(20_000));
        assert!(call.story().contains(&"model: TooLong".into()));
        call.advance(300);
    }
    call.advance(5_000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"));
}

#[test]
fn too_many_function_calls_are_cut() {
    let mut call = Call::asked("Tell me everything.");
    for number in 0..100 {
        call.calls(0, &number.to_string());
    }
    let story = call.story();
    assert_eq!(story.iter().filter(|line| line.starts_with("call ")).count(), 64);
    assert!(story.contains(&"model: TooLong".into()));
}

#[test]
fn a_model_is_not_read_while_enough_clauses_wait() {
    let mut call = Call::asked("Tell me everything.");
    assert!(call.engine.wants_model());
    call.writes(0, &SENTENCE.repeat(40));
    let begun = call.now;
    while !call.engine.wants_model() {
        call.advance(100);
    }
    // The model was silent for longer than it may stall, because the worker did not read it: that is no failure.
    assert!(call.now.since(begun) > Duration::from_secs(10), "{:?}", call.now.since(begun));
    call.advance(2_500);
    assert!(!call.story().iter().any(|line| line.starts_with("late")));
    call.writes(0, SENTENCE);
    call.finishes(0);
    let story = until_said(&mut call);
    assert_eq!(story.last().unwrap(), &format!("agent: {}", SENTENCE.repeat(41).trim_end()));
}

#[test]
fn as_many_clauses_as_allowed_are_one_message() {
    let mut call = Call::asked("Tell me everything.");
    call.writes(0, &SENTENCE.repeat(299));
    call.finishes(0);
    let story = until_said(&mut call);
    assert_eq!(story.last().unwrap(), &format!("agent: {}", SENTENCE.repeat(299).trim_end()));
}
