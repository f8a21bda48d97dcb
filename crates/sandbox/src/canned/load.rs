//! The state that all calls of a load test share: the numbers of the questions, and the measurements.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    measures::{Measured, Measures},
    speech,
};
use crate::audio::{self, SAMPLE_RATE};

/// The number of the first question; all numbers have at least four digits.
const FIRST_NUMBER: u32 = 1000;
/// Maximum number of open questions; the oldest is dropped.
const OPEN_QUESTIONS: usize = 4096;

/// A load test.
#[derive(Debug, Default)]
pub struct Load {
    questions: AtomicU32,
    callers: AtomicU32,
    /// Callers who have heard the agent and are on the line.
    pub(super) talking: AtomicUsize,
    pub(super) resumed: AtomicUsize,
    /// Whether measurements count. Greetings always do.
    measuring: AtomicBool,
    open: Mutex<BTreeMap<u32, Stages>>,
    pub(super) measures: Measures,
}

/// The times at which the stages of a response began.
#[derive(Debug, Clone, Copy, Default)]
struct Stages {
    transcript: Option<Instant>,
    sentence: Option<Instant>,
    audio: Option<Instant>,
    /// Durations of the finished stages.
    took: [Option<Duration>; 2],
}

impl Load {
    /// Creates a load test without calls, with measurement off.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Number of callers who have heard the agent and are on the line.
    pub fn talking(&self) -> usize {
        self.talking.load(Ordering::Relaxed)
    }

    /// Number of streams that replaced an earlier one of their call.
    pub fn resumed(&self) -> usize {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Turns measurement on or off.
    pub fn measure(&self, whether: bool) {
        self.measuring.store(whether, Ordering::Relaxed);
    }

    /// Forgets the measurements so far, and counts callers from the beginning.
    pub fn restart(&self) {
        self.measures.clear();
        self.callers.store(0, Ordering::Relaxed);
        self.resumed.store(0, Ordering::Relaxed);
    }

    /// The measurements so far.
    pub fn measured(&self) -> Measured {
        self.measures.sum()
    }

    /// The index of a new caller, from 0.
    pub(super) fn next_caller(&self) -> u32 {
        self.callers.fetch_add(1, Ordering::Relaxed)
    }

    /// The measurements to count in; `None` while measurement is off.
    pub(super) fn measures(&self) -> Option<&Measures> {
        self.measuring.load(Ordering::Relaxed).then_some(&self.measures)
    }

    fn next_question(&self) -> u32 {
        FIRST_NUMBER + self.questions.fetch_add(1, Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u32, Stages>> {
        // No operation panics under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a transcriber sends this message.
    pub(crate) fn record_transcript(&self, message: &Value) {
        if message["speech_final"] != true {
            return;
        }
        let transcript = message["channel"]["alternatives"][0]["transcript"].as_str().unwrap_or_default();
        if let Some(number) = speech::number(transcript) {
            let mut open = self.open();
            while open.len() >= OPEN_QUESTIONS {
                open.pop_first();
            }
            open.insert(number, Stages { transcript: Some(Instant::now()), ..Stages::default() });
        }
    }

    /// The transcript of any audio that contains speech: each time another question.
    pub(crate) fn transcribe(&self) -> String {
        format!("Please tell me about number {} again.", self.next_question())
    }

    /// The audio of a text, at this rate.
    pub(crate) fn speak(&self, text: &str, rate: u32) -> Vec<i16> {
        let (samples, first_sentence_about) = speech::sound(text);
        if let Some(number) = first_sentence_about {
            self.record_voice_request(number);
        }
        audio::resample(&samples, SAMPLE_RATE, rate)
    }

    /// Records a request to the model about this number; a repeated one does not count.
    pub(super) fn record_model_request(&self, number: u32) {
        if let Some(stages) = self.open().get_mut(&number)
            && let Some(began) = stages.transcript.take()
        {
            stages.took[0] = Some(began.elapsed());
        }
    }

    /// Records the end of the model's first sentence.
    pub(super) fn record_first_sentence(&self, number: u32) {
        if let Some(stages) = self.open().get_mut(&number) {
            stages.sentence = Some(Instant::now());
        }
    }

    /// Records the request to the voice for the first sentence, and the beginning of its audio.
    fn record_voice_request(&self, number: u32) {
        if let Some(stages) = self.open().get_mut(&number)
            && let Some(began) = stages.sentence.take()
        {
            stages.took[1] = Some(began.elapsed());
            stages.audio = Some(Instant::now());
        }
    }

    /// Records the first audio of a response.
    pub(super) fn record_response(&self, number: u32, now: Instant) {
        let stages = self.open().remove(&number).unwrap_or_default();
        let Some(measures) = self.measures() else { return };
        measures.record_response();
        if let (Some(audio), [Some(model), Some(voice)]) = (stages.audio, stages.took) {
            measures.own_share(model, voice, now.saturating_duration_since(audio));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn last(number: u32) -> Value {
        let transcript = format!("Please tell me about number {number} again.");
        json!({ "speech_final": true, "channel": { "alternatives": [{ "transcript": transcript }] } })
    }

    #[tokio::test(start_paused = true)]
    async fn the_stages_of_a_response_are_measured_by_its_number() {
        let load = Load::new();
        load.measure(true);
        let pass = |ms| tokio::time::advance(Duration::from_millis(ms));
        load.record_transcript(&last(1000));
        load.record_transcript(&last(1001));
        pass(2).await;
        load.record_model_request(1001);
        pass(500).await;
        load.record_first_sentence(1001);
        pass(3).await;
        load.record_voice_request(1001);
        pass(1).await;
        load.record_response(1001, Instant::now());
        let measured = load.measured();
        assert_eq!(measured.answers, 1);
        let medians = [measured.transcript_to_model, measured.sentence_to_voice, measured.audio_to_carrier];
        assert_eq!(medians.map(|stage| stage.map(|stage| stage.p50)), [Some(2.0), Some(3.0), Some(1.0)]);
        assert_eq!(measured.own_share.map(|share| share.p99), Some(6.0));
    }

    #[test]
    fn every_question_has_a_new_number() {
        let load = Load::default();
        let numbers = [load.transcribe(), load.transcribe()].map(|question| speech::number(&question));
        assert_eq!(numbers, [Some(1000), Some(1001)]);
    }

    #[test]
    fn questions_without_a_response_are_dropped() {
        let load = Load::new();
        for number in 0..u32::try_from(OPEN_QUESTIONS).unwrap() + 10 {
            load.record_transcript(&last(FIRST_NUMBER + number));
        }
        assert_eq!(load.open().len(), OPEN_QUESTIONS);
        assert!(!load.open().contains_key(&FIRST_NUMBER));
    }
}
