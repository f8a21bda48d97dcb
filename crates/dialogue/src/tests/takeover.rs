//! A call that changes workers.

use proptest::prelude::*;

use super::{super::history::UNANSWERED, *};

pub(super) const GREETING: &str = "Hello, this is Ada. Do you have any questions?";
/// 50 characters: they play for 2,500 ms, from 100 ms on.
pub(super) const ANSWER: &str = "We close at six today. Tomorrow we close at seven.";

fn user(text: &str) -> HistoryItem {
    HistoryItem::User(text.into())
}

pub(super) fn agent(text: &str) -> HistoryItem {
    HistoryItem::agent(text)
}

/// A call that was taken over, and whose media flows.
pub(super) fn takeover(history: Vec<HistoryItem>, unspoken: Option<&str>) -> Call {
    let mut call =
        taken_over(Takeover { history, unspoken: unspoken.map(str::to_owned), ..Takeover::default() });
    call.feed(Input::MediaStarted);
    call
}

fn taken_over(takeover: Takeover) -> Call {
    Call::with(EngineSettings {
        greeting: Some(GREETING.into()),
        takeover: Some(takeover),
        ..EngineSettings::default()
    })
}

/// A call in which [`ANSWER`] was generated, as two clauses.
pub(super) fn answered() -> Call {
    let mut call = Call::asked("When do you close?");
    call.answers(0, ANSWER);
    call
}

/// Time of the handover in ms, and the unspoken words.
pub(super) fn handed_over(call: &Call) -> Option<(u64, Option<String>)> {
    match call.done.last()? {
        (at, Output::HandOver { unspoken }) => Some((at.0 / 1000, unspoken.clone())),
        _ => None,
    }
}

#[test]
fn a_call_taken_over_is_not_greeted_and_knows_what_was_said() {
    let mut call = takeover(vec![agent("Hello."), user("Is it ready?"), agent("It is.")], None);
    call.advance(10_000);
    assert_eq!(call.story(), [""; 0]);
    call.says("Thank you.");
    assert_eq!(call.story(), ["user starts", "user stops", "user: Thank you.", "generate 0"]);
    assert_eq!(call.history(), ["agent: Hello.", "user: Is it ready?", "agent: It is.", "user: Thank you."]);
}

#[test]
fn unspoken_words_are_said_after_a_second_of_silence() {
    let mut call = takeover(vec![user("When do you close?"), agent("We close")], Some("at six today."));
    call.advance(999);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), ["synthesize 0: at six today."]);
    call.advance(5000);
    assert_eq!(call.story(), ["agent starts", "agent stops", "agent: at six today."]);
    assert_eq!(call.history(), ["user: When do you close?", "agent: We close at six today."]);
    let latencies: Vec<_> = call
        .events()
        .filter_map(|(_, event)| match event {
            ConversationEvent::MessageSent { latency, .. } => Some(*latency),
            _ => None,
        })
        .collect();
    assert_eq!(latencies, [None], "unspoken words have no latency");
}

#[test]
fn unspoken_words_are_dropped_if_the_caller_speaks_first() {
    let mut call = takeover(vec![user("When do you close?"), agent("We close")], Some("at six today."));
    call.advance(900);
    call.transcribes_interim("and");
    call.advance(500);
    call.says("And on Sunday?");
    assert_eq!(call.story(), ["user starts", "user stops", "user: And on Sunday?", "generate 0"]);
    call.answers(0, "We are closed.");
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), "agent: We are closed.");
}

#[test]
fn a_caller_who_begins_to_speak_puts_unspoken_words_off() {
    let mut call = takeover(vec![agent("We close")], Some("at six today."));
    call.advance(800);
    call.feed(Input::SpeechStarted);
    call.advance(999);
    assert_eq!(call.story(), ["user starts"]);
    call.feed(Input::TurnEnded);
    call.advance(1);
    assert_eq!(call.story(), ["user stops", "synthesize 0: at six today."], "it was a cough");
}

#[test]
fn unspoken_words_can_be_interrupted() {
    let mut call = takeover(vec![agent("We close")], Some("at six in the evening."));
    call.advance(1000 + 100 + 400);
    call.says("Thank you.");
    assert_eq!(
        call.story()[2..],
        [
            "user starts",
            "clear",
            "cancel synthesis",
            "agent stops",
            "agent, cut off: at six",
            "user stops",
            "user: Thank you.",
            "generate 0",
        ]
    );
}

#[test]
fn a_turn_without_a_reply_is_replied_to_at_once() {
    let mut call = takeover(vec![agent("Hello."), user("When do you close?")], None);
    assert_eq!(call.story(), ["generate 0"]);
    call.answers(0, "At six in the evening.");
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), "agent: At six in the evening.");

    let mut call = takeover(vec![user("When do you close?")], Some(" \u{1f370} "));
    assert_eq!(call.story(), ["generate 0"], "unspoken text that cannot be said counts as none");
}

#[test]
fn a_caller_who_goes_on_keeps_the_turn_across_workers() {
    let mut call = takeover(vec![user("I would like")], None);
    call.advance(300);
    call.says("two cakes.");
    assert_eq!(
        call.story(),
        ["generate 0", "user starts", "cancel generation 0", "user stops", "user: two cakes.", "generate 1"]
    );
    assert_eq!(call.history(), ["user: I would like two cakes."]);
}

#[test]
fn the_model_goes_on_from_its_functions_and_need_not_say_more() {
    let mut call = takeover(
        vec![
            user("Please note that."),
            agent("I will note that."),
            HistoryItem::ToolCalls(vec![tool("a")]),
            HistoryItem::ToolResult { call: "a".into(), content: "done".into() },
        ],
        None,
    );
    assert_eq!(call.story(), ["generate 0"]);
    call.finishes(0);
    call.advance(5000);
    assert_eq!(call.story(), [""; 0], "the reply was heard before");

    let mut call = takeover(vec![user("Is it ready?"), HistoryItem::ToolCalls(vec![tool("a")])], None);
    assert_eq!(call.story(), ["generate 0"]);
    call.finishes(0);
    call.advance(300);
    assert_eq!(call.story(), ["generate 1"], "the user still waits for a reply");
}

#[test]
fn a_history_that_was_taken_over_is_made_legal() {
    let result =
        |call: &str, content: &str| HistoryItem::ToolResult { call: call.into(), content: content.into() };
    let call = taken_over(Takeover {
        history: vec![
            result("a", "of nothing"),
            agent(" "),
            user("Is it"),
            user("ready?"),
            HistoryItem::ToolCalls(vec![]),
            HistoryItem::ToolCalls(vec![tool("a"), tool("b")]),
            user("Well?"),
            HistoryItem::ToolCalls(vec![tool("a")]),
            result("a", "yes"),
            result("b", "no"),
            result("b", "again"),
            agent("It is."),
        ],
        ..Takeover::default()
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
    let mut call = takeover(vec![user("Is it ready?"), HistoryItem::ToolCalls(vec![tool("a")])], None);
    call.calls(0, "a");
    call.finishes(0);
    call.tool_returns("a", "yes");
    assert_eq!(call.story().last().unwrap(), "generate 1");
    assert_eq!(call.history()[1..], ["calls a", &format!("a = {UNANSWERED}"), "calls a", "a = yes"]);
}

#[test]
fn the_seconds_go_on_and_none_is_reported_twice() {
    let mut call = taken_over(Takeover { elapsed: Duration::from_millis(61_400), ..Takeover::default() });
    call.now = ms(100);
    call.feed(Input::MediaStarted);
    call.advance(2400);
    let seconds: Vec<_> = call.events().map(|(at, event)| (at, event.clone())).collect();
    assert_eq!(
        seconds,
        [(600, 62), (1600, 63)].map(|(at, seconds)| (at, ConversationEvent::Duration { seconds }))
    );
}

#[test]
fn the_maximum_duration_counts_from_the_first_worker() {
    let with = |elapsed: u64| {
        let mut call = Call::with(EngineSettings {
            max_duration: Some(Duration::from_mins(1)),
            takeover: Some(Takeover { elapsed: Duration::from_millis(elapsed), ..Takeover::default() }),
            ..EngineSettings::default()
        });
        call.feed(Input::MediaStarted);
        call.advance(10_000);
        call.done.last().cloned()
    };
    let end = Output::End { reason: EndedReason::AgentEnded };
    assert_eq!(with(58_500), Some((ms(1500), end.clone())));
    assert_eq!(with(90_000), Some((ms(0), end)), "it was reached while no worker held the call");
}

#[test]
fn the_heard_words_of_the_utterance_in_progress_are_known() {
    let speaking = |call: &Call| call.engine.in_progress(call.now);
    let mut call = answered();
    assert_eq!(speaking(&call), None);
    call.advance(150);
    assert_eq!(speaking(&call), None, "no word has ended");
    call.advance(50);
    assert_eq!(
        speaking(&call),
        Some(UtteranceInProgress {
            heard: "We".into(),
            unheard: ANSWER[3..].into(),
            started_at: ms(100),
            kind: UtteranceKind::Speech,
        })
    );
    call.advance(1200);
    let UtteranceInProgress { heard, unheard, started_at, .. } = speaking(&call).unwrap();
    assert_eq!((heard.as_str(), started_at), ("We close at six today.", ms(100)));
    assert_eq!(unheard, "Tomorrow we close at seven.");
    call.advance(5000);
    assert_eq!(speaking(&call), None);
}

proptest! {
    /// Whenever and however often the worker changes, the caller hears every word exactly once.
    #[test]
    fn nothing_is_lost_or_repeated_however_often_the_worker_changes(
        drains in prop::collection::vec(0u64..4000, 1..6),
        way in 0u64..300,
    ) {
        let mut call = Call::new(Some(GREETING));
        call.feed(Input::MediaStarted);
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
                None => call.advance(14_000),
            }
            heard.extend(call.story().iter().filter_map(|line| {
                line.strip_prefix("agent: ").or_else(|| line.strip_prefix("agent, cut off: ")).map(str::to_owned)
            }));
            let Some((_, unspoken)) = handed_over(&call) else { break };
            call = takeover(call.engine.history(), unspoken.as_deref());
        }
        prop_assert_eq!(heard.join(" "), GREETING);
        prop_assert_eq!(call.history(), [format!("agent: {GREETING}")]);
    }
}
