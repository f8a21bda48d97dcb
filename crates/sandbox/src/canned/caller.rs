//! Somebody on the line of a load's call: asks, hears the answer, asks again, every third time into the
//! agent's words; and measures what arrives.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    load::Load,
    measures::Measures,
    speech::{SPEECH, Sentence, read_label},
};
use crate::audio::{self, FRAME_BYTES};

/// An agent may send this much ahead of time.
const AHEAD: Duration = Duration::from_millis(400);
/// Every so many questions, the next one comes while the agent answers.
const INTERRUPTS_EVERY: u32 = 3;

// In steps of 20 ms.
/// Over so long the first questions of all calls are spread: the length of a turn.
const SPREAD: u64 = 320;
/// From the end of the greeting or of an answer to the next question.
const PAUSE: u64 = 75;
/// From the beginning of an answer to the question that interrupts it.
const INTERRUPTS_AFTER: u64 = 40;
/// So long after everybody fell silent the question is asked again.
const PATIENCE: u64 = 500;

/// A caller. One who is dropped has hung up.
pub(crate) struct Caller {
    load: Arc<Load>,
    /// How much later the first question comes than it could.
    phase: u64,
    /// When the stream was connected.
    connected: Option<Instant>,
    /// Something was heard of the agent.
    talking: bool,
    steps: u64,
    /// The utterance that is being heard.
    hearing: Option<Hearing>,
    /// Bytes that arrived and were not played yet.
    queued: usize,
    /// When to speak next.
    speak_at: Option<u64>,
    /// How much of the question was said.
    saying: Option<usize>,
    /// When each frame of it was.
    sent: Vec<Instant>,
    questions: u32,
    /// The last question has no answer yet.
    awaiting: bool,
    /// The agent is to fall silent.
    interrupting: bool,
    /// When somebody was last heard.
    last_sound: u64,
}

/// An utterance of the agent on its way.
struct Hearing {
    /// When its first frame came.
    began: Instant,
    /// How much of it has come.
    bytes: usize,
    /// A mark came behind all of it.
    marked: bool,
    /// The other half of an answer follows.
    goes_on: bool,
}

impl Caller {
    /// Somebody who picks up a call of this load.
    pub(crate) fn new(load: Arc<Load>) -> Self {
        let index = load.next_caller();
        Self {
            load,
            // The golden ratio spreads any number of calls evenly.
            phase: u64::from(index) * 618 % 1000 * SPREAD / 1000,
            connected: None,
            talking: false,
            steps: 0,
            hearing: None,
            queued: 0,
            speak_at: None,
            saying: None,
            sent: Vec::with_capacity(SPEECH.len().div_ceil(FRAME_BYTES)),
            // Not all of them interrupt at the same time.
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

    /// Lives through the 20 ms that were to begin at `due`: fills the frame that is said meanwhile.
    pub(crate) fn step(&mut self, due: Instant, said: &mut [u8; FRAME_BYTES]) {
        let now = Instant::now();
        self.steps += 1;
        if let Some(measures) = self.load.measures() {
            measures.step(now.saturating_duration_since(due));
        }
        self.play();
        if self.hearing.is_some() || self.saying.is_some() {
            self.last_sound = self.steps;
        }
        if self.steps > self.last_sound + PATIENCE && self.talking && self.speak_at.is_none() {
            if let Some(measures) = self.load.measures().filter(|_| self.awaiting) {
                measures.unanswered();
            }
            self.speak_at = Some(self.steps);
        }
        self.say(now, said);
    }

    /// What was queued is played; at the end of an utterance it is seen whether it was one.
    fn play(&mut self) {
        let played = self.queued.min(FRAME_BYTES);
        self.queued -= played;
        if played == FRAME_BYTES {
            return;
        }
        let Some(heard) = self.hearing.take() else { return };
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
            self.interrupting = self.hearing.is_some();
        }
        let Some(done) = self.saying else { return };
        let rest = &SPEECH[done..];
        let length = rest.len().min(FRAME_BYTES);
        said[..length].copy_from_slice(&rest[..length]);
        self.sent.push(now);
        self.saying = (rest.len() > FRAME_BYTES).then_some(done + FRAME_BYTES);
    }

    /// Audio of the agent is here.
    pub(crate) fn arrived(&mut self, mulaw: &[u8]) {
        let now = Instant::now();
        if !self.talking {
            self.begins_to_hear(now);
        }
        let hearing =
            self.hearing.get_or_insert(Hearing { began: now, bytes: 0, marked: false, goes_on: false });
        hearing.marked = false;
        if let Some((sentence, number)) = read_label(mulaw) {
            hearing.goes_on = sentence == Sentence::First;
            if sentence == Sentence::First && std::mem::take(&mut self.awaiting) {
                self.load.answered(number, now);
                if self.questions.is_multiple_of(INTERRUPTS_EVERY) {
                    self.speak_at = Some(self.steps + INTERRUPTS_AFTER);
                }
            }
        }
        let measures = self.load.measures();
        for frame in mulaw.chunks(FRAME_BYTES) {
            hearing.bytes += frame.len();
            if let Some(measures) = measures {
                measures.frame(hearing.lateness(now));
            }
        }
        self.queued += mulaw.len();
    }

    fn begins_to_hear(&mut self, now: Instant) {
        self.talking = true;
        self.load.talking.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some(connected) = self.connected {
            // Most calls begin before anything else is measured.
            Measures::greeting(&self.load.measures, now.saturating_duration_since(connected));
        }
    }

    /// A mark is here.
    pub(crate) fn marked(&mut self) {
        if let Some(hearing) = &mut self.hearing {
            hearing.marked = true;
        }
    }

    /// A `clear` is here.
    pub(crate) fn cleared(&mut self) {
        self.hearing = None;
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

impl Hearing {
    /// How late the last frame that came is.
    fn lateness(&self, now: Instant) -> Duration {
        let due = self.began + audio::duration(self.bytes).saturating_sub(AHEAD);
        now.saturating_duration_since(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    /// One call in virtual time.
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

        /// Lives through some steps; whether the caller spoke in the last of them.
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

        /// Waits until the caller begins to speak, and has spoken.
        async fn question(&mut self) {
            while !self.steps(1).await {}
            while self.caller.saying.is_some() {
                self.steps(1).await;
            }
        }

        /// A sentence as the voice speaks it, but for its length.
        fn sentence(&self, sentence: Sentence, frames: usize) -> Vec<u8> {
            let samples = self.load.speak(&sentence.about(1000), audio::SAMPLE_RATE);
            samples.into_iter().map(audio::encode).take(frames * FRAME_BYTES).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_asks_when_the_greeting_was_heard_and_after_each_answer() {
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
    async fn every_third_question_is_followed_by_one_into_its_answer() {
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
    async fn audio_that_runs_out_before_its_mark_or_its_other_half_is_an_underrun() {
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
        // 420 ms at once: nobody is late who is early.
        line.caller.arrived(&[1; 21 * FRAME_BYTES]);
        tokio::time::advance(STEP * 2).await;
        line.caller.arrived(&frame);
        tokio::time::advance(STEP * 2).await;
        line.caller.arrived(&frame);
        let latest = Duration::from_millis(20);
        assert_eq!(line.caller.hearing.as_ref().map(|h| h.lateness(Instant::now())), Some(latest));
        assert_eq!(line.load.measured().frame_lateness.map(|late| (late.p50, late.p99)), Some((0.0, 20.0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_without_an_answer_asks_again() {
        let mut line = Line::new();
        line.caller.arrived(&[1; 160]);
        line.caller.marked();
        line.question().await;
        assert!(!line.steps(PATIENCE).await);
        assert!(line.steps(2).await);
        assert_eq!(line.load.measured().unanswered, 1);
    }
}
