//! A model that leaves the caller waiting without an error.

use super::*;

#[test]
fn nothing_after_an_announcement_is_retried_and_apologised_for() {
    let mut call = Call::watched("How many cakes are there?");
    call.writes(0, "One moment, let me look into that.");
    call.calls(0, "a");
    call.finishes(0);
    call.tool_returns("a", "seven");
    call.finishes(1);
    assert_eq!(call.story().last().unwrap(), "model: NoWords");
    call.advance(300);
    assert_eq!(call.story().last().unwrap(), "generate 2");
    call.writes(2, " \n");
    call.finishes(2);
    call.advance(10_000);
    let story = call.story();
    assert!(story.contains(&"model: NoWords".into()), "{story:?}");
    assert_eq!(story.last().unwrap(), &format!("agent: {APOLOGY}"));
}

#[test]
fn words_after_the_retry_are_said() {
    let mut call = Call::watched("How many cakes are there?");
    call.writes(0, "One moment, let me look into that.");
    call.calls(0, "a");
    call.finishes(0);
    call.tool_returns("a", "seven");
    call.finishes(1);
    call.advance(300);
    call.answers(2, "There are seven.");
    call.advance(10_000);
    assert_eq!(call.story().last().unwrap(), "agent: There are seven.");
}

#[test]
fn an_empty_response_is_recorded_and_retried() {
    let mut call = Call::watched("How many cakes are there?");
    call.finishes(0);
    assert_eq!(call.story(), ["model: NoWords"]);
    call.advance(300);
    call.answers(1, "There are seven.");
    call.advance(5_000);
    assert_eq!(call.story().last().unwrap(), "agent: There are seven.");
}

#[test]
fn three_announced_turns_without_words_do_not_end_the_call() {
    let mut call = Call::watched("How many cakes are there?");
    for turn in 0..4 {
        let first = 3 * turn;
        call.writes(first, "One moment, please, I am looking.");
        call.calls(first, &turn.to_string());
        call.finishes(first);
        call.tool_returns(&turn.to_string(), "seven");
        call.finishes(first + 1);
        call.advance(300);
        call.finishes(first + 2);
        call.advance(10_000);
        assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"), "turn {turn}");
        call.says("And now, how many are there?");
    }
}

#[test]
fn a_model_that_only_calls_functions_is_noted_and_apologised_for() {
    let mut call = Call::watched("Is the cake ready?");
    call.writes(0, "One moment, let me look into that.");
    for round in 0..10 {
        call.calls(round, &round.to_string());
        call.finishes(round);
        call.advance(2_000);
        call.tool_returns(&round.to_string(), "maybe");
        call.advance(300);
    }
    let story = call.story();
    assert_eq!(story.iter().filter(|line| line.starts_with("call ")).count(), 8);
    assert_eq!(story.iter().filter(|line| *line == "model: TooManyRounds").count(), 2);
    let held = story.iter().filter(|line| line.ends_with(HOLD_PHRASE) && line.starts_with("agent")).count();
    assert!(held >= 2, "the caller is not left alone for twenty seconds: {story:?}");
    call.advance(10_000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"));
}
