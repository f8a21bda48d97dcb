//! The messages of `/v2/listen`: what was heard becomes turns. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::options::FluxOptions;
use crate::deepgram::recogniser::{RecogniserEvent, Word, text};

/// Interval of updates in which nothing changes.
const UPDATE_EVERY: Duration = Duration::from_millis(250);

const CONFIDENCE: f64 = 0.98;

/// The turns of one stream.
pub(super) struct Turns {
    options: FluxOptions,
    request_id: String,
    sequence_id: u64,
    turn_index: u64,
    /// The words of the turn's finals, and with its interim.
    finals: Vec<Word>,
    words: Vec<Word>,
    is_open: bool,
    /// A probable end was reported.
    is_expected: bool,
    /// The client wants the end.
    is_forced: bool,
    /// Beginning of the turn, and end of what the last message covers.
    began_at: Duration,
    covered: Duration,
}

impl Turns {
    pub(super) fn new(options: FluxOptions, request_id: String) -> Self {
        Self {
            options,
            request_id,
            sequence_id: 0,
            turn_index: 0,
            finals: vec![],
            words: vec![],
            is_open: false,
            is_expected: false,
            is_forced: false,
            began_at: Duration::ZERO,
            covered: Duration::ZERO,
        }
    }

    /// The first message.
    pub(super) fn connected(&mut self) -> Value {
        self.message(json!({"type": "Connected"}))
    }

    /// The answer to a `Configure`.
    pub(super) fn not_configured(&mut self) -> Value {
        let description = "this server cannot change a stream";
        self.message(json!({"type": "ConfigureFailure", "code": "UNSUPPORTED", "description": description}))
    }

    /// The error for a text message that is not of this protocol.
    pub(super) fn unparsable(&mut self) -> Value {
        let description = "The message is not one of CloseStream, ForceEndTurn and Configure.";
        self.message(
            json!({"type": "Error", "code": "UNPARSABLE_CLIENT_MESSAGE", "description": description}),
        )
    }

    /// The client ends the turn.
    pub(super) fn force(&mut self) {
        self.is_forced = true;
    }

    /// Adds the messages for what was heard.
    pub(super) fn on(&mut self, heard: RecogniserEvent, position: Duration, out: &mut Vec<Value>) {
        match heard {
            RecogniserEvent::Interim { words, is_pause } => {
                self.hear(words, position, out);
                if is_pause && self.options.is_eager && !self.is_expected {
                    self.is_expected = true;
                    out.push(self.info("EagerEndOfTurn", position));
                }
            }
            RecogniserEvent::Resumed if self.is_expected => {
                self.is_expected = false;
                out.push(self.info("TurnResumed", position));
            }
            RecogniserEvent::Final { words, is_end } => {
                if !words.is_empty() {
                    self.hear(words, position, out);
                }
                self.finals.clone_from(&self.words);
                if is_end && self.is_open {
                    self.end(position, out);
                }
            }
            // The beginning of a turn is reported with its first words.
            RecogniserEvent::Started(_) | RecogniserEvent::Resumed | RecogniserEvent::Closed => {}
        }
    }

    /// Adds an update if the last message is old.
    pub(super) fn update(&mut self, position: Duration, out: &mut Vec<Value>) {
        if position >= self.covered + UPDATE_EVERY {
            out.push(self.info("Update", position));
        }
    }

    fn hear(&mut self, words: Vec<Word>, position: Duration, out: &mut Vec<Value>) {
        let words: Vec<Word> = self.finals.iter().cloned().chain(words).collect();
        if text(&words) == text(&self.words) {
            return;
        }
        self.words = words;
        let event = match (self.is_open, self.is_expected) {
            (false, _) => "StartOfTurn",
            (true, true) => "TurnResumed",
            (true, false) => "Update",
        };
        (self.is_open, self.is_expected) = (true, false);
        out.push(self.info(event, position));
    }

    fn end(&mut self, position: Duration, out: &mut Vec<Value>) {
        if self.options.is_eager && !self.is_expected {
            out.push(self.info("EagerEndOfTurn", position));
        }
        let mut info = self.info("EndOfTurn", position);
        info["trigger"] = match (self.is_forced, self.options.only_times_out) {
            (true, _) => json!("manual"),
            (false, true) => json!("timeout"),
            (false, false) => json!("model"),
        };
        out.push(info);
        self.turn_index += 1;
        self.finals.clear();
        self.words.clear();
        (self.is_open, self.is_expected, self.is_forced) = (false, false, false);
        self.began_at = position;
    }

    fn info(&mut self, event: &str, position: Duration) -> Value {
        self.covered = position;
        let words: Vec<Value> = self
            .words
            .iter()
            .map(|word| json!({"word": word.text, "confidence": CONFIDENCE, "start": word.start, "end": word.end}))
            .collect();
        let confidence = match event {
            "EndOfTurn" => 0.9,
            "EagerEndOfTurn" => 0.6,
            _ => 0.1,
        };
        let mut info = json!({
            "type": "TurnInfo",
            "event": event,
            "turn_index": self.turn_index,
            "audio_window_start": self.began_at.as_secs_f64(),
            "audio_window_end": position.as_secs_f64(),
            "transcript": text(&self.words),
            "words": words,
            "end_of_turn_confidence": confidence,
        });
        if let Some(hints) = &self.options.hints {
            info["languages"] = json!(["en"]);
            if !hints.is_empty() {
                info["languages_hinted"] = json!(hints);
            }
        }
        self.message(info)
    }

    fn message(&mut self, mut message: Value) -> Value {
        message["request_id"] = json!(self.request_id);
        message["sequence_id"] = json!(self.sequence_id);
        self.sequence_id += 1;
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deepgram::recogniser::Encoding;

    fn words(text: &str) -> Vec<Word> {
        text.split_whitespace().map(|word| Word { text: word.to_owned(), start: 0.0, end: 1.0 }).collect()
    }

    fn told(is_eager: bool, heard: Vec<RecogniserEvent>) -> Vec<(String, String)> {
        let options = FluxOptions {
            encoding: Encoding::Mulaw,
            silence: Duration::from_millis(300),
            is_eager,
            only_times_out: false,
            hints: None,
        };
        let mut turns = Turns::new(options, "r".into());
        let mut out = vec![];
        for heard in heard {
            turns.on(heard, Duration::ZERO, &mut out);
        }
        out.iter()
            .map(|info| {
                let member = |name: &str| info[name].as_str().unwrap().to_owned();
                (member("event"), member("transcript"))
            })
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(event, text)| ((*event).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_turn_goes_on_after_a_probable_end() {
        let heard = vec![
            RecogniserEvent::Started(Duration::ZERO),
            RecogniserEvent::Interim { words: words("What"), is_pause: false },
            RecogniserEvent::Interim { words: words("What time"), is_pause: true },
            RecogniserEvent::Resumed,
            RecogniserEvent::Final { words: words("What time is it?"), is_end: true },
            RecogniserEvent::Interim { words: words("Hello"), is_pause: false },
        ];
        let eager = [
            ("StartOfTurn", "What"),
            ("Update", "What time"),
            ("EagerEndOfTurn", "What time"),
            ("TurnResumed", "What time"),
            ("Update", "What time is it?"),
            ("EagerEndOfTurn", "What time is it?"),
            ("EndOfTurn", "What time is it?"),
            ("StartOfTurn", "Hello"),
        ];
        assert_eq!(told(true, heard.clone()), pairs(&eager));
        let plain: Vec<_> = eager
            .into_iter()
            .filter(|(event, _)| !matches!(*event, "EagerEndOfTurn" | "TurnResumed"))
            .collect();
        assert_eq!(told(false, heard), pairs(&plain));
    }

    #[test]
    fn long_speech_is_one_turn() {
        let heard = vec![
            RecogniserEvent::Final { words: words("One."), is_end: false },
            RecogniserEvent::Final { words: vec![], is_end: false },
            RecogniserEvent::Final { words: words("Two."), is_end: true },
            RecogniserEvent::Final { words: vec![], is_end: true },
        ];
        assert_eq!(
            told(false, heard),
            pairs(&[("StartOfTurn", "One."), ("Update", "One. Two."), ("EndOfTurn", "One. Two.")])
        );
    }

    #[test]
    fn updates_come_four_times_a_second_without_news() {
        let options = FluxOptions::parse(
            &[
                ("model", "flux-general-multi"),
                ("encoding", "mulaw"),
                ("sample_rate", "8000"),
                ("language_hint", "fr"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let mut turns = Turns::new(options.ok().unwrap(), "r".into());
        let mut out = vec![turns.connected()];
        for frame in 1..=50_u32 {
            turns.update(frame * Duration::from_millis(20), &mut out);
        }
        let numbers: Vec<_> = out.iter().map(|message| message["sequence_id"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(out[1]["languages_hinted"], json!(["fr"]));
        assert!(out[1].get("trigger").is_none());
    }
}
