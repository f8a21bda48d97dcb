//! A call that is handed to another worker.

use super::{
    super::history::UNANSWERED,
    takeover::{ANSWER, GREETING, agent, answered, handed_over, takeover},
    *,
};

#[test]
fn a_drain_finishes_the_word_and_hands_over_the_rest() {
    let mut call = answered();
    // Five characters have played: "We cl".
    call.advance(100 + 250);
    call.story();
    call.feed(Input::Drain);
    call.advance(149);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(
        call.story(),
        [
            "clear",
            "cancel synthesis",
            "agent stops",
            "agent, cut off: We close",
            "hand over: at six today. Tomorrow we close at seven.",
        ]
    );
    assert_eq!(call.history(), ["user: When do you close?", "agent: We close"]);
    assert_eq!(call.messages().last(), Some(&(500, 100, 500)));
}

#[test]
fn a_drain_between_two_words_need_not_wait() {
    for after in [400, 420, 450] {
        let mut call = answered();
        call.advance(100 + after);
        call.feed(Input::Drain);
        let unspoken = "at six today. Tomorrow we close at seven.".to_owned();
        assert_eq!(handed_over(&call), Some((100 + after, Some(unspoken))));
    }
}

#[test]
fn a_word_that_takes_too_long_is_cut_after_half_a_second() {
    let mut call = Call::asked("What is it?");
    call.answers(0, "It is a Donaudampfschifffahrtsgesellschaft.");
    call.advance(100 + 450);
    call.feed(Input::Drain);
    call.advance(5000);
    let unspoken = Some("Donaudampfschifffahrtsgesellschaft.".to_owned());
    assert_eq!(handed_over(&call), Some((550 + 500, unspoken)));
}

#[test]
fn a_drain_after_the_last_word_leaves_nothing_unspoken() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, "We close at six.");
    call.advance(100 + 700);
    call.story();
    call.feed(Input::Drain);
    call.advance(5000);
    assert_eq!(
        call.story(),
        ["agent stops", "agent: We close at six.", "hand over"].map(str::to_owned),
        "it was heard to its end"
    );
    assert_eq!(handed_over(&call), Some((900, None)));
}

#[test]
fn a_drain_in_silence_hands_over_at_once() {
    let mut call = Call::begun();
    call.feed(Input::Drain);
    assert_eq!(call.story(), ["hand over"]);
    assert_eq!(call.engine.deadline(), None);
    call.says("Hello?");
    call.feed(Input::StreamClosed);
    assert_eq!(call.story(), [""; 0], "nothing follows");
}

#[test]
fn a_user_who_is_speaking_finishes_before_the_call_is_handed_over() {
    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.feed(Input::Drain);
    call.advance(1_000);
    assert_eq!(handed_over(&call), None);
    call.says("When do you close?");
    call.feed(Input::TurnEnded);
    assert_eq!(handed_over(&call).map(|(_, unspoken)| unspoken), Some(None));
    assert_eq!(call.history(), ["user: When do you close?"]);
}

#[test]
fn a_user_who_never_finishes_does_not_keep_a_worker() {
    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.feed(Input::Drain);
    call.advance(5_000);
    assert!(handed_over(&call).is_some());
}

#[test]
fn a_broken_stream_is_handed_over_at_once() {
    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.feed(Input::StreamLost);
    assert!(handed_over(&call).is_some());
}

#[test]
fn an_unheard_reply_is_left_to_the_next_worker() {
    let asked = Call::asked("When do you close?");
    let mut written = answered();
    written.advance(50);
    let mut begun = Call::asked("When do you close?");
    begun.answers(0, "Donaudampfschifffahrtsgesellschaft.");
    begun.advance(500);
    let mut failing = Call::asked("When do you close?");
    failing.fails(0);
    failing.fails(1);
    for mut call in [asked, written, begun, failing] {
        call.story();
        call.feed(Input::Drain);
        call.advance(500);
        assert!(!call.story().iter().any(|line| line.starts_with("agent, cut off")));
        assert_eq!(handed_over(&call).map(|(_, unspoken)| unspoken), Some(None));
        assert_eq!(call.history(), ["user: When do you close?"]);
        let mut next = takeover(call.engine.history(), None);
        assert_eq!(next.story(), ["generate 0"]);
    }
}

#[test]
fn an_unheard_greeting_is_said_by_the_next_worker() {
    let mut call = Call::new(Some(GREETING));
    call.feed(Input::Drain);
    assert_eq!(call.story(), [format!("hand over: {GREETING}")]);
    let mut call = Call::new(Some(GREETING));
    call.transcribes("Hello?");
    call.feed(Input::StreamLost);
    assert_eq!(call.story().last().unwrap(), "hand over", "the caller is answered instead");
    let mut call = Call::new(Some(GREETING));
    call.feed(Input::MediaStarted);
    call.advance(50);
    call.feed(Input::Drain);
    assert_eq!(call.story()[2..], ["cancel synthesis".to_owned(), format!("hand over: {GREETING}")]);
    assert_eq!(call.history(), [""; 0]);
}

#[test]
fn what_was_not_said_yet_is_handed_on() {
    let mut call = takeover(vec![agent("We close")], Some("at six today."));
    call.advance(500);
    call.feed(Input::SpeechStarted);
    call.feed(Input::StreamLost);
    assert_eq!(call.story(), ["user starts", "user stops", "hand over: at six today."]);
}

#[test]
fn words_of_the_user_are_kept_and_left_to_the_next_worker() {
    let mut call = Call::begun();
    call.transcribes("I would like");
    call.transcribes_interim("two");
    call.feed(Input::StreamLost);
    assert_eq!(call.story(), ["user starts", "user stops", "user: I would like two", "hand over"]);
    assert_eq!(call.history(), ["user: I would like two"]);
}

#[test]
fn a_caller_who_speaks_during_the_drain_is_heard_first() {
    let mut call = answered();
    call.advance(100 + 620);
    call.story();
    call.feed(Input::Drain);
    call.transcribes("Wait!");
    call.advance(500);
    assert_eq!(
        call.story(),
        [
            "user starts",
            "clear",
            "cancel synthesis",
            "agent stops",
            "agent, cut off: We close at",
            "user stops",
            "user: Wait!",
            "hand over",
        ]
    );
}

#[test]
fn a_handover_keeps_written_clauses_and_drops_the_rest() {
    let mut call = Call::asked("What do you have?");
    call.writes(0, "We have bread. We have fresh cakes. We have rolls. We have t");
    call.advance(100 + 400);
    call.story();
    call.feed(Input::Drain);
    call.advance(1000);
    assert_eq!(
        call.story(),
        [
            "clear",
            "cancel generation 0",
            "cancel synthesis",
            "agent stops",
            "agent, cut off: We have",
            "hand over: bread. We have fresh cakes. We have rolls.",
        ]
    );
}

#[test]
fn running_functions_are_left_to_the_next_worker() {
    let mut call = Call::asked("Is the cake ready?");
    call.writes(0, "Let me have a look.");
    call.calls(0, "a");
    call.finishes(0);
    call.advance(100 + 250);
    call.feed(Input::Drain);
    call.advance(1000);
    assert_eq!(call.story().last().unwrap(), "hand over");
    let history = ["user: Is the cake ready?", "agent: Let me", "calls a", &format!("a = {UNANSWERED}")];
    assert_eq!(call.history(), history);
    assert_eq!(takeover(call.engine.history(), None).story(), ["generate 0"]);
}

#[test]
fn a_closing_conversation_ends_although_the_worker_drains() {
    for (first, second) in [(Input::HangUp, Input::Drain), (Input::Drain, Input::HangUp)] {
        let mut call = answered();
        call.advance(720);
        call.feed(first);
        call.feed(second);
        call.advance(10_000);
        let story = call.story();
        assert_eq!(story[story.len() - 2..], [format!("agent: {ANSWER}"), "end: AgentEnded".into()]);
    }
    let mut call = answered();
    call.advance(720);
    call.feed(Input::Drain);
    call.feed(Input::StreamClosed);
    assert_eq!(call.story().last().unwrap(), "end: UserEnded");
}
