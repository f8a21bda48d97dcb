//! A call that changes workers.

use proptest::prelude::*;

use super::{super::history::UNANSWERED, *};

const GREETING: &str = "Hello, this is Ada. Do you have any questions?";
/// 50 characters: they play for 2,500 ms, from 100 ms on.
const ANSWER: &str = "We close at six today. Tomorrow we close at seven.";

fn user(text: &str) -> Line {
    Line::User(text.into())
}

fn agent(text: &str) -> Line {
    Line::Agent(text.into())
}

/// A call that was taken over and has begun here.
fn resumed(history: Vec<Line>, unsaid: Option<&str>) -> Call {
    let mut call = taken_over(Resumed { history, unsaid: unsaid.map(str::to_owned), ..Resumed::default() });
    call.feed(Input::Started);
    call
}

fn taken_over(resumed: Resumed) -> Call {
    Call::with(Settings { greeting: Some(GREETING.into()), resumed: Some(resumed), ..Settings::default() })
}

/// A call in which the answer is spoken as two clauses.
fn answered() -> Call {
    let mut call = Call::asked("When do you close?");
    call.answers(0, ANSWER);
    call
}

/// What the next worker is told to say, and when (in ms) the call was handed over.
fn handed_over(call: &Call) -> Option<(u64, Option<String>)> {
    match call.done.last()? {
        (at, Output::HandOver { unsaid }) => Some((at.0 / 1000, unsaid.clone())),
        _ => None,
    }
}

#[test]
fn a_call_taken_over_is_not_greeted_and_knows_what_was_said() {
    let mut call = resumed(vec![agent("Hello."), user("Is it ready?"), agent("It is.")], None);
    call.advance(10_000);
    assert_eq!(call.story(), [""; 0]);
    call.says("Thank you.");
    assert_eq!(call.story(), ["user starts", "user stops", "user: Thank you.", "ask 0"]);
    assert_eq!(call.history(), ["agent: Hello.", "user: Is it ready?", "agent: It is.", "user: Thank you."]);
}

#[test]
fn what_was_cut_off_is_said_after_a_second_of_silence() {
    let mut call = resumed(vec![user("When do you close?"), agent("We close")], Some("at six today."));
    call.advance(999);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), ["speak 0: at six today."]);
    call.advance(5000);
    assert_eq!(call.story(), ["agent starts", "agent stops", "agent: at six today."]);
    assert_eq!(call.history(), ["user: When do you close?", "agent: We close at six today."]);
    let latencies: Vec<_> = call
        .happened()
        .filter_map(|(_, event)| match event {
            Happening::MessageSent { latency, .. } => Some(*latency),
            _ => None,
        })
        .collect();
    assert_eq!(latencies, [None], "nobody waited for it");
}

#[test]
fn a_caller_who_speaks_first_is_answered_and_what_was_cut_off_is_dropped() {
    let mut call = resumed(vec![user("When do you close?"), agent("We close")], Some("at six today."));
    call.advance(900);
    call.guesses("and");
    call.advance(500);
    call.says("And on Sunday?");
    assert_eq!(call.story(), ["user starts", "user stops", "user: And on Sunday?", "ask 0"]);
    call.answers(0, "We are closed.");
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), "agent: We are closed.");
}

#[test]
fn a_caller_who_begins_to_speak_gets_another_second_for_the_words() {
    let mut call = resumed(vec![agent("We close")], Some("at six today."));
    call.advance(800);
    call.feed(Input::SpeechBegan);
    call.advance(999);
    assert_eq!(call.story(), ["user starts"]);
    call.feed(Input::TurnEnded);
    call.advance(1);
    assert_eq!(call.story(), ["user stops", "speak 0: at six today."], "it was a cough");
}

#[test]
fn what_was_cut_off_can_be_interrupted() {
    let mut call = resumed(vec![agent("We close")], Some("at six in the evening."));
    call.advance(1000 + 100 + 400);
    call.says("Thank you.");
    assert_eq!(
        call.story()[2..],
        [
            "user starts",
            "clear",
            "cancel speech",
            "agent stops",
            "agent, cut off: at six",
            "user stops",
            "user: Thank you.",
            "ask 0",
        ]
    );
}

#[test]
fn a_turn_nobody_answered_is_answered_at_once() {
    let mut call = resumed(vec![agent("Hello."), user("When do you close?")], None);
    assert_eq!(call.story(), ["ask 0"]);
    call.answers(0, "At six in the evening.");
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), "agent: At six in the evening.");

    let mut call = resumed(vec![user("When do you close?")], Some(" \u{1f370} "));
    assert_eq!(call.story(), ["ask 0"], "that cannot be said");
}

#[test]
fn a_caller_who_goes_on_before_the_answer_keeps_the_turn_across_workers() {
    let mut call = resumed(vec![user("I would like")], None);
    call.advance(300);
    call.says("two cakes.");
    assert_eq!(
        call.story(),
        ["ask 0", "user starts", "cancel ask 0", "user stops", "user: two cakes.", "ask 1"]
    );
    assert_eq!(call.history(), ["user: I would like two cakes."]);
}

#[test]
fn the_model_goes_on_from_its_functions_and_need_not_say_more() {
    let mut call = resumed(
        vec![
            user("Please note that."),
            agent("I will note that."),
            Line::ToolCalls(vec![tool("a")]),
            Line::ToolResult { call: "a".into(), content: "done".into() },
        ],
        None,
    );
    assert_eq!(call.story(), ["ask 0"]);
    call.finishes(0);
    call.advance(5000);
    assert_eq!(call.story(), [""; 0], "it has said enough");

    let mut call = resumed(vec![user("Is it ready?"), Line::ToolCalls(vec![tool("a")])], None);
    assert_eq!(call.story(), ["ask 0"]);
    call.finishes(0);
    assert_eq!(call.story(), ["ask 1"], "an answer is owed");
}

#[test]
fn a_history_that_was_taken_over_is_made_legal() {
    let result = |call: &str, content: &str| Line::ToolResult { call: call.into(), content: content.into() };
    let call = taken_over(Resumed {
        history: vec![
            result("a", "of nothing"),
            agent(" "),
            user("Is it"),
            user("ready?"),
            Line::ToolCalls(vec![]),
            Line::ToolCalls(vec![tool("a"), tool("b")]),
            user("Well?"),
            Line::ToolCalls(vec![tool("a")]),
            result("a", "yes"),
            result("b", "no"),
            result("b", "again"),
            agent("It is."),
        ],
        ..Resumed::default()
    });
    assert_eq!(
        call.history(),
        [
            "user: Is it ready?",
            "calls a, b",
            &format!("a = {UNANSWERED}"),
            "b = no",
            "user: Well?",
            "calls a",
            "a = yes",
            "agent: It is.",
        ]
    );
}

#[test]
fn a_result_is_never_taken_for_a_call_of_another_worker() {
    let mut call = resumed(vec![user("Is it ready?"), Line::ToolCalls(vec![tool("a")])], None);
    call.calls(0, "a");
    call.finishes(0);
    call.tool_answers("a", "yes");
    assert_eq!(call.story().last().unwrap(), "ask 1");
    assert_eq!(call.history()[1..], ["calls a", &format!("a = {UNANSWERED}"), "calls a", "a = yes"]);
}

#[test]
fn the_seconds_go_on_and_none_is_told_twice() {
    let mut call = taken_over(Resumed { elapsed: Duration::from_millis(61_400), ..Resumed::default() });
    call.now = ms(100);
    call.feed(Input::Started);
    call.advance(2400);
    let seconds: Vec<_> = call.happened().map(|(at, event)| (at, event.clone())).collect();
    assert_eq!(seconds, [(600, 62), (1600, 63)].map(|(at, seconds)| (at, Happening::Duration { seconds })));
}

#[test]
fn the_longest_duration_counts_from_the_beginning_of_the_conversation() {
    let with = |elapsed: u64| {
        let mut call = Call::with(Settings {
            max_duration: Some(Duration::from_mins(1)),
            resumed: Some(Resumed { elapsed: Duration::from_millis(elapsed), ..Resumed::default() }),
            ..Settings::default()
        });
        call.feed(Input::Started);
        call.advance(10_000);
        call.done.last().cloned()
    };
    let end = Output::End { reason: EndedReason::AgentEnded };
    assert_eq!(with(58_500), Some((ms(1500), end.clone())));
    assert_eq!(with(90_000), Some((ms(0), end)), "it was reached while nobody held the call");
}

#[test]
fn a_drain_finishes_the_word_and_hands_over_the_rest() {
    let mut call = answered();
    // Five characters were played: "We cl".
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
            "cancel speech",
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
        let unsaid = "at six today. Tomorrow we close at seven.".to_owned();
        assert_eq!(handed_over(&call), Some((100 + after, Some(unsaid))));
    }
}

#[test]
fn a_word_that_takes_too_long_is_cut_after_half_a_second() {
    let mut call = Call::asked("What is it?");
    call.answers(0, "It is a Donaudampfschifffahrtsgesellschaft.");
    call.advance(100 + 450);
    call.feed(Input::Drain);
    call.advance(5000);
    let unsaid = Some("Donaudampfschifffahrtsgesellschaft.".to_owned());
    assert_eq!(handed_over(&call), Some((550 + 500, unsaid)));
}

#[test]
fn a_drain_after_the_last_word_leaves_nothing_unsaid() {
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
    call.feed(Input::Closed);
    assert_eq!(call.story(), [""; 0], "nothing follows");
}

#[test]
fn a_user_who_is_speaking_finishes_before_the_call_is_handed_over() {
    let mut call = Call::begun();
    call.feed(Input::SpeechBegan);
    call.feed(Input::Drain);
    call.advance(1_000);
    assert_eq!(handed_over(&call), None);
    call.says("When do you close?");
    call.feed(Input::TurnEnded);
    assert_eq!(handed_over(&call).map(|(_, unsaid)| unsaid), Some(None));
    assert_eq!(call.history(), ["user: When do you close?"]);
}

#[test]
fn a_user_who_never_finishes_does_not_keep_a_worker() {
    let mut call = Call::begun();
    call.feed(Input::SpeechBegan);
    call.feed(Input::Drain);
    call.advance(5_000);
    assert!(handed_over(&call).is_some());
}

#[test]
fn a_broken_stream_is_handed_over_at_once() {
    let mut call = Call::begun();
    call.feed(Input::SpeechBegan);
    call.feed(Input::Lost);
    assert!(handed_over(&call).is_some());
}

#[test]
fn an_answer_nobody_heard_is_left_to_the_next_worker() {
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
        assert_eq!(handed_over(&call).map(|(_, unsaid)| unsaid), Some(None));
        assert_eq!(call.history(), ["user: When do you close?"]);
        let mut next = resumed(call.engine.history(), None);
        assert_eq!(next.story(), ["ask 0"]);
    }
}

#[test]
fn a_greeting_nobody_heard_is_said_by_the_next_worker() {
    let mut call = Call::new(Some(GREETING));
    call.feed(Input::Drain);
    assert_eq!(call.story(), [format!("hand over: {GREETING}")]);
    let mut call = Call::new(Some(GREETING));
    call.hears("Hello?");
    call.feed(Input::Lost);
    assert_eq!(call.story().last().unwrap(), "hand over", "the caller is answered instead");
    let mut call = Call::new(Some(GREETING));
    call.feed(Input::Started);
    call.advance(50);
    call.feed(Input::Drain);
    assert_eq!(call.story()[2..], ["cancel speech".to_owned(), format!("hand over: {GREETING}")]);
    assert_eq!(call.history(), [""; 0]);
}

#[test]
fn what_was_not_said_yet_is_handed_on() {
    let mut call = resumed(vec![agent("We close")], Some("at six today."));
    call.advance(500);
    call.feed(Input::SpeechBegan);
    call.feed(Input::Lost);
    assert_eq!(call.story(), ["user starts", "user stops", "hand over: at six today."]);
}

#[test]
fn words_of_the_user_are_kept_and_left_to_the_next_worker() {
    let mut call = Call::begun();
    call.hears("I would like");
    call.guesses("two");
    call.feed(Input::Lost);
    assert_eq!(call.story(), ["user starts", "user stops", "user: I would like two", "hand over"]);
    assert_eq!(call.history(), ["user: I would like two"]);
}

#[test]
fn a_user_who_speaks_while_the_word_is_finished_has_the_floor() {
    let mut call = answered();
    call.advance(100 + 620);
    call.story();
    call.feed(Input::Drain);
    call.hears("Wait!");
    call.advance(500);
    assert_eq!(
        call.story(),
        [
            "user starts",
            "clear",
            "cancel speech",
            "agent stops",
            "agent, cut off: We close at",
            "user stops",
            "user: Wait!",
            "hand over",
        ]
    );
}

#[test]
fn clauses_the_model_has_written_are_handed_over_and_the_rest_is_not_wanted() {
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
            "cancel ask 0",
            "cancel speech",
            "agent stops",
            "agent, cut off: We have",
            "hand over: bread. We have fresh cakes. We have rolls.",
        ]
    );
}

#[test]
fn functions_that_are_running_are_left_to_the_next_answer() {
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
    assert_eq!(resumed(call.engine.history(), None).story(), ["ask 0"]);
}

#[test]
fn a_conversation_that_is_ending_ends_although_the_worker_stops() {
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
    call.feed(Input::Closed);
    assert_eq!(call.story().last().unwrap(), "end: UserEnded");
}

#[test]
fn what_was_heard_of_the_message_in_progress_is_known_at_any_time() {
    let speaking = |call: &Call| call.engine.speaking(call.now);
    let mut call = answered();
    assert_eq!(speaking(&call), None);
    call.advance(150);
    assert_eq!(speaking(&call), None, "no word has ended");
    call.advance(50);
    assert_eq!(speaking(&call), Some(("We".into(), ANSWER[3..].into(), ms(100))));
    call.advance(1200);
    let (heard, unheard, started_at) = speaking(&call).unwrap();
    assert_eq!((heard.as_str(), started_at), ("We close at six today.", ms(100)));
    assert_eq!(unheard, "Tomorrow we close at seven.");
    call.advance(5000);
    assert_eq!(speaking(&call), None);
}

proptest! {
    /// However often and whenever the worker changes, the caller hears every word, and hears it once.
    #[test]
    fn nothing_is_lost_or_repeated_however_often_the_worker_changes(
        drains in prop::collection::vec(0u64..4000, 1..6),
        way in 0u64..300,
    ) {
        let mut call = Call::new(Some(GREETING));
        call.feed(Input::Started);
        let mut heard: Vec<String> = vec![];
        let mut changes = drains.iter();
        loop {
            call.carrier = Some(Duration::from_millis(way));
            match changes.next() {
                Some(after) => {
                    call.advance(*after);
                    call.feed(Input::Drain);
                    call.advance(500);
                }
                None => call.advance(20_000),
            }
            heard.extend(call.story().iter().filter_map(|line| {
                line.strip_prefix("agent: ").or_else(|| line.strip_prefix("agent, cut off: ")).map(str::to_owned)
            }));
            let Some((_, unsaid)) = handed_over(&call) else { break };
            call = resumed(call.engine.history(), unsaid.as_deref());
        }
        prop_assert_eq!(heard.join(" "), GREETING);
        prop_assert_eq!(call.history(), [format!("agent: {GREETING}")]);
    }
}
