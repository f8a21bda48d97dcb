//! The messages of a live transcription.
//!
//! The engine gives only text. The rest is invented here: the confidence is a constant, the times of the words are
//! spread over the speech in proportion to their length, and one model id stands for every model.

use std::time::Duration;

use serde_json::{Value, json};

const CONFIDENCE: f64 = 0.98;

/// The id of the engine's model, whatever model was requested.
const MODEL_UUID: &str = "00000000-0000-4000-8000-000000000001";

/// Beginning and end of a part of the stream.
pub(super) type Span = (Duration, Duration);

/// The reason for a final result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Final {
    /// The requested silence (`endpointing`) has passed.
    pub(super) speech_final: bool,
    /// The client requested it (`Finalize`).
    pub(super) from_finalize: bool,
}

/// A word with its times in the stream, in seconds.
pub(super) struct Word {
    bare: String,
    /// The word as written, if punctuation was requested.
    punctuated: Option<String>,
    start: f64,
    end: f64,
}

/// `Results` for this part of the stream; interim if `how` is `None`.
pub(super) fn results(request_id: &str, span: Span, words: &[Word], how: Option<Final>) -> Value {
    let Final { speech_final, from_finalize } = how.unwrap_or_default();
    let transcript: Vec<&str> =
        words.iter().map(|word| word.punctuated.as_deref().unwrap_or(&word.bare)).collect();
    let confidence = if words.is_empty() { 0.0 } else { CONFIDENCE };
    let words: Vec<Value> = words.iter().map(Word::to_json).collect();
    json!({
        "type": "Results",
        "channel_index": [0, 1],
        "start": span.0.as_secs_f64(),
        "duration": span.1.saturating_sub(span.0).as_secs_f64(),
        "is_final": how.is_some(),
        "speech_final": speech_final,
        "from_finalize": from_finalize,
        "channel": {
            "alternatives": [{"transcript": transcript.join(" "), "confidence": confidence, "words": words}],
        },
        "metadata": {
            "request_id": request_id,
            "model_uuid": MODEL_UUID,
            "model_info": {"name": "moonshine-tiny-en", "version": "embedded", "arch": "moonshine"},
        },
    })
}

/// Whether a message contains words.
pub(super) fn has_words(message: &Value) -> bool {
    message["channel"]["alternatives"][0]["transcript"].as_str().is_some_and(|text| !text.is_empty())
}

/// `SpeechStarted`.
pub(super) fn speech_started(at: Duration) -> Value {
    json!({"type": "SpeechStarted", "channel": [0], "timestamp": at.as_secs_f64()})
}

/// `UtteranceEnd`: no word followed this one within the requested gap.
pub(super) fn utterance_end(last_word_end: Duration) -> Value {
    json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": last_word_end.as_secs_f64()})
}

/// `Metadata`, the last message of a stream of this length.
pub(super) fn metadata(request_id: &str, created: &str, duration: Duration) -> Value {
    json!({
        "type": "Metadata",
        "transaction_key": "deprecated",
        "request_id": request_id,
        // Its value has no use here; clients only require 64 hexadecimal digits.
        "sha256": "0".repeat(64),
        "created": created,
        "duration": duration.as_secs_f64(),
        "channels": 1,
        "models": [MODEL_UUID],
    })
}

/// The error for a text message that cannot be parsed.
pub(super) fn schema_error() -> Value {
    let description = "Could not deserialize last text message.";
    json!({"type": "Error", "variant": "SchemaError", "description": description, "message": description})
}

/// The words of a text, with times in proportion to their length.
pub(super) fn words(text: &str, (start, end): Span, punctuate: bool) -> Vec<Word> {
    let written: Vec<&str> = text.split_whitespace().filter(|word| !bare(word).is_empty()).collect();
    let length = |word: &str| u32::try_from(word.chars().count() + 1).unwrap_or(u32::MAX);
    let total: u32 = written.iter().map(|word| length(word)).sum();
    let mut passed = 0;
    let mut time = |more: u32| {
        passed += more;
        (start + end.saturating_sub(start) * passed / total.max(1)).as_secs_f64()
    };
    let words = written.into_iter().map(|word| Word {
        bare: bare(word),
        punctuated: punctuate.then(|| word.to_owned()),
        start: time(0),
        end: time(length(word)),
    });
    words.collect()
}

impl Word {
    fn to_json(&self) -> Value {
        let mut value =
            json!({"word": self.bare, "start": self.start, "end": self.end, "confidence": CONFIDENCE});
        if let Some(punctuated) = &self.punctuated {
            value["punctuated_word"] = json!(punctuated);
        }
        value
    }
}

/// A word in lower case, without the punctuation around it.
fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = (Duration::from_secs(1), Duration::from_secs(4));

    #[test]
    fn a_final_has_the_documented_form() {
        let speech = (Duration::from_millis(1500), Duration::from_millis(2700));
        let how = Final { speech_final: true, from_finalize: false };
        let expected = json!({
            "type": "Results", "channel_index": [0, 1], "start": 1.0, "duration": 3.0,
            "is_final": true, "speech_final": true, "from_finalize": false,
            "channel": {"alternatives": [{"transcript": "Hello Ada.", "confidence": 0.98, "words": [
                {"word": "hello", "punctuated_word": "Hello", "start": 1.5, "end": 2.154_545_454,
                 "confidence": 0.98},
                {"word": "ada", "punctuated_word": "Ada.", "start": 2.154_545_454, "end": 2.7,
                 "confidence": 0.98},
            ]}]},
            "metadata": {"request_id": "r1", "model_uuid": MODEL_UUID, "model_info": {
                "name": "moonshine-tiny-en", "version": "embedded", "arch": "moonshine"}},
        });
        assert_eq!(results("r1", SPAN, &words("Hello Ada.", speech, true), Some(how)), expected);
    }

    #[test]
    fn without_punctuation_the_transcript_is_bare() {
        let message =
            results("r1", SPAN, &words("Yes, what's Ada - the baker's - price?", SPAN, false), None);
        let alternative = &message["channel"]["alternatives"][0];
        assert_eq!(alternative["transcript"], "yes what's ada the baker's price");
        assert!(alternative["words"][0].get("punctuated_word").is_none());
        assert_eq!((&message["is_final"], &message["speech_final"]), (&json!(false), &json!(false)));
    }

    #[test]
    fn an_empty_result_has_no_words_and_no_confidence() {
        let message = results("r1", SPAN, &words(" ... ", SPAN, true), Some(Final::default()));
        let empty = json!({"transcript": "", "confidence": 0.0, "words": []});
        assert_eq!(message["channel"]["alternatives"][0], empty);
    }

    #[test]
    fn the_times_of_words_fill_the_speech_in_order() {
        let words = words("No, thank you very much. Goodbye.", SPAN, true);
        assert_eq!(words.len(), 6);
        let adjoin =
            |pair: &[Word]| pair[0].start < pair[0].end && (pair[0].end - pair[1].start).abs() < 1e-9;
        assert!(words.windows(2).all(adjoin));
        assert!((words[0].start - 1.0).abs() < 1e-9 && (words[5].end - 4.0).abs() < 1e-9);
    }
}
