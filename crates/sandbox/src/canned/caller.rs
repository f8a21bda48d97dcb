//! A caller of a load test: asks a question, hears the response, asks again, and every third time interrupts the agent.
//! Measures the audio that arrives.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    load::Load,
    measures::Measures,
    speech::{SPEECH, Sentence, read_label},
};
use crate::audio::{self, FRAME_BYTES};

/// An agent may send audio this much ahead of real time.
const AHEAD: Duration = Duration::from_millis(400);
/// After every third question, the next one interrupts the response.
const INTERRUPTS_EVERY: u32 = 3;

// The following constants count steps of 20 ms.
/// The first questions of all calls are spread over the length of a turn.
const SPREAD: u64 = 320;
/// From the end of the greeting or a response to the next question.
const PAUSE: u64 = 75;
/// From the beginning of a response to the question that interrupts it.
const INTERRUPTS_AFTER: u64 = 40;
/// After this much silence of both sides the question is asked again.
const TIME_LIMIT: u64 = 500;

/// A caller. Dropping it is hanging up.
pub(crate) struct Caller {
    load: Arc<Load>,
    /// Delay of the first question, which spreads the calls.
    phase: u64,
    /// The start of the stream.
    connected: Option<Instant>,
    /// Whether the agent was heard.
    talking: bool,
    steps: u64,
    /// The utterance of the agent that is being heard.
    arriving: Option<ArrivingUtterance>,
    /// Bytes that arrived and are not played yet.
    queued: usize,
    /// The step of the next question.
    speak_at: Option<u64>,
    /// The spoken part of the question, in bytes.
    saying: Option<usize>,
    /// When each frame of the question was sent.
    sent: Vec<Instant>,
    questions: u32,
    /// Whether the last question has no response yet.
    awaiting: bool,
    /// Whether the question interrupts the agent.
    interrupting: bool,
    /// The last step with sound of either side.
    last_sound: u64,
}

/// An utterance of the agent that is arriving.
struct ArrivingUtterance {
    /// Arrival of its first frame.
    began: Instant,
    /// Bytes that have arrived.
    bytes: usize,
    /// Whether a mark arrived after its last audio.
    marked: bool,
    /// Whether the second sentence of a response follows.
    goes_on: bool,
}

impl Caller {
    /// A caller who picks up a call of this load test.
    pub(crate) fn new(load: Arc<Load>) -> Self {
        let index = load.next_caller();
        Self {
            load,
            // The golden ratio spreads any number of calls evenly.
            phase: u64::from(index) * 618 % 1000 * SPREAD / 1000,
            connected: None,
            talking: false,
            steps: 0,
            arriving: None,
            queued: 0,
            speak_at: None,
            saying: None,
            sent: Vec::with_capacity(SPEECH.len().div_ceil(FRAME_BYTES)),
            // Callers do not all interrupt at the same time.
            questions: index % INTERRUPTS_EVERY,
            awaiting: false,
            interrupting: false,
            last_sound: 0,
        }
    }

    /// The stream starts.
    pub(crate) fn connected(&mut self) {
        if self.connected.replace(Instant::now()).is_some() {
            self.load.resumed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Advances by the 20 ms that should begin at `due`, and fills the frame to send.
    pub(crate) fn step(&mut self, due: Instant, said: &mut [u8; FRAME_BYTES]) {
        let now = Instant::now();
        self.steps += 1;
        if let Some(measures) = self.load.measures() {
            measures.step(now.saturating_duration_since(due));
        }
        self.play();
        if self.arriving.is_some() || self.saying.is_some() {
            self.last_sound = self.steps;
        }
        if self.steps > self.last_sound + TIME_LIMIT && self.talking && self.speak_at.is_none() {
            if let Some(measures) = self.load.measures().filter(|_| self.awaiting) {
                measures.unanswered();
            }
            self.speak_at = Some(self.steps);
        }
        self.say(now, said);
    }

    /// Plays queued audio. When it runs out, the utterance has ended, or it is an underrun.
    fn play(&mut self) {
        let played = self.queued.min(FRAME_BYTES);
        self.queued -= played;
        if played == FRAME_BYTES {
            return;
        }
        let Some(heard) = self.arriving.take() else { return };
        if !heard.marked || heard.goes_on {
            if let Some(measures) = self.load.measures() {
                measures.underrun();
            }
        } else if !self.awaiting && self.saying.is_none() {
            let phase = std::mem::take(&mut self.phase);
            self.speak_at.get_or_insert(self.steps + PAUSE + phase);
        }
    }

    fn say(&mut self, now: Instant, said: &mut [u8; FRAME_BYTES]) {
        if self.saying.is_none() && self.speak_at.is_some_and(|at| at <= self.steps) {
            self.speak_at = None;
            self.saying = Some(0);
            self.sent.clear();
            self.questions += 1;
            self.awaiting = true;
            self.interrupting = self.arriving.is_some();
        }
        let Some(done) = self.saying else { return };
        let rest = &SPEECH[done..];
        let length = rest.len().min(FRAME_BYTES);
        said[..length].copy_from_slice(&rest[..length]);
        self.sent.push(now);
        self.saying = (rest.len() > FRAME_BYTES).then_some(done + FRAME_BYTES);
    }

    /// Audio of the agent arrives.
    pub(crate) fn arrived(&mut self, mulaw: &[u8]) {
        let now = Instant::now();
        if !self.talking {
            self.hear_first_audio(now);
        }
        let arriving = self.arriving.get_or_insert(ArrivingUtterance {
            began: now,
            bytes: 0,
            marked: false,
            goes_on: false,
        });
        arriving.marked = false;
        if let Some((sentence, number)) = read_label(mulaw) {
            arriving.goes_on = sentence == Sentence::First;
            if sentence == Sentence::First && std::mem::take(&mut self.awaiting) {
                self.load.record_response(number, now);
                if self.questions.is_multiple_of(INTERRUPTS_EVERY) {
                    self.speak_at = Some(self.steps + INTERRUPTS_AFTER);
                }
            }
        }
        let measures = self.load.measures();
        for frame in mulaw.chunks(FRAME_BYTES) {
            arriving.bytes += frame.len();
            if let Some(measures) = measures {
                measures.frame(arriving.lateness(now));
            }
        }
        self.queued += mulaw.len();
    }

    fn hear_first_audio(&mut self, now: Instant) {
        self.talking = true;
        self.load.talking.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some(connected) = self.connected {
            // Counted even before the measurement, because most calls start then.
            Measures::greeting(&self.load.measures, now.saturating_duration_since(connected));
        }
    }

    /// A mark arrives.
    pub(crate) fn marked(&mut self) {
        if let Some(arriving) = &mut self.arriving {
            arriving.marked = true;
        }
    }

    /// A `clear` arrives.
    pub(crate) fn cleared(&mut self) {
        self.arriving = None;
        self.queued = 0;
        if std::mem::take(&mut self.interrupting)
            && let Some(measures) = self.load.measures()
        {
            measures.interrupted(Instant::now(), &self.sent);
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if self.talking {
            self.load.talking.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl ArrivingUtterance {
    /// Lateness of the last frame that arrived.
    fn lateness(&self, now: Instant) -> Duration {
        let due = self.began + audio::duration(self.bytes).saturating_sub(AHEAD);
        now.saturating_duration_since(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    /// A call in virtual time.
    struct Line {
        caller: Caller,
        load: Arc<Load>,
    }

    impl Line {
        fn new() -> Self {
            let load = Load::new();
            load.measure(true);
            let mut caller = Caller::new(load.clone());
            caller.connected();
            Self { caller, load }
        }

        /// Advances by some steps; returns whether the caller spoke in the last one.
        async fn steps(&mut self, count: u64) -> bool {
            let mut speaks = false;
            for _ in 0..count {
                tokio::time::advance(STEP).await;
                let mut said = [audio::SILENCE; FRAME_BYTES];
                self.caller.step(Instant::now(), &mut said);
                speaks = said != [audio::SILENCE; FRAME_BYTES];
            }
            speaks
        }

        /// Advances until the caller has asked a question.
        async fn question(&mut self) {
            while !self.steps(1).await {}
            while self.caller.saying.is_some() {
                self.steps(1).await;
            }
        }

        /// A sentence of a response, with this many frames.
        fn sentence(&self, sentence: Sentence, frames: usize) -> Vec<u8> {
            let samples = self.load.speak(&sentence.about(1000), audio::SAMPLE_RATE);
            samples.into_iter().map(audio::encode).take(frames * FRAME_BYTES).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_asks_after_the_greeting_and_after_each_response() {
        let mut line = Line::new();
        line.steps(1).await;
        line.caller.arrived(&[1; 8000]);
        line.caller.marked();
        assert_eq!((line.load.talking(), line.load.measured().greeting.map(|g| g.p50)), (1, Some(20.0)));
        line.question().await;
        for sentence in [Sentence::First, Sentence::Last] {
            line.caller.arrived(&line.sentence(sentence, 10));
            line.caller.marked();
        }
        assert!(!line.steps(20 + PAUSE).await);
        assert!(line.steps(1).await, "the second question");
        let measured = line.load.measured();
        assert_eq!((measured.answers, measured.underruns, measured.unanswered), (1, 0, 0));
        drop(line.caller);
        assert_eq!(line.load.talking(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn every_third_question_is_followed_by_an_interruption() {
        let mut line = Line::new();
        line.caller.arrived(&[1; 160]);
        line.caller.marked();
        for _ in 0..3 {
            line.question().await;
            line.caller.arrived(&line.sentence(Sentence::First, 60));
            line.caller.arrived(&line.sentence(Sentence::Last, 60));
            line.caller.marked();
        }
        assert!(!line.steps(INTERRUPTS_AFTER - 1).await);
        assert!(line.steps(10).await);
        tokio::time::advance(Duration::from_millis(3)).await;
        line.caller.cleared();
        let measured = line.load.measured();
        assert_eq!((measured.answers, measured.interruptions), (3, 1));
        assert_eq!(measured.clear.map(|clear| clear.p50), Some(3.0));
        assert_eq!(measured.underruns, 0, "what was cleared did not run out");
    }

    #[tokio::test(start_paused = true)]
    async fn audio_that_runs_out_before_its_mark_or_second_sentence_is_an_underrun() {
        let mut line = Line::new();
        line.caller.arrived(&[1; 320]);
        line.steps(3).await;
        assert_eq!(line.load.measured().underruns, 1);
        line.caller.arrived(&line.sentence(Sentence::First, 2));
        line.caller.marked();
        line.steps(3).await;
        assert_eq!(line.load.measured().underruns, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_is_due_400_ms_before_its_turn() {
        let mut line = Line::new();
        let frame = [1; FRAME_BYTES];
        // 420 ms at once; early frames have no lateness.
        line.caller.arrived(&[1; 21 * FRAME_BYTES]);
        tokio::time::advance(STEP * 2).await;
        line.caller.arrived(&frame);
        tokio::time::advance(STEP * 2).await;
        line.caller.arrived(&frame);
        let latest = Duration::from_millis(20);
        assert_eq!(line.caller.arriving.as_ref().map(|h| h.lateness(Instant::now())), Some(latest));
        assert_eq!(line.load.measured().frame_lateness.map(|late| (late.p50, late.p99)), Some((0.0, 20.0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_without_a_response_asks_again() {
        let mut line = Line::new();
        line.caller.arrived(&[1; 160]);
        line.caller.marked();
        line.question().await;
        assert!(!line.steps(TIME_LIMIT).await);
        assert!(line.steps(2).await);
        assert_eq!(line.load.measured().unanswered, 1);
    }
}
