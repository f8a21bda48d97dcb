//! The caller's acts, and the events that they follow.
//!
//! The stored times are those of one run. A repeated call is a little slower or faster, so an act is bound to what it
//! followed: the agent's speech that it interrupted, the reply that it answered, the act before it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use switchboard_model::{
    event_names::EventName,
    messages::{Message, Role},
    time::Timestamp,
};

use crate::events::EventView;

/// The sandbox's person knows by this silence that the agent has finished.
const SILENCE: Duration = Duration::from_millis(700);
/// A reply within this time is an ordinary one: recognising the agent takes a part of it.
const ORDINARY_REPLY: Duration = Duration::from_secs(5);
/// Times of speech without words differ by so much from those of the words beside it.
const MARGIN: Duration = Duration::from_millis(500);
/// Speech without words up to this length is a cough, above it a hum.
const COUGH: Duration = Duration::from_millis(700);
/// Delays are written in steps.
const STEP_MS: u128 = 50;

/// The script of a caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ScenarioCaller")]
pub struct CallerView {
    /// The acts of the caller, one after the other.
    pub acts: Vec<ActView>,
    /// Whether the carrier detected an answering machine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub machine: bool,
    /// The end of the last act.
    #[serde(skip)]
    last_end: Option<Timestamp>,
}

/// An act: exactly one of `say`, `sound`, `keys` and `hang_up`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ScenarioAct")]
pub struct ActView {
    /// The event that the act waits for.
    pub after: AfterView,
    /// The further delay, in milliseconds; absent: the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// A sound without words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<SoundView>,
    /// Keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
    /// True: the caller hangs up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hang_up: bool,
}

/// The event that an act waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ScenarioAfter")]
pub enum AfterView {
    /// The agent has finished.
    #[default]
    Reply,
    /// The agent begins to be heard, or is heard when the act before has ended.
    Speech,
    /// The act before has ended.
    Act,
    /// The call was answered.
    Start,
}

/// A sound without words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ScenarioSound")]
pub enum SoundView {
    /// Short.
    Cough,
    /// Long: a hum, or a word that the transcriber did not understand.
    Hum,
}

/// Finds the acts. The call was answered at `answered_at`.
pub(super) fn script(messages: &[Message], events: &[EventView], answered_at: Timestamp) -> CallerView {
    let said = messages.iter().filter(|message| message.role == Role::User);
    let said = said.map(|message| (message.started_at, message.ended_at, of_words(&message.content)));
    let mut acts: Vec<_> = said.chain(sounds(messages, events)).collect();
    acts.sort_by_key(|(from, ..)| *from);
    let mut caller = CallerView::default();
    for (from, until, act) in acts {
        caller.push(act, messages, answered_at, from);
        caller.last_end = Some(until);
    }
    caller
}

impl CallerView {
    /// Adds the end of the call by the caller.
    pub(super) fn hang_up(&mut self, messages: &[Message], answered_at: Timestamp, ended_at: Timestamp) {
        self.push(ActView { hang_up: true, ..ActView::default() }, messages, answered_at, ended_at);
    }

    fn push(&mut self, act: ActView, messages: &[Message], answered_at: Timestamp, at: Timestamp) {
        let (after, wait) = relation(messages, answered_at, self.last_end, at);
        let wait_ms = wait.map(|wait| {
            let ms = (wait.as_millis() + STEP_MS / 2) / STEP_MS * STEP_MS;
            u64::try_from(ms).unwrap_or(u64::MAX)
        });
        self.acts.push(ActView { after, wait_ms, ..act });
    }
}

/// The event that an act at `at` followed, and its delay; none: the usual delay. The act before ended at `last_end`.
fn relation(
    messages: &[Message],
    answered_at: Timestamp,
    last_end: Option<Timestamp>,
    at: Timestamp,
) -> (AfterView, Option<Duration>) {
    let agent = messages.iter().filter(|message| message.role == Role::Agent && message.started_at <= at);
    let is_new = |message: &&Message| last_end.is_none_or(|last_end| message.ended_at > last_end);
    match agent.filter(is_new).max_by_key(|message| message.started_at) {
        // So soon after the agent's last word, the caller did not wait for its end.
        Some(message) if at.since(message.ended_at) < SILENCE => {
            let from = last_end.map_or(message.started_at, |last_end| last_end.max(message.started_at));
            (AfterView::Speech, Some(at.since(from)))
        }
        Some(message) => {
            let gap = at.since(message.ended_at);
            (AfterView::Reply, (gap > ORDINARY_REPLY).then(|| gap.saturating_sub(SILENCE)))
        }
        None => match last_end {
            Some(last_end) => (AfterView::Act, Some(at.since(last_end))),
            None => (AfterView::Start, Some(at.since(answered_at))),
        },
    }
}

/// Words, or the keys that a message consists of. A number that was keyed in is its digits without spaces.
fn of_words(content: &str) -> ActView {
    let is_key = |character: char| character.is_ascii_digit() || character == '*';
    if !content.is_empty() && content.chars().all(is_key) {
        return ActView { keys: Some(format!("{content}#")), ..ActView::default() };
    }
    ActView { say: Some(content.to_owned()), ..ActView::default() }
}

/// Speech of the caller that became no message.
fn sounds(messages: &[Message], events: &[EventView]) -> Vec<(Timestamp, Timestamp, ActView)> {
    let is_users = |event: &&EventView| event.data["role"] == "user";
    let (mut began, mut sounds) = (None, vec![]);
    for event in events.iter().filter(is_users) {
        match event.event {
            EventName::SpeechStarted => began = Some(event.created_at),
            EventName::SpeechEnded => {
                let Some(from) = began.take() else { continue };
                let until = event.created_at;
                let has_words = messages.iter().any(|message| {
                    message.role == Role::User
                        && from < message.ended_at.after(MARGIN)
                        && message.started_at < until.after(MARGIN)
                });
                if !has_words {
                    let is_short = until.since(from) <= COUGH;
                    let sound = if is_short { SoundView::Cough } else { SoundView::Hum };
                    sounds.push((from, until, ActView { sound: Some(sound), ..ActView::default() }));
                }
            }
            _ => {}
        }
    }
    sounds
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scenarios::testing::{agent, event, user};

    fn acts(messages: &[Message], events: &[EventView]) -> Value {
        json!(script(messages, events, Timestamp::from_millis(1_000)).acts)
    }

    #[test]
    fn an_act_is_bound_to_what_it_followed() {
        let messages = [
            agent(1_500, 4_000, "Hello, this is Ada."),
            user(6_000, 7_000, "When do you close?"),
            agent(8_000, 12_020, "On Saturday we close at six in"),
            user(10_530, 11_000, "Stop."),
            user(12_000, 12_400, "Please."),
            agent(13_000, 14_000, "Yes?"),
            user(29_000, 30_000, "Bye."),
            user(31_200, 32_000, "Bye bye."),
        ];
        let expected = json!([
            { "after": "reply", "say": "When do you close?" },
            { "after": "speech", "wait_ms": 2_550, "say": "Stop." },
            { "after": "speech", "wait_ms": 1_000, "say": "Please." },
            { "after": "reply", "wait_ms": 14_300, "say": "Bye." },
            { "after": "act", "wait_ms": 1_200, "say": "Bye bye." },
        ]);
        assert_eq!(acts(&messages, &[]), expected);
    }

    #[test]
    fn a_caller_who_speaks_first_waits_for_the_answer_only() {
        let first = acts(&[user(2_510, 3_000, "Hello?")], &[]);
        assert_eq!(first, json!([{ "after": "start", "wait_ms": 1_500, "say": "Hello?" }]));
    }

    #[test]
    fn a_number_that_was_keyed_in_is_keyed_in_again() {
        let messages =
            [agent(1_000, 2_000, "Your number?"), user(4_000, 5_000, "4711"), user(9_000, 9_500, "4 7 1 1.")];
        let acts = acts(&messages, &[]);
        assert_eq!((&acts[0]["keys"], &acts[1]["say"]), (&json!("4711#"), &json!("4 7 1 1.")));
    }

    #[test]
    fn speech_without_a_message_is_a_sound() {
        let messages = [agent(1_000, 9_000, "Hello, this is Ada."), user(10_000, 11_000, "Hi.")];
        let speech = |at, name| event(at, name, json!({ "role": "user" }));
        let events = [
            speech(3_000, EventName::SpeechStarted),
            speech(3_400, EventName::SpeechEnded),
            speech(5_000, EventName::SpeechStarted),
            speech(6_200, EventName::SpeechEnded),
            speech(10_300, EventName::SpeechStarted),
            speech(11_200, EventName::SpeechEnded),
        ];
        let expected = json!([
            { "after": "speech", "wait_ms": 2_000, "sound": "cough" },
            { "after": "speech", "wait_ms": 1_600, "sound": "hum" },
            { "after": "reply", "say": "Hi." },
        ]);
        assert_eq!(acts(&messages, &events), expected);
    }

    #[test]
    fn the_end_by_the_caller_is_the_last_act() {
        let messages = [agent(1_000, 9_000, "Hello.")];
        let mut caller = script(&messages, &[], Timestamp::from_millis(1_000));
        caller.hang_up(&messages, Timestamp::from_millis(1_000), Timestamp::from_millis(3_000));
        assert_eq!(
            json!(caller),
            json!({ "acts": [{ "after": "speech", "wait_ms": 2_000, "hang_up": true }] })
        );
    }
}
