//! Functions that the model calls.

use super::*;

#[test]
fn the_model_goes_on_when_all_functions_have_returned() {
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
            "synthesize 0: Let me have a look.",
        ]
    );
    call.tool_returns("b", "yes");
    assert_eq!(call.story(), [""; 0]);
    call.tool_returns("a", "no");
    assert_eq!(call.story(), ["generate 1"]);
    let history =
        ["user: Is the cake ready?", "agent: Let me have a look.", "calls a, b", "a = no", "b = yes"];
    assert_eq!(call.history(), history, "the words stand before the calls although they have not played");
    call.answers(1, "The cake is ready.");
    call.advance(5000);
    assert_eq!(
        call.story(),
        [
            "generated: The cake is ready.",
            "synthesize 1: The cake is ready.",
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
fn a_result_is_kept_after_a_barge_in() {
    let mut call = Call::asked("Is the cake ready?");
    call.calls(0, "a");
    call.finishes(0);
    call.says("And the bread?");
    assert_eq!(call.story()[2..], ["user starts", "user stops", "user: And the bread?", "generate 1"]);
    let unanswered = format!("a = {}", super::super::history::UNANSWERED);
    assert_eq!(call.history()[1..], ["calls a", &unanswered, "user: And the bread?"]);
    call.tool_returns("a", "yes");
    call.tool_returns("a", "again");
    assert_eq!(call.story(), [""; 0], "a generation is running already");
    assert_eq!(call.history()[1..], ["calls a", "a = yes", "user: And the bread?"]);
}

#[test]
fn a_result_that_returns_after_the_next_reply_is_reported_then() {
    let mut call = Call::asked("Is the cake ready?");
    call.calls(0, "a");
    call.finishes(0);
    call.says("And the bread?");
    call.answers(1, "I am still looking.");
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: I am still looking.");
    call.tool_returns("a", "yes");
    assert_eq!(call.story(), ["generate 2"]);
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
        call.tool_returns("a", "maybe");
    }
    assert_eq!(call.story().last().unwrap(), "generate 8");
    call.calls(8, "a");
    call.finishes(8);
    call.advance(300);
    assert_eq!(call.story(), ["generate 9"], "a ninth round of calls is not made");
    call.calls(9, "a");
    call.finishes(9);
    assert_eq!(
        call.story(),
        ["synthesize 0: I'm sorry, I didn't catch that.", "synthesize 1: Could you say it again?"]
    );
}

#[test]
fn a_reply_before_the_functions_is_enough() {
    let mut call = Call::asked("Please note that.");
    call.writes(0, "I will note that.");
    call.calls(0, "a");
    call.finishes(0);
    call.tool_returns("a", "done");
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
    call.tool_returns("end_call", "{\"ok\": true}");
    call.advance(10_000);
    assert_eq!(
        call.story(),
        [
            "synthesize 0: Thank you for ordering with us.",
            "generated: Thank you for ordering with us. Goodbye.",
            "function end_call",
            "call end_call",
            "synthesize 1: Goodbye.",
            "agent starts",
            "agent stops",
            "agent: Thank you for ordering with us. Goodbye.",
            "end: AgentEnded",
        ]
    );
    assert_eq!(call.done.last().unwrap().0, ms(100 + 31 * 50 + 8 * 50));
}

#[test]
fn a_user_who_speaks_while_a_function_runs_is_replied_to() {
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
            "cancel synthesis",
            "agent stops",
            "agent, cut off: Let me",
            "user stops",
            "user: And the bread too, please.",
            "generate 1"
        ]
    );
    call.tool_returns("a", "yes");
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
fn an_okay_while_a_function_runs_is_backchannel() {
    let mut call = Call::asked("Is the cake ready?");
    call.writes(0, "Let me have a look.");
    call.calls(0, "a");
    call.finishes(0);
    call.advance(1500);
    assert_eq!(call.story().last().unwrap(), "agent: Let me have a look.");
    call.says("Okay.");
    assert_eq!(call.story(), ["user starts", "user stops"]);
    call.advance(3000);
    assert_eq!(call.synthesized(), [HOLD_PHRASE]);
    call.says("Okay.");
    call.story();
    call.tool_returns("a", "yes");
    assert_eq!(call.story(), ["generate 1"], "the result is reported to the caller");
    call.answers(1, "The cake is ready.");
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: The cake is ready.");
    call.says("Okay.");
    assert_eq!(call.story().last().unwrap(), "generate 2", "after the reply it is a turn");
}
