//! The server's messages, and the state of the present turn: which transcripts are out, and when the turn is over.
//!
//! Pure: messages in, events and a reply out. Start at [`Turn::on`].

use std::time::Duration;

use serde::Deserialize;

use super::VENDOR;
use crate::{Error, transcriber::TranscriptEvent};

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

/// The client's reply to a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    None,
    /// Asks for the interim words as final ones.
    Finalize,
}

/// The present turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    has_finals: bool,
    has_interims: bool,
    /// A `Finalize` was sent: its results end the turn.
    finalizing: bool,
}

impl Turn {
    pub(super) fn on(
        &mut self,
        message: ServerMessage,
        events: &mut Vec<TranscriptEvent>,
    ) -> Result<Reply, Error> {
        match message {
            ServerMessage::Results { is_final, speech_final, from_finalize, channel } => {
                if let Some(best) = channel.alternatives.into_iter().next() {
                    self.take(best, is_final, events);
                }
                if speech_final || (from_finalize && self.finalizing) {
                    self.end(events);
                }
            }
            ServerMessage::SpeechStarted => events.push(TranscriptEvent::SpeechStarted),
            ServerMessage::UtteranceEnd { last_word_end } if last_word_end >= 0.0 => {
                if self.has_interims {
                    // The final words still come; ending the turn before them would deliver them twice.
                    self.finalizing = true;
                    return Ok(Reply::Finalize);
                }
                self.end(events);
            }
            ServerMessage::Metadata { duration } => {
                let audio = Duration::try_from_secs_f64(duration).unwrap_or_default();
                events.push(TranscriptEvent::Usage { audio, estimated: false });
            }
            ServerMessage::Error { variant, description } => {
                return Err(Error::rejected(VENDOR, variant, &description));
            }
            ServerMessage::UtteranceEnd { .. } | ServerMessage::Unknown => {}
        }
        Ok(Reply::None)
    }

    /// The client wants the interim words as final ones, which end the turn.
    pub(super) fn finalize(&mut self) -> Reply {
        if !self.has_interims {
            return Reply::None;
        }
        self.finalizing = true;
        Reply::Finalize
    }

    fn take(&mut self, best: Alternative, is_final: bool, events: &mut Vec<TranscriptEvent>) {
        let has_words = !best.transcript.trim().is_empty();
        if is_final {
            if self.has_interims && !has_words {
                events.push(TranscriptEvent::Withdrawn);
            }
            self.has_interims = false;
            self.has_finals |= has_words;
        } else {
            self.has_interims |= has_words;
        }
        if has_words {
            let words_end = best.words.last().and_then(|word| Duration::try_from_secs_f64(word.end).ok());
            events.push(TranscriptEvent::Transcript { text: best.transcript, is_final, words_end });
        }
    }

    fn end(&mut self, events: &mut Vec<TranscriptEvent>) {
        if self.has_finals {
            events.push(TranscriptEvent::TurnEnded);
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

    fn transcript(text: &str, is_final: bool) -> TranscriptEvent {
        TranscriptEvent::Transcript {
            text: text.into(),
            is_final,
            words_end: Some(Duration::from_millis(1250)),
        }
    }

    fn replay(messages: &[Value]) -> (Vec<TranscriptEvent>, Vec<Reply>) {
        let (mut turn, mut events) = (Turn::default(), Vec::new());
        let replies = messages
            .iter()
            .map(|message| serde_json::from_value(message.clone()).unwrap())
            .map(|message| turn.on(message, &mut events).unwrap())
            .collect();
        (events, replies)
    }

    #[test]
    fn a_turn_ends_with_the_endpoint_after_its_words() {
        let (events, _) = replay(&[
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
                    TranscriptEvent::SpeechStarted,
                    transcript("what time", false),
                    transcript("What time do", true),
                    transcript("You close?", true),
                    TranscriptEvent::TurnEnded,
                ]
        );
    }

    #[test]
    fn an_empty_final_takes_the_interim_back() {
        let (events, _) = replay(&[
            results("yes", &[]),
            results("", &["is_final"]),
            results("", &["is_final", "speech_final"]),
        ]);
        assert!(events == [transcript("yes", false), TranscriptEvent::Withdrawn]);
    }

    #[test]
    fn a_turn_without_an_endpoint_ends_with_the_utterance() {
        let end = |last_word_end: f64| json!({"type": "UtteranceEnd", "last_word_end": last_word_end});
        let (events, replies) = replay(&[results("Yes.", &["is_final"]), end(-1.0), end(1.25), end(1.25)]);
        assert!(events == [transcript("Yes.", true), TranscriptEvent::TurnEnded]);
        assert!(replies.iter().all(|reply| *reply == Reply::None));
    }

    #[test]
    fn interim_words_are_finalized_before_the_turn_ends() {
        let (events, replies) = replay(&[
            results("yes", &[]),
            json!({"type": "UtteranceEnd", "last_word_end": 1.25}),
            results("Yes.", &["is_final"]),
            results("", &["is_final", "from_finalize"]),
        ]);
        assert_eq!(replies[1], Reply::Finalize);
        assert!(events == [transcript("yes", false), transcript("Yes.", true), TranscriptEvent::TurnEnded]);
    }

    proptest! {
        #[test]
        fn every_end_of_turn_follows_final_words(script in prop::collection::vec(0..6_u8, 0..40)) {
            let messages: Vec<Value> = script.iter().map(|step| match step {
                0 => results("a", &[]),
                1 => results("a", &["is_final"]),
                2 => results("a", &["is_final", "speech_final"]),
                3 => results("", &["is_final", "speech_final"]),
                4 => results("", &["is_final", "from_finalize"]),
                _ => json!({"type": "UtteranceEnd", "last_word_end": 1.0}),
            }).collect();
            let mut finals = 0;
            for event in replay(&messages).0 {
                match event {
                    TranscriptEvent::Transcript { is_final: true, .. } => finals += 1,
                    TranscriptEvent::TurnEnded => {
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
