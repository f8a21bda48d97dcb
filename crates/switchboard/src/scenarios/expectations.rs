//! Compares an observed call with the expectations of its scenario, and with those that hold for every call.

use switchboard_dialogue::replay::Log;
use switchboard_model::messages::{Message, Role};

use super::{
    file::{Expectations, ExpectedMessage},
    observed_call::ObservedCall,
    wording::{describe_message, quoted, seconds},
};
use crate::evidence::words::{find, find_exact, words};

/// Words per tolerated error where the caller's recognition is checked: an error there is no fault of the agent.
const WORDS_PER_ERROR: usize = 4;

/// An expectation, and the observation that contradicts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) happened: String,
}

fn fault(expected: impl Into<String>, happened: impl Into<String>) -> Mismatch {
    Mismatch { expected: expected.into(), happened: happened.into() }
}

/// Returns every expectation of the file that was not met.
pub(super) fn check(expected: &Expectations, happened: &ObservedCall) -> Vec<Mismatch> {
    let mut faults: Vec<Mismatch> = messages(expected, happened).into_iter().collect();
    faults.extend(expected.never_said.iter().filter_map(|phrase| never(phrase, happened)));
    faults.extend(heard(&expected.heard, happened));
    if let Some(functions) = &expected.functions
        && *functions != happened.functions()
    {
        let calls = |names: &[&str]| match names {
            [] => "no function".to_owned(),
            names => names.join(", then "),
        };
        let wanted: Vec<&str> = functions.iter().map(String::as_str).collect();
        faults.push(fault(
            format!("the agent calls {}", calls(&wanted)),
            format!("it called {}", calls(&happened.functions())),
        ));
    }
    let ended = serde_json::to_value(expected.ended).unwrap_or_default();
    for (field, wanted, is) in [
        ("ended_reason", ended.as_str(), &happened.conversation["ended_reason"]),
        ("answered_by", expected.answered_by.as_deref(), &happened.conversation["phone_call"]["answered_by"]),
    ] {
        if let Some(wanted) = wanted
            && is != wanted
        {
            faults.push(fault(format!("{field} is {wanted}"), format!("it is {is}")));
        }
    }
    for phrase in &expected.notes {
        let phrase_words = words(phrase);
        if !happened.notes().iter().any(|note| find_exact(&phrase_words, &words(note)).is_some()) {
            let notes = match &happened.notes()[..] {
                [] => "there is no note".to_owned(),
                notes => format!(
                    "the notes are {}",
                    notes.iter().map(|note| quoted(note)).collect::<Vec<_>>().join(", ")
                ),
            };
            faults.push(fault(format!("a note in the event log says {}", quoted(phrase)), notes));
        }
    }
    if let (Some(limit), Some(wait)) = (expected.replies_within_ms, happened.longest_wait())
        && wait.ms > limit
    {
        faults.push(fault(
            format!("the caller never waits longer than {limit} ms to hear the agent"),
            format!("after {} they waited {} ms", quoted(&wait.after), wait.ms),
        ));
    }
    for name in &expected.events {
        if !happened.events.iter().any(|event| event["event"] == name.as_str()) {
            faults.push(fault(format!("an event {}", name.as_str()), "there was none"));
        }
    }
    faults
}

/// Returns every failed expectation of those that hold for every call.
pub(super) fn check_always(happened: &ObservedCall) -> Vec<Mismatch> {
    let mut faults = vec![];
    let ends = happened.events.iter().filter(|event| event["event"] == "conversation:ended").count();
    let last = happened.events.last().map_or("none", |event| event["event"].as_str().unwrap_or_default());
    if ends != 1 || last != "conversation:ended" || happened.conversation["status"] != "ended" {
        faults.push(fault(
            "the conversation ends once, with conversation:ended as the last event",
            format!(
                "it has {ends} of them, the last event is {last}, the status {}",
                happened.conversation["status"]
            ),
        ));
    }
    let sequence: Vec<_> = happened.events.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    if !sequence.iter().copied().eq(1..=happened.events.len() as u64) {
        faults.push(fault("the events are numbered from 1 without a gap", format!("they are {sequence:?}")));
    }
    let media = !happened.conversation["started_at"].is_null();
    if media && happened.replays.is_empty() {
        faults.push(fault("the call leaves a replay log", "there is none"));
    }
    for path in &happened.replays {
        let log = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let outcome = match log.and_then(|text| Log::parse(&text).map_err(|error| error.to_string())) {
            Err(error) => error,
            Ok(log) => match log.difference() {
                None => continue,
                Some(difference) => format!(
                    "{} after media began today's engine decides differently",
                    seconds(i64::try_from(difference.logged.at.0 / 1_000).unwrap_or(i64::MAX)).trim()
                ),
            },
        };
        let path = path.display();
        faults.push(fault(
            "the call's decisions are the same when they are replayed",
            format!("{path}: {outcome}"),
        ));
    }
    let wrong = happened.ledger.iter().filter_map(|checked| Some((checked, checked.fault.as_ref()?)));
    for (checked, what) in wrong {
        faults.push(fault(
            format!("the recording has what is stored of the agent: {}", quoted(&checked.stored)),
            format!("what is recognised there is {}: {what}", quoted(&checked.recognised)),
        ));
    }
    faults
}

/// Returns the first message that is missing.
fn messages(expected: &Expectations, happened: &ObservedCall) -> Option<Mismatch> {
    let messages = happened.messages();
    let mut from = 0;
    for (index, wanted) in expected.messages.iter().enumerate() {
        let candidates = &messages[from.min(messages.len())..];
        let found = if expected.exactly {
            candidates.first().is_some_and(|message| matches(wanted, message)).then_some(0)
        } else {
            candidates.iter().position(|message| matches(wanted, message))
        };
        let Some(found) = found else {
            let expected = format!("message {}: {}", index + 1, described(wanted));
            return Some(fault(expected, instead(wanted, candidates, happened)));
        };
        from += found + 1;
    }
    if expected.exactly && from < messages.len() {
        let more: Vec<_> =
            messages[from..].iter().map(|message| describe_message(message, happened)).collect();
        return Some(fault(format!("no more than {from} messages"), format!("then {}", more.join("; "))));
    }
    None
}

/// Describes the observation in place of a missing message.
fn instead(wanted: &ExpectedMessage, candidates: &[Message], happened: &ObservedCall) -> String {
    let same = |message: &&Message| message.role == wanted.role;
    let text = wanted.says.as_ref().or(wanted.is.as_ref()).map(|text| words(&text.replace("...", " ")));
    let errors =
        |message: &&Message| text.as_ref().map_or(0, |text| find(text, &words(&message.content)).errors);
    match candidates.iter().filter(same).min_by_key(errors) {
        Some(message) => format!("the nearest is: {}", describe_message(message, happened)),
        None if candidates.is_empty() => "nothing more is stored".to_owned(),
        None => {
            format!("after that only the other side spoke: {}", describe_message(&candidates[0], happened))
        }
    }
}

fn matches(wanted: &ExpectedMessage, message: &Message) -> bool {
    let content = words(&message.content);
    let says = |text: &str| {
        let mut rest = &content[..];
        text.split("...").all(|piece| match find_exact(&words(piece), rest) {
            Some(end) => {
                rest = &rest[end..];
                true
            }
            None => false,
        })
    };
    wanted.role == message.role
        && wanted.says.as_deref().is_none_or(says)
        && wanted.is.as_deref().is_none_or(|text| words(text) == content)
        && wanted.not.as_deref().is_none_or(|text| find_exact(&words(text), &content).is_none())
        && wanted.interrupted.is_none_or(|interrupted| interrupted == message.interrupted)
}

/// Describes an expected message in a sentence.
fn described(wanted: &ExpectedMessage) -> String {
    let who = match wanted.role {
        Role::Agent => "the agent",
        Role::User => "the caller",
    };
    let mut parts = vec![];
    parts.extend(wanted.says.as_ref().map(|text| format!("says {}", quoted(text))));
    parts.extend(wanted.is.as_ref().map(|text| format!("says exactly {}", quoted(text))));
    parts.extend(wanted.not.as_ref().map(|text| format!("does not say {}", quoted(text))));
    parts.extend(wanted.interrupted.map(|cut| if cut { "is cut off" } else { "is not cut off" }.to_owned()));
    format!("{who} {}", parts.join(" and "))
}

fn never(phrase: &str, happened: &ObservedCall) -> Option<Mismatch> {
    let wanted = words(phrase);
    let expected = format!("the agent never says {}", quoted(phrase));
    let stored = happened.agent_messages();
    if let Some(message) =
        stored.iter().find(|message| find_exact(&wanted, &words(&message.content)).is_some())
    {
        return Some(fault(expected, describe_message(message, happened)));
    }
    let heard =
        happened.call.heard.iter().find(|heard| find_exact(&wanted, &words(&heard.text)).is_some())?;
    let at = seconds(i64::try_from(heard.at_ms).unwrap_or(i64::MAX));
    Some(fault(expected, format!("at {} the caller heard {}", at.trim(), quoted(&heard.text))))
}

fn heard(phrases: &[String], happened: &ObservedCall) -> Option<Mismatch> {
    let heard: Vec<&str> = happened.call.heard.iter().map(|heard| heard.text.as_str()).collect();
    let all = words(&heard.join(" "));
    let mut from = 0;
    for phrase in phrases {
        let wanted = words(phrase);
        let place = find(&wanted, &all[from..]);
        if place.errors > wanted.len() / WORDS_PER_ERROR {
            let rest = match &all[from..] {
                [] => "nothing more".to_owned(),
                rest => quoted(&rest.join(" ")),
            };
            let so_far = if from > 0 { "after what was expected before, " } else { "" };
            return Some(fault(
                format!("the caller hears {}", quoted(phrase)),
                format!("{so_far}they heard {rest}"),
            ));
        }
        from += place.end;
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{heard_check::HeardCheck, observed_call::tests::happened},
        *,
    };
    use crate::evidence::words::WordErrors;

    fn faults(expected: Value) -> Vec<String> {
        let expected: Expectations = serde_json::from_value(expected).unwrap();
        let faults = check(&expected, &happened());
        faults.into_iter().map(|fault| format!("{} | {}", fault.expected, fault.happened)).collect()
    }

    #[test]
    fn a_call_that_meets_its_expectations_passes() {
        let expected = json!({
            "messages": [
                { "role": "agent", "says": "hello ... Ada", "interrupted": false },
                { "role": "user", "says": "close" },
                { "role": "agent", "says": "we close at 6", "interrupted": true, "not": "evening" },
                { "role": "user", "is": "stop" },
            ],
            "exactly": true,
            "never_said": ["in the evening", "goodbye"],
            "heard": ["hello this is Ada", "we close at six"],
            "functions": ["end_call"],
            "ended": "agent_ended",
            "answered_by": "human",
            "notes": ["response p50"],
            "replies_within_ms": 3000,
            "events": ["phone_call:accepted"],
        });
        assert_eq!(faults(expected), Vec::<String>::new());
        assert_eq!(faults(json!({})), Vec::<String>::new());
    }

    #[test]
    fn each_failed_expectation_shows_the_observation() {
        for (expected, says) in [
            (
                json!({ "messages": [{ "role": "agent", "says": "we close ... evening", "interrupted": false }] }),
                "message 1: the agent says \"we close ... evening\" and is not cut off | the nearest is: \
                 at 5.2 s the agent said \"On Saturday we close at six in\", cut off at 7.0 s",
            ),
            (
                json!({ "messages": [{ "role": "user", "says": "stop" }, { "role": "agent", "says": "sorry" }] }),
                "message 2: the agent says \"sorry\" | nothing more is stored",
            ),
            (
                json!({ "messages": [{ "role": "agent", "says": "on saturday" }, { "role": "agent", "says": "hello" }] }),
                "message 2: the agent says \"hello\" | after that only the other side spoke: at 6.9 s the caller said \"Stop.\"",
            ),
            (
                json!({ "messages": [{ "role": "agent", "says": "hello" }], "exactly": true }),
                "no more than 1 messages | then at 3.0 s the caller said \"When do you close?\"; ",
            ),
            (
                json!({ "never_said": ["close at six"] }),
                "the agent never says \"close at six\" | at 5.2 s the agent said",
            ),
            (
                json!({ "heard": ["this is Ada", "goodbye then"] }),
                "the caller hears \"goodbye then\" | after what was expected before, they heard \"on saturday we close at six\"",
            ),
            (json!({ "functions": [] }), "the agent calls no function | it called end_call"),
            (json!({ "ended": "user_ended" }), "ended_reason is user_ended | it is \"agent_ended\""),
            (json!({ "answered_by": "machine_start" }), "answered_by is machine_start | it is \"human\""),
            (
                json!({ "notes": ["voice acme"] }),
                "a note in the event log says \"voice acme\" | the notes are \"2 answers: response p50 700 ms\"",
            ),
            (
                json!({ "replies_within_ms": 600 }),
                "the caller never waits longer than 600 ms to hear the agent | after \"When do you close?\" they waited 700 ms",
            ),
            (json!({ "events": ["phone_call:rejected"] }), "an event phone_call:rejected | there was none"),
        ] {
            let faults = faults(expected.clone());
            assert_eq!(faults.len(), 1, "{expected}: {faults:?}");
            assert!(faults[0].starts_with(says), "{}\n{says}", faults[0]);
        }
    }

    #[test]
    fn every_call_must_end_once_replay_and_match_its_recording() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log.jsonl");
        let write = |outputs: &str| {
            let text = format!(
                "{}\n{{\"at\":0,\"input\":\"MediaStarted\",\"outputs\":{outputs}}}\n",
                r#"{"format":2,"engine":1,"settings":{"greeting":null,"max_duration":null,"language":"en","takeover":null}}"#
            );
            std::fs::write(&log, text).unwrap();
        };
        write("[]");
        let good = || {
            let mut good = happened();
            good.replays = vec![log.clone()];
            good
        };
        assert_eq!(check_always(&good()), []);

        let fault_of = |happened: &ObservedCall| {
            let faults = check_always(happened);
            assert_eq!(faults.len(), 1, "{faults:?}");
            faults[0].expected.clone()
        };
        let mut twice = good();
        twice.events.insert(0, json!({ "event": "conversation:ended", "sequence": 1 }));
        for (index, event) in twice.events.iter_mut().enumerate() {
            event["sequence"] = json!(index + 1);
        }
        assert!(fault_of(&twice).contains("ends once"));
        let mut gap = good();
        gap.events[2]["sequence"] = json!(4);
        assert!(fault_of(&gap).contains("without a gap"));
        assert!(fault_of(&happened()).contains("leaves a replay log"));
        write(r#"["Clear"]"#);
        assert!(fault_of(&good()).contains("the same when they are replayed"));
        write("[]");
        let mut ledger = good();
        ledger.ledger.push(HeardCheck {
            stored: "We close at six in the evening.".into(),
            recognised: "We close".into(),
            interrupted: false,
            errors: WordErrors::default(),
            fault: Some("at its end 5 words are stored that were not heard".into()),
        });
        assert!(fault_of(&ledger).contains("\"We close at six in the evening.\""));
    }
}
