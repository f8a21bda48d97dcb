//! Functions that the model calls.

use super::*;

#[test]
fn functions_are_called_together_and_the_model_is_asked_again_when_all_have_answered() {
    let mut call = Call::asked("Is the cake ready?");
    call.writes(0, "Let me have a look.");
    call.calls(0, "a");
    call.calls(0, "b");
    call.calls(0, "b");
    assert_eq!(call.story(), [""; 0]);
    call.finishes(0);
    assert_eq!(
        call.story(),
        [
            "generated: Let me have a look.",
            "function a",
            "call a",
            "function b",
            "call b",
            "speak 0: Let me have a look.",
        ]
    );
    call.tool_answers("b", "yes");
    assert_eq!(call.story(), [""; 0]);
    call.tool_answers("a", "no");
    assert_eq!(call.story(), ["ask 1"]);
    let history =
        ["user: Is the cake ready?", "agent: Let me have a look.", "calls a, b", "a = no", "b = yes"];
    assert_eq!(call.history(), history, "although the agent has not said it yet");
    call.answers(1, "The cake is ready.");
    call.advance(5000);
    assert_eq!(
        call.story(),
        [
            "generated: The cake is ready.",
            "speak 1: The cake is ready.",
            "agent starts",
            "agent stops",
            "agent: Let me have a look.",
            "agent starts",
            "agent stops",
            "agent: The cake is ready.",
        ]
    );
    assert_eq!(call.history()[5..], ["agent: The cake is ready."]);
}

#[test]
fn a_result_is_kept_although_the_turn_was_interrupted() {
    let mut call = Call::asked("Is the cake ready?");
    call.calls(0, "a");
    call.finishes(0);
    call.says("And the bread?");
    assert_eq!(call.story()[2..], ["user starts", "user stops", "user: And the bread?", "ask 1"]);
    let unanswered = format!("a = {}", super::super::history::UNANSWERED);
    assert_eq!(call.history()[1..], ["calls a", &unanswered, "user: And the bread?"]);
    call.tool_answers("a", "yes");
    call.tool_answers("a", "again");
    assert_eq!(call.story(), [""; 0], "the model was asked already");
    assert_eq!(call.history()[1..], ["calls a", "a = yes", "user: And the bread?"]);
}

#[test]
fn a_result_that_comes_after_the_next_answer_is_told_then() {
    let mut call = Call::asked("Is the cake ready?");
    call.calls(0, "a");
    call.finishes(0);
    call.says("And the bread?");
    call.answers(1, "I am still looking.");
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: I am still looking.");
    call.tool_answers("a", "yes");
    assert_eq!(call.story(), ["ask 2"]);
    call.answers(2, "The cake is ready.");
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: The cake is ready.");
}

#[test]
fn a_turn_has_at_most_eight_rounds() {
    let mut call = Call::asked("Is the cake ready?");
    for round in 0..8 {
        call.calls(round, "a");
        call.finishes(round);
        call.tool_answers("a", "maybe");
    }
    assert_eq!(call.story().last().unwrap(), "ask 8");
    call.calls(8, "a");
    call.finishes(8);
    call.advance(300);
    assert_eq!(call.story(), ["ask 9"], "calls beyond are not made");
    call.calls(9, "a");
    call.finishes(9);
    assert_eq!(
        call.story(),
        ["speak 0: I'm sorry, I didn't catch that.", "speak 1: Could you say it again?"]
    );
}

#[test]
fn an_agent_that_says_nothing_after_its_functions_has_said_enough() {
    let mut call = Call::asked("Please note that.");
    call.writes(0, "I will note that.");
    call.calls(0, "a");
    call.finishes(0);
    call.tool_answers("a", "done");
    call.finishes(1);
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), "agent: I will note that.");
}

#[test]
fn an_agent_that_ends_the_call_says_its_goodbye_first() {
    let mut call = Call::asked("Goodbye.");
    call.writes(0, "Thank you for ordering with us. Goodbye.");
    call.calls(0, "end_call");
    call.finishes(0);
    call.feed(Input::HangUp);
    call.tool_answers("end_call", "{\"ok\": true}");
    call.advance(10_000);
    assert_eq!(
        call.story(),
        [
            "speak 0: Thank you for ordering with us.",
            "generated: Thank you for ordering with us. Goodbye.",
            "function end_call",
            "call end_call",
            "speak 1: Goodbye.",
            "agent starts",
            "agent stops",
            "agent: Thank you for ordering with us. Goodbye.",
            "end: AgentEnded",
        ]
    );
    assert_eq!(call.done.last().unwrap().0, ms(100 + 31 * 50 + 8 * 50));
}

#[test]
fn the_user_may_speak_while_a_function_runs_and_the_agent_answers() {
    let mut call = Call::asked("Is the cake ready?");
    call.writes(0, "Let me have a look.");
    call.calls(0, "a");
    call.finishes(0);
    call.advance(500);
    call.story();
    call.says("And the bread too, please.");
    assert_eq!(
        call.story(),
        [
            "user starts",
            "clear",
            "cancel speech",
            "agent stops",
            "agent, cut off: Let me",
            "user stops",
            "user: And the bread too, please.",
            "ask 1"
        ]
    );
    call.tool_answers("a", "yes");
    call.answers(1, "The cake is ready.");
    call.advance(3000);
    assert_eq!(
        call.history(),
        [
            "user: Is the cake ready?",
            "agent: Let me",
            "calls a",
            "a = yes",
            "user: And the bread too, please.",
            "agent: The cake is ready."
        ]
    );
}

#[test]
fn an_okay_while_a_function_runs_is_no_turn() {
    let mut call = Call::asked("Is the cake ready?");
    call.writes(0, "Let me have a look.");
    call.calls(0, "a");
    call.finishes(0);
    call.advance(1500);
    assert_eq!(call.story().last().unwrap(), "agent: Let me have a look.");
    call.says("Okay.");
    assert_eq!(call.story(), ["user starts", "user stops"]);
    call.advance(3000);
    assert_eq!(call.spoken(), [MOMENT]);
    call.says("Okay.");
    call.story();
    call.tool_answers("a", "yes");
    assert_eq!(call.story(), ["ask 1"], "which is told to the caller");
    call.answers(1, "The cake is ready.");
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: The cake is ready.");
    call.says("Okay.");
    assert_eq!(call.story().last().unwrap(), "ask 2", "after the answer it is one");
}
