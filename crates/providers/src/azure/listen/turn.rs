//! The server's messages within a turn of the protocol, and which audio it has recognised.
//!
//! A turn of the protocol (`turn.start` to `turn.end`) is no turn of the caller: it is a stretch of the audio, mostly
//! many utterances long, whose times count from its own beginning. Pure: messages in, events out. Start at
//! [`Turn::on`].

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use serde::Deserialize;

use crate::{Error, audio::AudioFormat, azure::VENDOR, transcriber::TranscriptEvent};

/// Audio without words that a next turn is sent again.
const KEPT_SILENCE: Duration = Duration::from_secs(1);
/// Audio with words that a next turn is sent again. The vendor takes five seconds at once.
const KEPT_SPEECH: Duration = Duration::from_secs(5);

/// A speech message. Times are in units of 100 ns from the beginning of the turn.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Speech {
    #[serde(default)]
    recognition_status: String,
    #[serde(default, alias = "DisplayText")]
    text: String,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    duration: u64,
    #[serde(default, rename = "NBest")]
    best: Vec<Alternative>,
}

/// A reading of a phrase, in the detailed format that several languages come in.
#[derive(Deserialize)]
struct Alternative {
    #[serde(default, rename = "Display")]
    display: String,
}

/// The reaction of the session to a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    None,
    /// The server has taken the turn.
    Started,
    /// The turn is over; audio that it did not recognise goes into another one.
    Ended,
}

/// The present turn.
#[derive(Debug)]
pub(super) struct Turn {
    format: AudioFormat,
    /// Bytes of the session's audio before the turn.
    began_at: u64,
    /// The audio that may have to be sent again, and how many bytes are before it.
    kept: VecDeque<Bytes>,
    kept_from: u64,
    /// Bytes of the session's audio that were sent in any turn.
    sent: u64,
    /// Speech began, and its final words are still to come.
    is_speech: bool,
}

impl Turn {
    /// Of a session with audio of this format.
    pub(super) fn new(format: AudioFormat) -> Self {
        Self { format, began_at: 0, kept: VecDeque::new(), kept_from: 0, sent: 0, is_speech: false }
    }

    /// Notes audio that is sent.
    pub(super) fn sent(&mut self, audio: Bytes) {
        self.sent += length(&audio);
        self.kept.push_back(audio);
        let limit = if self.is_speech { KEPT_SPEECH } else { KEPT_SILENCE };
        self.forget(self.sent.saturating_sub(self.format.bytes_in(limit)));
    }

    /// Whether the server has delivered all words of the speech that it reported.
    pub(super) fn is_quiet(&self) -> bool {
        !self.is_speech
    }

    /// Begins another turn. Returns the audio that it has to be sent first.
    pub(super) fn begin(&mut self) -> Vec<Bytes> {
        self.began_at = self.kept_from;
        self.kept.iter().cloned().collect()
    }

    /// Takes a message of this turn.
    pub(super) fn on(
        &mut self,
        path: &str,
        body: &str,
        events: &mut Vec<TranscriptEvent>,
    ) -> Result<Reply, Error> {
        match path {
            "turn.start" => return Ok(Reply::Started),
            "turn.end" => return Ok(Reply::Ended),
            "speech.startdetected" => self.start(events),
            "speech.hypothesis" | "speech.fragment" => {
                if let Some(speech) = read(body).filter(|speech| !speech.text.trim().is_empty()) {
                    self.start(events);
                    let words_end = Some(self.end_of(&speech));
                    events.push(TranscriptEvent::Transcript {
                        text: speech.text,
                        is_final: false,
                        words_end,
                    });
                }
            }
            "speech.phrase" => {
                if let Some(phrase) = read(body) {
                    self.phrase(phrase, events)?;
                }
            }
            // `speech.endDetected` comes once per turn, and telemetry or later additions hold no words.
            _ => {}
        }
        Ok(Reply::None)
    }

    fn start(&mut self, events: &mut Vec<TranscriptEvent>) {
        if !std::mem::replace(&mut self.is_speech, true) {
            events.push(TranscriptEvent::SpeechStarted);
        }
    }

    fn phrase(&mut self, phrase: Speech, events: &mut Vec<TranscriptEvent>) -> Result<(), Error> {
        let status = phrase.recognition_status.as_str();
        match status {
            "Error" | "ServiceTimeout" | "ServiceUnavailable" | "TooManyRequests" => {
                return Err(Error::unavailable(VENDOR, &format!("its recognition failed: {status}")));
            }
            "BadRequest" | "Forbidden" | "InvalidMessage" => {
                let message = "it does not recognise with these settings, or the quota is used up";
                return Err(Error::rejected(VENDOR, status, message));
            }
            _ => {}
        }
        let words_end = self.end_of(&phrase);
        self.forget(self.format.bytes_in(words_end));
        self.is_speech = false;
        let best = phrase.best.into_iter().next().map(|best| best.display);
        let text = if phrase.text.is_empty() { best.unwrap_or_default() } else { phrase.text };
        if status == "Success" && !text.trim().is_empty() {
            let words_end = Some(words_end);
            events.push(TranscriptEvent::Transcript { text, is_final: true, words_end });
            // A phrase ends with a silence that the segmentation asks for.
            events.push(TranscriptEvent::TurnEnded);
        }
        Ok(())
    }

    /// Forgets the audio before this byte, as far as whole messages of ours go.
    fn forget(&mut self, until: u64) {
        while let Some(first) = self.kept.front() {
            let end = self.kept_from + length(first);
            if end > until {
                return;
            }
            self.kept_from = end;
            self.kept.pop_front();
        }
    }

    /// The end of some speech in the session's audio.
    fn end_of(&self, speech: &Speech) -> Duration {
        let ticks = speech.offset.saturating_add(speech.duration);
        let in_turn = Duration::from_micros(ticks / 10);
        self.format.duration_of(self.began_at).saturating_add(in_turn).min(self.format.duration_of(self.sent))
    }
}

fn read(body: &str) -> Option<Speech> {
    serde_json::from_str(body).ok()
}

/// The number of bytes.
pub(super) fn length(audio: &[u8]) -> u64 {
    u64::try_from(audio.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// A turn that was sent this many frames of 20 ms.
    fn turn(frames: usize) -> Turn {
        let mut turn = Turn::new(AudioFormat::TELEPHONE);
        for _ in 0..frames {
            turn.sent(Bytes::from_static(&[0xFF; 160]));
        }
        turn
    }

    fn on(turn: &mut Turn, path: &str, body: &Value) -> Result<Vec<TranscriptEvent>, Error> {
        let mut events = Vec::new();
        turn.on(path, &body.to_string(), &mut events)?;
        Ok(events)
    }

    fn phrase(status: &str, text: &str) -> Value {
        json!({"RecognitionStatus": status, "DisplayText": text, "Offset": 700_000, "Duration": 9_000_000})
    }

    fn transcript(text: &str, is_final: bool, ms: u64) -> TranscriptEvent {
        let words_end = Some(Duration::from_millis(ms));
        TranscriptEvent::Transcript { text: text.into(), is_final, words_end }
    }

    #[test]
    fn an_utterance_is_interim_words_then_a_phrase_that_ends_the_turn() {
        let mut turn = turn(100);
        let mut events = on(&mut turn, "speech.startdetected", &json!({"Offset": 700_000})).unwrap();
        let hypothesis = json!({"Text": "hello", "Offset": 700_000, "Duration": 3_000_000});
        events.extend(on(&mut turn, "speech.hypothesis", &hypothesis).unwrap());
        events.extend(on(&mut turn, "speech.phrase", &phrase("Success", "Hello there.")).unwrap());
        let expected = [
            TranscriptEvent::SpeechStarted,
            transcript("hello", false, 370),
            transcript("Hello there.", true, 970),
            TranscriptEvent::TurnEnded,
        ];
        assert!(events == expected, "{events:?}");
        let second = on(&mut turn, "speech.hypothesis", &hypothesis).unwrap();
        assert!(second[0] == TranscriptEvent::SpeechStarted, "the server reports it once per turn");
    }

    #[test]
    fn a_detailed_phrase_has_its_words_in_its_best_reading() {
        let body = json!({"RecognitionStatus": "Success", "Offset": 0, "Duration": 5_000_000,
            "PrimaryLanguage": {"Language": "es-ES", "Confidence": "High"},
            "NBest": [{"Confidence": 0.93, "Lexical": "hola", "Display": "Hola."}]});
        let events = on(&mut turn(50), "speech.phrase", &body).unwrap();
        assert!(events[0] == transcript("Hola.", true, 500), "{events:?}");
    }

    #[test]
    fn another_turn_gets_what_the_last_one_did_not_recognise() {
        let mut turn = turn(0);
        on(&mut turn, "speech.startdetected", &json!({})).unwrap();
        for _ in 0..100 {
            turn.sent(Bytes::from_static(&[0xFF; 160]));
        }
        on(&mut turn, "speech.phrase", &phrase("Success", "Hello.")).unwrap();
        assert_eq!(turn.begin().len(), 100 - 48, "whole frames until 970 ms are recognised");
        let events = on(&mut turn, "speech.phrase", &phrase("Success", "Again.")).unwrap();
        assert!(events[0] == transcript("Again.", true, 960 + 970), "{events:?}");
    }

    #[test]
    fn long_silence_is_not_sent_again() {
        assert_eq!(turn(1_000).begin().len(), 50);
    }

    #[test]
    fn a_phrase_without_words_is_no_event() {
        for status in ["NoMatch", "InitialSilenceTimeout", "BabbleTimeout", "EndOfDictation", "Novelty"] {
            assert!(on(&mut turn(100), "speech.phrase", &phrase(status, "")).unwrap().is_empty(), "{status}");
        }
    }

    #[test]
    fn a_failed_recognition_is_retryable_or_not() {
        for (status, is_retryable) in
            [("Error", true), ("TooManyRequests", true), ("Forbidden", false), ("BadRequest", false)]
        {
            let error = on(&mut turn(1), "speech.phrase", &phrase(status, "")).unwrap_err();
            assert_eq!(error.is_retryable(), is_retryable, "{error}");
        }
    }

    proptest! {
        #[test]
        fn hostile_messages_never_panic(
            path in "(speech.phrase|speech.hypothesis|turn.end|x)",
            body in r#"\{"(Offset|Duration|NBest|Text)":(-1|18446744073709551615|null|\[\]|"a")\}"#,
        ) {
            let _ = turn(3).on(&path, &body, &mut vec![]);
        }
    }
}
