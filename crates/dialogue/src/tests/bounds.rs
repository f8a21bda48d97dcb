//! A model that writes without end.

use super::*;

const SENTENCE: &str = "This sentence is said. ";

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
    call.advance(300 * 30 * 50);
    let story = call.story();
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
    call.writes(0, &SENTENCE.repeat(18));
    assert!(!call.engine.wants_model());
    // It says nothing meanwhile, because nobody reads it: that is no failure.
    call.advance(10_000);
    assert!(call.engine.wants_model(), "some clauses were said");
    assert!(!call.story().iter().any(|line| line.starts_with("late")));
    call.advance(3_000);
    call.writes(0, SENTENCE);
    call.finishes(0);
    call.advance(60_000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {}", SENTENCE.repeat(19).trim_end()));
}

#[test]
fn an_input_costs_the_same_however_many_clauses_wait() {
    let mut call = Call::asked("Tell me everything.");
    call.writes(0, &SENTENCE.repeat(299));
    call.advance(60_000);
    // Not a measurement: the clauses that were played are not looked at any more.
    assert!(call.engine.deadline().is_some());
    call.finishes(0);
    call.advance(400_000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {}", SENTENCE.repeat(299).trim_end()));
}
