//! What all calls of a load share: the numbers of the questions, and what is measured.

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

/// The first question's number; all have at least four digits.
const FIRST_NUMBER: u32 = 1000;
/// Questions whose stages are remembered: those that were never answered are forgotten, oldest first.
const OPEN_QUESTIONS: usize = 4096;

/// What all calls of a load share: the numbers of the questions, and what is measured.
#[derive(Debug, Default)]
pub struct Load {
    questions: AtomicU32,
    callers: AtomicU32,
    /// Callers who have heard something of the agent and are still on the line.
    pub(super) talking: AtomicUsize,
    pub(super) resumed: AtomicUsize,
    /// Only what happens meanwhile counts, but for greetings.
    measuring: AtomicBool,
    open: Mutex<BTreeMap<u32, Stages>>,
    pub(super) measures: Measures,
}

/// When the stages of an answer began.
#[derive(Debug, Clone, Copy, Default)]
struct Stages {
    transcript: Option<Instant>,
    sentence: Option<Instant>,
    audio: Option<Instant>,
    /// How long the stages that are over took.
    took: [Option<Duration>; 2],
}

impl Load {
    /// Nobody calls yet, and nothing is measured.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many callers have heard something of the agent and are still on the line.
    pub fn talking(&self) -> usize {
        self.talking.load(Ordering::Relaxed)
    }

    /// How many streams were connected to calls that had one before.
    pub fn resumed(&self) -> usize {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Begins to measure, or stops.
    pub fn measure(&self, whether: bool) {
        self.measuring.store(whether, Ordering::Relaxed);
    }

    /// What was measured so far.
    pub fn measured(&self) -> Measured {
        self.measures.sum()
    }

    /// The place of another caller among all of them, from 0.
    pub(super) fn next_caller(&self) -> u32 {
        self.callers.fetch_add(1, Ordering::Relaxed)
    }

    /// Where counts go now; none while nothing is measured.
    pub(super) fn measures(&self) -> Option<&Measures> {
        self.measuring.load(Ordering::Relaxed).then_some(&self.measures)
    }

    fn next_question(&self) -> u32 {
        FIRST_NUMBER + self.questions.fetch_add(1, Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u32, Stages>> {
        // Nothing panics under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transcriber is about to send this.
    pub(crate) fn transcribed(&self, message: &Value) {
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

    /// What is understood of a piece of audio that was found to be speech: another question each time.
    pub(crate) fn transcribe(&self) -> String {
        format!("Please tell me about number {} again.", self.next_question())
    }

    /// How a text sounds, at so many samples per second.
    pub(crate) fn speak(&self, text: &str, rate: u32) -> Vec<i16> {
        let (samples, first_sentence_about) = speech::sound(text);
        if let Some(number) = first_sentence_about {
            self.spoken(number);
        }
        audio::resample(&samples, SAMPLE_RATE, rate)
    }

    /// The model is asked about this number; a question that is asked again counts once.
    pub(super) fn asked(&self, number: u32) {
        if let Some(stages) = self.open().get_mut(&number)
            && let Some(began) = stages.transcript.take()
        {
            stages.took[0] = Some(began.elapsed());
        }
    }

    /// The model's first sentence is about to be over.
    pub(super) fn said(&self, number: u32) {
        if let Some(stages) = self.open().get_mut(&number) {
            stages.sentence = Some(Instant::now());
        }
    }

    /// The voice is asked for the first sentence, and about to speak.
    fn spoken(&self, number: u32) {
        if let Some(stages) = self.open().get_mut(&number)
            && let Some(began) = stages.sentence.take()
        {
            stages.took[1] = Some(began.elapsed());
            stages.audio = Some(Instant::now());
        }
    }

    /// The first audio of an answer is here.
    pub(super) fn answered(&self, number: u32, now: Instant) {
        let stages = self.open().remove(&number).unwrap_or_default();
        let Some(measures) = self.measures() else { return };
        measures.answered();
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
    async fn the_stages_of_an_answer_are_told_apart_by_its_number() {
        let load = Load::new();
        load.measure(true);
        let pass = |ms| tokio::time::advance(Duration::from_millis(ms));
        load.transcribed(&last(1000));
        load.transcribed(&last(1001));
        pass(2).await;
        load.asked(1001);
        pass(500).await;
        load.said(1001);
        pass(3).await;
        load.spoken(1001);
        pass(1).await;
        load.answered(1001, Instant::now());
        let measured = load.measured();
        assert_eq!(measured.answers, 1);
        let medians = [measured.transcript_to_model, measured.sentence_to_voice, measured.audio_to_carrier];
        assert_eq!(medians.map(|stage| stage.map(|stage| stage.p50)), [Some(2.0), Some(3.0), Some(1.0)]);
        assert_eq!(measured.own_share.map(|share| share.p99), Some(6.0));
    }

    #[test]
    fn every_question_has_another_number() {
        let load = Load::default();
        let numbers = [load.transcribe(), load.transcribe()].map(|question| speech::number(&question));
        assert_eq!(numbers, [Some(1000), Some(1001)]);
    }

    #[test]
    fn questions_that_nobody_answers_are_forgotten() {
        let load = Load::new();
        for number in 0..u32::try_from(OPEN_QUESTIONS).unwrap() + 10 {
            load.transcribed(&last(FIRST_NUMBER + number));
        }
        assert_eq!(load.open().len(), OPEN_QUESTIONS);
        assert!(!load.open().contains_key(&FIRST_NUMBER));
    }
}
