//! The server's messages, and what of the present turn is out.
//!
//! Pure: messages in, events out. Start at [`Turn::on`].

use std::time::Duration;

use serde::Deserialize;

use crate::{Error, deepgram::VENDOR, error::is_code, transcriber::TranscriptEvent};

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum ServerMessage {
    TurnInfo {
        event: Event,
        /// All words of the turn so far.
        #[serde(default)]
        transcript: String,
        #[serde(default)]
        words: Vec<Word>,
    },
    /// Ends the session.
    Error {
        #[serde(default)]
        code: String,
        #[serde(default)]
        description: String,
    },
    /// `Connected` and `Warning` among others.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) enum Event {
    Update,
    StartOfTurn,
    EagerEndOfTurn,
    TurnResumed,
    EndOfTurn,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct Word {
    /// Seconds, if the server says so.
    #[serde(default)]
    end: Option<f64>,
}

/// The present turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The words that are out. An update comes four times a second, with new words or without.
    transcript: String,
    /// Silence that stood in for audio that did not arrive.
    padding: Duration,
}

impl Turn {
    /// Notes silence that the session added to the audio.
    pub(super) fn pad(&mut self, silence: Duration) {
        self.padding += silence;
    }

    pub(super) fn on(
        &mut self,
        message: ServerMessage,
        events: &mut Vec<TranscriptEvent>,
    ) -> Result<(), Error> {
        match message {
            ServerMessage::TurnInfo { event, transcript, words } => {
                let words_end = words.last().and_then(|word| Duration::try_from_secs_f64(word.end?).ok());
                let words_end = words_end.map(|end| end.saturating_sub(self.padding));
                self.turn_info(&event, transcript, words_end, events);
                Ok(())
            }
            ServerMessage::Error { code, description } if is_theirs(&code) => {
                Err(Error::unavailable_because(VENDOR, &code, &description))
            }
            ServerMessage::Error { code, description } => Err(Error::rejected(VENDOR, code, &description)),
            ServerMessage::Unknown => Ok(()),
        }
    }

    fn turn_info(
        &mut self,
        event: &Event,
        text: String,
        words_end: Option<Duration>,
        events: &mut Vec<TranscriptEvent>,
    ) {
        if matches!(event, Event::StartOfTurn) {
            events.push(TranscriptEvent::SpeechStarted);
        }
        let is_final = matches!(event, Event::EndOfTurn);
        let has_words = !text.trim().is_empty();
        if has_words && (is_final || text != self.transcript) {
            self.transcript.clone_from(&text);
            events.push(TranscriptEvent::Transcript { text, is_final, words_end });
        }
        match event {
            Event::EagerEndOfTurn => events.push(TranscriptEvent::TurnEndExpected),
            Event::TurnResumed => events.push(TranscriptEvent::TurnResumed),
            Event::EndOfTurn => {
                self.transcript.clear();
                if has_words {
                    events.push(TranscriptEvent::TurnEnded);
                }
            }
            Event::Update | Event::StartOfTurn | Event::Unknown => {}
        }
    }
}

/// Whether the vendor failed, rather than our request.
fn is_theirs(code: &str) -> bool {
    is_code(code)
        && (code.starts_with("INTERNAL")
            || code.starts_with("NET-")
            || code.contains("TIMEOUT")
            || code.contains("UNAVAILABLE"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn info(event: &str, transcript: &str, end: Option<f64>) -> Value {
        let words: Vec<Value> = transcript
            .split_whitespace()
            .map(|word| json!({"word": word, "confidence": 0.9, "end": end}))
            .collect();
        json!({"type": "TurnInfo", "request_id": "r", "sequence_id": 1, "event": event, "turn_index": 0,
            "audio_window_start": 0.0, "audio_window_end": 2.0, "transcript": transcript, "words": words,
            "end_of_turn_confidence": 0.2})
    }

    fn replay(turn: &mut Turn, messages: &[Value]) -> Vec<TranscriptEvent> {
        let mut events = Vec::new();
        for message in messages {
            let message = serde_json::from_value(message.clone()).unwrap();
            turn.on(message, &mut events).unwrap();
        }
        events
    }

    fn transcript(text: &str, is_final: bool) -> TranscriptEvent {
        TranscriptEvent::Transcript { text: text.into(), is_final, words_end: None }
    }

    #[test]
    fn a_turn_is_told_from_its_beginning_to_its_end() {
        let events = replay(
            &mut Turn::default(),
            &[
                json!({"type": "Connected", "request_id": "r", "sequence_id": 0}),
                info("Update", "", None),
                info("StartOfTurn", "What", None),
                info("Update", "What", None),
                info("Update", "What time", None),
                info("EagerEndOfTurn", "What time", None),
                info("TurnResumed", "What time do", None),
                info("EagerEndOfTurn", "What time do you close?", None),
                info("EndOfTurn", "What time do you close?", None),
                info("Update", "", None),
                info("StartOfTurn", "What", None),
            ],
        );
        let expected = [
            TranscriptEvent::SpeechStarted,
            transcript("What", false),
            transcript("What time", false),
            TranscriptEvent::TurnEndExpected,
            transcript("What time do", false),
            TranscriptEvent::TurnResumed,
            transcript("What time do you close?", false),
            TranscriptEvent::TurnEndExpected,
            transcript("What time do you close?", true),
            TranscriptEvent::TurnEnded,
            TranscriptEvent::SpeechStarted,
            transcript("What", false),
        ];
        assert!(events == expected, "{events:?}");
    }

    #[test]
    fn a_turn_without_words_ends_nothing() {
        assert!(replay(&mut Turn::default(), &[info("EndOfTurn", " ", None)]).is_empty());
    }

    #[test]
    fn added_silence_does_not_count_in_the_times_of_words() {
        let mut turn = Turn::default();
        turn.pad(Duration::from_millis(500));
        let events = replay(&mut turn, &[info("EndOfTurn", "Yes.", Some(1.75))]);
        let TranscriptEvent::Transcript { words_end, .. } = &events[0] else { panic!("{events:?}") };
        assert_eq!(*words_end, Some(Duration::from_millis(1250)));
    }

    #[test]
    fn a_fatal_error_is_retryable_if_it_is_the_vendors() {
        for (code, is_retryable) in
            [("INTERNAL_SERVER_ERROR", true), ("NET-0001", true), ("UNPARSABLE_CLIENT_MESSAGE", false)]
        {
            let message = json!({"type": "Error", "sequence_id": 3, "code": code, "description": "x"});
            let error =
                Turn::default().on(serde_json::from_value(message).unwrap(), &mut vec![]).unwrap_err();
            assert_eq!(error.is_retryable(), is_retryable, "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_end_of_turn_follows_its_final_words(script in prop::collection::vec((0..6_u8, 0..3_u8), 0..40)) {
            let messages: Vec<Value> = script.iter().map(|(event, words)| {
                let event = ["Update", "StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EndOfTurn", "Novelty"][usize::from(*event)];
                info(event, ["", "a", "a b"][usize::from(*words)], None)
            }).collect();
            let events = replay(&mut Turn::default(), &messages);
            for (index, event) in events.iter().enumerate() {
                if *event == TranscriptEvent::TurnEnded {
                    let before = &events[index - 1];
                    let is_final = matches!(before, TranscriptEvent::Transcript { is_final: true, .. });
                    prop_assert!(is_final);
                }
            }
        }

        #[test]
        fn hostile_messages_never_panic(
            text in r#"\{"type":"(TurnInfo|Error|X)","event":"EndOfTurn","(words|transcript|code)":(-1e308|null|"a"|\[\{"end":-1e99\}\])\}"#,
        ) {
            let message = serde_json::from_str(&text).unwrap_or(ServerMessage::Unknown);
            let _ = Turn::default().on(message, &mut vec![]);
        }
    }
}
