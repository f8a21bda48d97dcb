//! Takeover: finds the state from which a worker continues a call that another worker left.
//!
//! A worker that stops stores its words and gives its lease back with the words that are left (a handover). A worker
//! that dies leaves its lease with the last checkpoint, a few seconds old. In both cases the state is in the
//! messages and the lease; nothing is read from the worker itself.

use std::time::Duration;

use serde_json::Value;
use switchboard_dialogue::{EngineSettings, FunctionCall, HistoryItem, Takeover, clauses};
use switchboard_model::{
    agents::AgentConfig,
    conversations::{JournalEntry, Lease, UtteranceProgress},
    event_names::EventName,
    function_rounds::{AnsweredCall, FunctionRound},
    messages::{Message, Role},
    time::Timestamp,
};

use crate::dialogue::utterance_kind;

/// Maximum time in which a worker whose stream broke gives its lease back, once it has stored the heard words. Later, a message
/// that was cut off counts as interrupted by the caller.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(2);

/// The state from which the call continues, and the message that has to be stored first: the heard words of a message
/// that was cut off by the end of its worker. `left` is the lease as the other worker left it.
pub(crate) fn take_over(
    greeting: Option<&str>,
    (messages, rounds): (Vec<Message>, Vec<FunctionRound>),
    left: Option<Lease>,
    elapsed: Duration,
    now: Timestamp,
) -> (Takeover, Option<JournalEntry>) {
    let left = left.and_then(|lease| Some((lease.last_seen_at, lease.utterance?)));
    // The message may have been stored after its last checkpoint.
    let stored =
        left.as_ref().filter(|(_, speaking)| !speaking.heard.is_empty()).and_then(|(_, speaking)| {
            let is_it =
                |message: &&Message| message.role == Role::Agent && message.started_at >= speaking.started_at;
            Some((messages.iter().find(is_it)?, speaking))
        });
    let cut_off = stored.and_then(|(message, speaking)| rest_of_cut_off(message, speaking, &messages, now));
    let is_stored = stored.is_some();
    let left = left.filter(|_| !is_stored);
    // Without messages the caller has not heard the greeting yet.
    let mut unspoken =
        cut_off.or_else(|| greeting.filter(|_| messages.is_empty() && left.is_none()).map(str::to_owned));
    let mut history: Vec<(Timestamp, HistoryItem)> = messages.into_iter().map(history_item).collect();
    let mut first_entry = None;
    if let Some((noted_at, speaking)) = left {
        // After a handover the agent was silent; after a crash the carrier played on for a while.
        let speaking = if speaking.heard.is_empty() { speaking } else { speaking.advanced(noted_at, now) };
        let UtteranceProgress { heard, unheard, started_at, kind } = speaking;
        unspoken = Some(unheard).filter(|text| !text.is_empty());
        if !heard.is_empty() {
            let message = Message {
                role: Role::Agent,
                content: heard,
                kind,
                started_at,
                ended_at: now,
                interrupted: true,
            };
            history.push(history_item(message.clone()));
            first_entry = Some(JournalEntry {
                at: now,
                name: EventName::MessageSent,
                data: Value::Null,
                message: Some(message),
                faults: vec![],
            });
        }
    }
    let history = with_functions(history, rounds);
    (Takeover { history, unspoken, elapsed }, first_entry)
}

/// The words that follow a message that was cut off by the end of its stream. A worker whose stream breaks stores the heard
/// words first and gives its lease back later; a browser resumes within milliseconds, often in between. `None` if the
/// caller cut the message off.
fn rest_of_cut_off(
    message: &Message,
    checkpoint: &UtteranceProgress,
    messages: &[Message],
    now: Timestamp,
) -> Option<String> {
    let is_last = messages.last() == Some(message);
    if !message.interrupted || !is_last || now.since(message.ended_at) > GIVEN_BACK_WITHIN {
        return None;
    }
    let mut rest = checkpoint.heard.split_whitespace().chain(checkpoint.unheard.split_whitespace());
    for word in message.content.split_whitespace() {
        // The stored words are another utterance's.
        rest.next().filter(|next| *next == word)?;
    }
    let rest: Vec<&str> = rest.collect();
    Some(rest.join(" ")).filter(|rest| !rest.is_empty())
}

/// The history with the function calls in their places: a reply to results begins after them, and what was said while the
/// functions ran, before.
fn with_functions(
    mut history: Vec<(Timestamp, HistoryItem)>,
    rounds: Vec<FunctionRound>,
) -> Vec<HistoryItem> {
    for round in rounds.into_iter().rev() {
        let mut place = history.iter().position(|(begins, _)| *begins >= round.at).unwrap_or(history.len());
        let next = history.get(place).map(|(_, item)| item);
        if matches!(next, Some(HistoryItem::Agent { text, .. }) if round.follows(text)) {
            place += 1;
        }
        let FunctionRound { at, calls, .. } = round;
        let results = calls.iter().map(|call| {
            let AnsweredCall { id, result, .. } = call;
            (at, HistoryItem::ToolResult { call: id.clone(), content: result.clone() })
        });
        let results: Vec<_> = results.collect();
        let calls = calls.into_iter().map(|AnsweredCall { id, name, arguments, provider_state, .. }| {
            FunctionCall { id, name, arguments, provider_state }
        });
        let round = [(at, HistoryItem::ToolCalls(calls.collect()))].into_iter().chain(results);
        history.splice(place..place, round);
    }
    history.into_iter().map(|(_, item)| item).collect()
}

/// Adds the agent's disclosure to the settings, unless the caller has heard all of it. Until then nothing else was
/// said: the greeting follows, or the reply to what the caller said meanwhile.
pub(crate) fn with_disclosure(settings: EngineSettings, agent: &AgentConfig) -> EngineSettings {
    let Some(disclosure) = agent.disclosure.as_deref() else { return settings };
    // Messages hold the text as it was spoken. The engine says nothing if nothing of it can be spoken.
    let spoken = clauses(disclosure).join(" ");
    if spoken.is_empty() {
        return settings;
    }
    let Some(mut takeover) = settings.takeover else {
        return EngineSettings { disclosure: Some(disclosure.to_owned()), ..settings };
    };
    if takeover.history.iter().any(|item| begins_with(item, &spoken)) {
        return EngineSettings { takeover: Some(takeover), ..settings };
    }
    let user_waits = takeover.history.iter().any(|item| matches!(item, HistoryItem::User(_)));
    takeover.unspoken = agent.initial_message.clone().filter(|_| !user_waits);
    EngineSettings { disclosure: Some(disclosure.to_owned()), takeover: Some(takeover), ..settings }
}

/// Whether words of the agent begin with all of `spoken`. After a crash, words that followed it may be in the same item.
fn begins_with(item: &HistoryItem, spoken: &str) -> bool {
    let HistoryItem::Agent { text, .. } = item else { return false };
    text.strip_prefix(spoken).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// A message, with the time at which it began.
fn history_item(message: Message) -> (Timestamp, HistoryItem) {
    let kind = utterance_kind(message.kind);
    (message.started_at, HistoryItem::message(message.role, message.content, kind))
}

#[cfg(test)]
mod tests {
    use switchboard_dialogue::UtteranceKind;
    use switchboard_model::messages::MessageKind;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    fn said(role: Role, content: &str) -> Message {
        let (started_at, ended_at) = (at(-2_000), at(-1_000));
        let kind = MessageKind::Speech;
        Message { role, content: content.into(), kind, started_at, ended_at, interrupted: false }
    }

    fn lease(heard: &str, unheard: &str) -> Lease {
        let kind = MessageKind::Speech;
        let speaking =
            UtteranceProgress { heard: heard.into(), unheard: unheard.into(), started_at: at(0), kind };
        Lease { utterance: Some(speaking), ..Lease::new("a".into(), at(0)) }
    }

    #[test]
    fn after_a_crash_heard_words_are_stored_and_the_rest_is_unspoken() {
        let messages = vec![said(Role::Agent, "Hello."), said(Role::User, "When?")];
        let left = lease("We close at", "six in the evening on Saturday.");
        let (resumed, first) =
            take_over(Some("Hello."), (messages, vec![]), Some(left), Duration::from_secs(9), at(400));
        let message = first.unwrap().message.unwrap();
        assert!(message.interrupted && message.content.starts_with("We close at"));
        let whole = format!("{} {}", message.content, resumed.unspoken.unwrap());
        assert_eq!(whole, "We close at six in the evening on Saturday.", "nothing is lost or said twice");
        assert_eq!(resumed.history.last(), Some(&HistoryItem::agent(message.content)));
        assert_eq!(resumed.elapsed, Duration::from_secs(9));
    }

    #[test]
    fn a_hold_phrase_is_still_one_after_a_crash() {
        let mut left = lease("One moment,", "");
        if let Some(utterance) = &mut left.utterance {
            utterance.kind = MessageKind::HoldPhrase;
        }
        let (resumed, first) =
            take_over(None, (vec![said(Role::User, "When?")], vec![]), Some(left), Duration::ZERO, at(400));
        assert_eq!(first.unwrap().message.unwrap().kind, MessageKind::HoldPhrase);
        let held = HistoryItem::Agent { text: "One moment,".into(), kind: UtteranceKind::HoldPhrase };
        assert_eq!(resumed.history.last(), Some(&held));
    }

    #[test]
    fn a_message_stored_after_its_checkpoint_is_not_repeated() {
        let mut stored = said(Role::Agent, "We close at six in the evening on Saturday.");
        (stored.started_at, stored.ended_at) = (at(0), at(3_000));
        let (resumed, first) = take_over(
            None,
            (vec![stored], vec![]),
            Some(lease("We close at", "six.")),
            Duration::ZERO,
            at(3_100),
        );
        assert_eq!((resumed.unspoken, resumed.history.len(), first), (None, 1, None));
    }

    #[test]
    fn a_message_that_its_stream_cut_off_goes_on_before_the_lease_is_back() {
        let mut cut = said(Role::Agent, "We close at");
        (cut.started_at, cut.ended_at, cut.interrupted) = (at(0), at(1_200), true);
        let left = || Some(lease("We", "close at six."));
        let after = |messages: Vec<Message>, ms: i64| {
            let (resumed, first) =
                take_over(Some("Hello."), (messages, vec![]), left(), Duration::ZERO, at(ms));
            assert!(first.is_none());
            resumed.unspoken
        };
        assert_eq!(after(vec![cut.clone()], 1_300).as_deref(), Some("six."));
        assert_eq!(after(vec![cut.clone()], 3_300), None, "the caller interrupted it, and waits");
        let replied = vec![cut.clone(), said(Role::User, "Thank you.")];
        assert_eq!(after(replied, 1_300), None);
        let another = Message { content: "Something else".into(), ..cut };
        assert_eq!(after(vec![another], 1_300), None);
    }

    #[test]
    fn a_call_lost_before_its_first_word_is_greeted() {
        let (resumed, first) = take_over(Some("Hello."), (vec![], vec![]), None, Duration::ZERO, at(300));
        assert_eq!((resumed.unspoken.as_deref(), first), (Some("Hello."), None));
    }

    #[test]
    fn after_a_handover_only_the_rest_is_unspoken() {
        let (resumed, first) =
            take_over(None, (vec![], vec![]), Some(lease("", "six.")), Duration::ZERO, at(5_000));
        assert_eq!((resumed.unspoken.as_deref(), first), (Some("six."), None));
    }

    #[test]
    fn a_disclosure_that_was_cut_off_is_said_again_and_one_that_was_heard_is_not() {
        let agent = AgentConfig {
            disclosure: Some("This call is  recorded.".into()),
            initial_message: Some("Hello.".into()),
            ..AgentConfig::default()
        };
        let taken_over = |history: Vec<HistoryItem>| {
            let takeover = Takeover { history, unspoken: Some("the rest".into()), ..Takeover::default() };
            let settings = EngineSettings { takeover: Some(takeover), ..EngineSettings::default() };
            let settings = with_disclosure(settings, &agent);
            (settings.disclosure, settings.takeover.and_then(|takeover| takeover.unspoken))
        };
        let again = || agent.disclosure.clone();
        assert_eq!(taken_over(vec![HistoryItem::agent("This call")]), (again(), Some("Hello.".into())));
        let asked = HistoryItem::User("Who is this?".into());
        assert_eq!(taken_over(vec![HistoryItem::agent("This call"), asked]), (again(), None));
        let heard = HistoryItem::agent("This call is recorded.");
        assert_eq!(taken_over(vec![heard]), (None, Some("the rest".into())));
        let new_call = with_disclosure(EngineSettings::default(), &agent);
        assert_eq!((new_call.disclosure, new_call.takeover), (again(), None));
    }

    #[test]
    fn a_disclosure_with_markup_is_compared_as_it_was_spoken() {
        let after = |disclosure: &str, heard: &str| {
            let agent = AgentConfig { disclosure: Some(disclosure.into()), ..AgentConfig::default() };
            let history = vec![HistoryItem::agent(heard)];
            let takeover = Takeover { history, unspoken: Some("the rest".into()), ..Takeover::default() };
            let settings = EngineSettings { takeover: Some(takeover), ..EngineSettings::default() };
            let settings = with_disclosure(settings, &agent);
            (settings.disclosure.is_some(), settings.takeover.and_then(|takeover| takeover.unspoken))
        };
        let goes_on = (false, Some("the rest".to_owned()));
        for written in [
            "This call is **recorded**.",
            "This call is [recorded](https://example.com/privacy).",
            "This call <break/> is recorded. \u{1f642}",
            "# This call\nis ~recorded.",
        ] {
            assert_eq!(after(written, "This call is recorded."), goes_on, "{written}");
            assert_eq!(after(written, "This call is recorded. Hello,"), goes_on, "{written}");
            assert_eq!(after(written, "This call is"), (true, None), "{written}");
        }
        assert_eq!(after("<break/>", "Hello."), goes_on, "nothing of it can be said");
    }

    #[test]
    fn functions_stand_between_what_was_said_before_and_their_reply() {
        let message =
            |role, content: &str, begins: i64| Message { started_at: at(begins), ..said(role, content) };
        let call = |id: &str| AnsweredCall {
            id: id.into(),
            name: "look".into(),
            arguments: "{}".into(),
            result: format!("result of {id}"),
            provider_state: Some(serde_json::json!({ "signature": id })),
        };
        let rounds = vec![
            FunctionRound { at: at(1_500), said: None, calls: vec![call("a"), call("b")] },
            FunctionRound { at: at(1_500), said: None, calls: vec![call("c")] },
            FunctionRound { at: at(9_000), said: Some("Let me see.".into()), calls: vec![call("d")] },
        ];
        let messages = vec![
            message(Role::User, "Is it ready?", 0),
            message(Role::Agent, "One moment.", 1_000),
            message(Role::Agent, "It is.", 2_000),
            message(Role::User, "And the bread?", 8_000),
            // Its first sound came after the result.
            message(Role::Agent, "Let me", 9_100),
        ];
        let (resumed, _) = take_over(None, (messages, rounds), None, Duration::ZERO, at(9_500));
        let told: Vec<_> = resumed
            .history
            .iter()
            .map(|item| match item {
                HistoryItem::User(text) | HistoryItem::Agent { text, .. } | HistoryItem::Note(text) => {
                    text.clone()
                }
                HistoryItem::ToolCalls(calls) => {
                    let signed =
                        |call: &FunctionCall| call.provider_state.as_ref().unwrap()["signature"].to_string();
                    calls.iter().map(signed).collect::<Vec<_>>().join(" ")
                }
                HistoryItem::ToolResult { content, .. } => content.clone(),
            })
            .collect();
        let expected = [
            "Is it ready?",
            "One moment.",
            "\"a\" \"b\"",
            "result of a",
            "result of b",
            "\"c\"",
            "result of c",
            "It is.",
            "And the bread?",
            "Let me",
            "\"d\"",
            "result of d",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_silent_agent_leaves_nothing_unspoken() {
        let (resumed, first) =
            take_over(Some("Hello."), (vec![said(Role::User, "Hm.")], vec![]), None, Duration::ZERO, at(0));
        assert_eq!(
            (resumed.history, resumed.unspoken, first),
            (vec![HistoryItem::User("Hm.".into())], None, None)
        );
    }
}
