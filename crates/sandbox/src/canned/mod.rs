//! The sandbox under load: the same servers and the same carrier, with canned audio instead of speech engines.
//!
//! Everything stays true on the wire. What is different: a transcriber understands a numbered question in
//! whatever it hears ([`speech`]), the model answers every question with two sentences that name its number
//! ([`model`]), a voice speaks canned audio whose first bytes carry that number, and callers ([`caller`]) ask
//! over and over, every third time into the agent's words. Mu-law passes a phone call untouched, so the
//! number that a transcriber made comes back to the caller, and every step between can be measured from
//! socket to socket on one clock. The sums are in [`measures`].
//!
//! What is measured, each as seen here, our own slowness included:
//!
//! - *Frame lateness.* An agent sends audio at most 400 ms ahead of time. The first frame of an utterance
//!   sets its schedule: what plays in the first 400 ms is due at once, each later frame when it is 400 ms
//!   before its turn. Lateness is how long after that a frame arrives, 0 for one that is early. An utterance
//!   ends when all of it has played behind a mark, or at a `clear`.
//! - *Underrun.* The carrier had nothing left to play, though no mark had come behind what it played last,
//!   or though the first sentence of an answer was played and the second was to follow.
//! - *Transcript to model*: the final transcript is sent, the request to the model is here. *Sentence to
//!   voice*: the token is sent with which the first sentence is known to be over, the request to the voice is
//!   here. *Audio to carrier*: the voice's first audio is sent, the first media of it is here. The *own
//!   share* of a response is the sum of the three.
//! - *Clear*: a caller who speaks into the agent's words always makes the same sound, so the same frame of
//!   it completes 200 ms of speech. It is taken to be the one that was the last sent before most of the
//!   `clear`s, or an earlier one if the `clear` was faster; from it to the `clear` it takes.
//! - *Greeting*: the stream starts, the first media is here.
//! - *Our own lateness*: how long after its time each of the carrier's steps of 20 ms was begun.

mod caller;
mod measures;
mod model;
mod speech;

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

pub(crate) use caller::Caller;
use measures::Measures;
pub use measures::{Measured, Percentiles};
pub(crate) use model::router;

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
    talking: AtomicUsize,
    resumed: AtomicUsize,
    /// Only what happens meanwhile counts, but for greetings.
    measuring: AtomicBool,
    open: Mutex<BTreeMap<u32, Stages>>,
    measures: Measures,
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

    /// Somebody picks up.
    pub(crate) fn caller(self: &Arc<Self>) -> Caller {
        Caller::new(self.clone(), self.callers.fetch_add(1, Ordering::Relaxed))
    }

    /// Where counts go now; none while nothing is measured.
    fn measures(&self) -> Option<&Measures> {
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

    /// The model is asked about this number; a question that is asked again counts once.
    fn asked(&self, number: u32) {
        if let Some(stages) = self.open().get_mut(&number)
            && let Some(began) = stages.transcript.take()
        {
            stages.took[0] = Some(began.elapsed());
        }
    }

    /// The model's first sentence is about to be over.
    fn said(&self, number: u32) {
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
    fn answered(&self, number: u32, now: Instant) {
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
    fn questions_that_nobody_answers_are_forgotten() {
        let load = Load::new();
        for number in 0..u32::try_from(OPEN_QUESTIONS).unwrap() + 10 {
            load.transcribed(&last(FIRST_NUMBER + number));
        }
        assert_eq!(load.open().len(), OPEN_QUESTIONS);
        assert!(!load.open().contains_key(&FIRST_NUMBER));
    }
}
