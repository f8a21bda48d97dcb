//! The messages of a turn, made from what was heard. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use crate::deepgram::recogniser::{RecogniserEvent, Word, text};

const CONFIDENCE: f64 = 0.93;

/// The messages of one turn.
pub(super) struct Phrases {
    /// Whether phrases come with their readings.
    pub(super) is_detailed: bool,
    /// The language that is told; none if there is only one.
    pub(super) language: Option<String>,
    is_started: bool,
}

impl Phrases {
    pub(super) fn new(is_detailed: bool, language: Option<String>) -> Self {
        Self { is_detailed, language, is_started: false }
    }

    /// The message for what was heard, with its path. Times count from the beginning of the turn.
    pub(super) fn on(&mut self, heard: &RecogniserEvent) -> Option<(&'static str, Value)> {
        match heard {
            // Once per turn, like the vendor.
            RecogniserEvent::Started(at) if !std::mem::replace(&mut self.is_started, true) => {
                Some(("speech.startDetected", json!({"Offset": ticks(at.as_secs_f64())})))
            }
            RecogniserEvent::Interim { words, .. } => {
                let mut body = times(words)?;
                body["Text"] = json!(plain(&text(words)));
                Some(("speech.hypothesis", self.with_language(body)))
            }
            RecogniserEvent::Final { words, .. } => {
                let mut body = times(words)?;
                body["RecognitionStatus"] = json!("Success");
                let display = text(words);
                if self.is_detailed {
                    let lexical = plain(&display);
                    body["NBest"] = json!([{"Confidence": CONFIDENCE, "Lexical": lexical, "ITN": lexical,
                        "MaskedITN": lexical, "Display": display}]);
                } else {
                    body["DisplayText"] = json!(display);
                }
                Some(("speech.phrase", self.with_language(body)))
            }
            RecogniserEvent::Started(_) | RecogniserEvent::Resumed | RecogniserEvent::Closed => None,
        }
    }

    /// The messages that end the turn after this much audio, but for the last one.
    pub(super) fn end(&self, audio: Duration) -> Vec<(&'static str, Value)> {
        let at = ticks(audio.as_secs_f64());
        let detected = self.is_started.then(|| ("speech.endDetected", json!({"Offset": at})));
        let phrase = json!({"RecognitionStatus": "EndOfDictation", "Offset": at, "Duration": 0});
        detected.into_iter().chain([("speech.phrase", phrase)]).collect()
    }

    fn with_language(&self, mut body: Value) -> Value {
        if let Some(language) = &self.language {
            body["PrimaryLanguage"] = json!({"Language": language, "Confidence": "High"});
        }
        body
    }
}

/// Beginning and duration of some words; none of no words.
fn times(words: &[Word]) -> Option<Value> {
    let (first, last) = (words.first()?, words.last()?);
    let offset = ticks(first.start);
    Some(
        json!({"Id": crate::ids::uuid().replace('-', ""), "Offset": offset, "Duration": ticks(last.end).saturating_sub(offset)}),
    )
}

/// Units of 100 ns.
fn ticks(seconds: f64) -> u64 {
    let micros = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_micros();
    u64::try_from(micros).unwrap_or_default().saturating_mul(10)
}

/// A text without case and punctuation, as hypotheses are.
fn plain(text: &str) -> String {
    let words =
        text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<Word> {
        let word = |text: &str, start, end| Word { text: text.to_owned(), start, end };
        vec![word("Hello", 0.07, 0.4), word("there.", 0.4, 0.97)]
    }

    #[test]
    fn an_utterance_has_the_vendors_messages() {
        let mut phrases = Phrases::new(false, None);
        let started = RecogniserEvent::Started(Duration::from_millis(70));
        assert_eq!(phrases.on(&started), Some(("speech.startDetected", json!({"Offset": 700_000}))));
        assert_eq!(phrases.on(&started), None, "once per turn");
        let (path, body) = phrases.on(&RecogniserEvent::Interim { words: words(), is_pause: false }).unwrap();
        assert_eq!((path, &body["Text"]), ("speech.hypothesis", &json!("hello there")));
        let (path, body) = phrases.on(&RecogniserEvent::Final { words: words(), is_end: true }).unwrap();
        assert_eq!((path, &body["DisplayText"]), ("speech.phrase", &json!("Hello there.")));
        assert_eq!((&body["Offset"], &body["Duration"]), (&json!(700_000), &json!(9_000_000)));
        assert_eq!(phrases.on(&RecogniserEvent::Final { words: vec![], is_end: true }), None);
        assert_eq!(phrases.end(Duration::from_secs(2)).len(), 2);
    }

    #[test]
    fn several_languages_are_told_and_details_are_readings() {
        let mut phrases = Phrases::new(true, Some("en-US".into()));
        let (_, body) = phrases.on(&RecogniserEvent::Final { words: words(), is_end: true }).unwrap();
        assert_eq!(body["PrimaryLanguage"]["Language"], "en-US");
        assert_eq!(body["NBest"][0]["Display"], "Hello there.");
        assert!(body.get("DisplayText").is_none());
    }
}
