//! What the server says, and which words of the present turn are out. Pure.

use std::time::Duration;

use serde::Deserialize;

use super::VENDOR;
use crate::{Error, transcribers::HearingEvent};

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum ServerMessage {
    Results {
        #[serde(default)]
        is_final: bool,
        #[serde(default)]
        speech_final: bool,
        #[serde(default)]
        from_finalize: bool,
        channel: Channel,
    },
    SpeechStarted,
    UtteranceEnd {
        /// Seconds; -1 when there were no words.
        #[serde(default)]
        last_word_end: f64,
    },
    Metadata {
        /// Seconds.
        duration: f64,
    },
    Error {
        #[serde(default)]
        variant: String,
        #[serde(default)]
        description: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct Channel {
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Alternative {
    transcript: String,
    #[serde(default)]
    words: Vec<Word>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Word {
    /// Seconds.
    end: f64,
}

/// What to tell the server in return.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    /// The words so far, as final ones.
    Finalize,
}

/// Which words of the present turn are out. Pure.
#[derive(Debug, Default)]
pub(super) struct Turn {
    has_finals: bool,
    has_interims: bool,
    /// The turn ends with the answer to our `Finalize`.
    finalizing: bool,
}

impl Turn {
    pub(super) fn on(
        &mut self,
        message: ServerMessage,
        events: &mut Vec<HearingEvent>,
    ) -> Result<Wanted, Error> {
        match message {
            ServerMessage::Results { is_final, speech_final, from_finalize, channel } => {
                if let Some(heard) = channel.alternatives.into_iter().next() {
                    self.hear(heard, is_final, events);
                }
                if speech_final || (from_finalize && self.finalizing) {
                    self.end(events);
                }
            }
            ServerMessage::SpeechStarted => events.push(HearingEvent::SpeechStarted),
            ServerMessage::UtteranceEnd { last_word_end } if last_word_end >= 0.0 => {
                if self.has_interims {
                    // To end the turn on words that are not final would bring them twice.
                    self.finalizing = true;
                    return Ok(Wanted::Finalize);
                }
                self.end(events);
            }
            ServerMessage::Metadata { duration } => {
                let audio = Duration::try_from_secs_f64(duration).unwrap_or_default();
                events.push(HearingEvent::Usage { audio, estimated: false });
            }
            ServerMessage::Error { variant, description } => {
                return Err(Error::rejected(VENDOR, variant, &description));
            }
            ServerMessage::UtteranceEnd { .. } | ServerMessage::Unknown => {}
        }
        Ok(Wanted::Nothing)
    }

    fn hear(&mut self, heard: Alternative, is_final: bool, events: &mut Vec<HearingEvent>) {
        let said_something = !heard.transcript.trim().is_empty();
        if is_final {
            self.has_interims = false;
            self.has_finals |= said_something;
        } else {
            self.has_interims |= said_something;
        }
        if said_something {
            let words_end = heard.words.last().and_then(|word| Duration::try_from_secs_f64(word.end).ok());
            events.push(HearingEvent::Words { text: heard.transcript, is_final, words_end });
        }
    }

    fn end(&mut self, events: &mut Vec<HearingEvent>) {
        if self.has_finals {
            events.push(HearingEvent::TurnEnded);
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn results(transcript: &str, flags: &[&str]) -> Value {
        let mut message = json!({"type": "Results", "start": 0.0, "channel": {"alternatives": [
            {"transcript": transcript, "words": [{"word": "x", "start": 0.1, "end": 0.4}, {"word": "y", "end": 1.25}]}]}});
        for flag in flags {
            message[*flag] = json!(true);
        }
        message
    }

    fn words(text: &str, is_final: bool) -> HearingEvent {
        HearingEvent::Words { text: text.into(), is_final, words_end: Some(Duration::from_millis(1250)) }
    }

    fn hear(messages: &[Value]) -> (Vec<HearingEvent>, Vec<Wanted>) {
        let (mut turn, mut events) = (Turn::default(), Vec::new());
        let wanted = messages
            .iter()
            .map(|message| serde_json::from_value(message.clone()).unwrap())
            .map(|message| turn.on(message, &mut events).unwrap())
            .collect();
        (events, wanted)
    }

    #[test]
    fn a_turn_ends_with_the_endpoint_after_its_words() {
        let (events, _) = hear(&[
            json!({"type": "SpeechStarted", "channel": [0], "timestamp": 1.2}),
            results("what time", &[]),
            results("What time do", &["is_final"]),
            results("You close?", &["is_final", "speech_final"]),
            json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 1.25}),
            results("", &["is_final", "speech_final"]),
        ]);
        assert!(
            events
                == [
                    HearingEvent::SpeechStarted,
                    words("what time", false),
                    words("What time do", true),
                    words("You close?", true),
                    HearingEvent::TurnEnded,
                ]
        );
    }

    #[test]
    fn a_turn_without_an_endpoint_ends_with_the_utterance() {
        let end = |last_word_end: f64| json!({"type": "UtteranceEnd", "last_word_end": last_word_end});
        let (events, wanted) = hear(&[results("Yes.", &["is_final"]), end(-1.0), end(1.25), end(1.25)]);
        assert!(events == [words("Yes.", true), HearingEvent::TurnEnded]);
        assert!(wanted.iter().all(|wanted| *wanted == Wanted::Nothing));
    }

    #[test]
    fn words_that_are_not_final_yet_are_asked_for_before_the_turn_ends() {
        let (events, wanted) = hear(&[
            results("yes", &[]),
            json!({"type": "UtteranceEnd", "last_word_end": 1.25}),
            results("Yes.", &["is_final"]),
            results("", &["is_final", "from_finalize"]),
        ]);
        assert_eq!(wanted[1], Wanted::Finalize);
        assert!(events == [words("yes", false), words("Yes.", true), HearingEvent::TurnEnded]);
    }

    proptest! {
        #[test]
        fn a_turn_never_ends_twice_without_final_words_between(script in prop::collection::vec(0..6_u8, 0..40)) {
            let messages: Vec<Value> = script.iter().map(|step| match step {
                0 => results("a", &[]),
                1 => results("a", &["is_final"]),
                2 => results("a", &["is_final", "speech_final"]),
                3 => results("", &["is_final", "speech_final"]),
                4 => results("", &["is_final", "from_finalize"]),
                _ => json!({"type": "UtteranceEnd", "last_word_end": 1.0}),
            }).collect();
            let mut finals = 0;
            for event in hear(&messages).0 {
                match event {
                    HearingEvent::Words { is_final: true, .. } => finals += 1,
                    HearingEvent::TurnEnded => {
                        prop_assert!(finals > 0);
                        finals = 0;
                    }
                    _ => {}
                }
            }
        }

        #[test]
        fn hostile_messages_never_panic(
            text in r#"\{"type":"(Results|UtteranceEnd|Metadata|Error|X)","(duration|last_word_end|channel|is_final)":(-1e308|1e308|null|\{"alternatives":\[(\{"transcript":"a","words":\[\{"end":-1e99\}\]\})?\]\})\}"#,
        ) {
            let message = serde_json::from_str(&text).unwrap_or(ServerMessage::Unknown);
            let _ = Turn::default().on(message, &mut vec![]);
        }
    }
}
