//! Measurements of a load test: distributions and counts. Many tasks record at once; nothing that happens per frame
//! takes a lock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Times below this many microseconds have a bucket each; longer ones are counted to a thousandth.
const EXACT: u64 = 2048;
/// Buckets per doubling above that.
const PER_DOUBLING: u64 = EXACT / 2;
/// The longest time that is told apart: about a minute.
const LONGEST: u64 = (1 << 26) - 1;
/// Maximum number of kept interruptions, enough for hours.
const INTERRUPTIONS: usize = 100_000;

/// A distribution in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// 99 of 100 times are at most this long.
    pub p99: f64,
}

/// The measurements; the parent module defines each. A distribution is `None` if it has no values.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Lateness of the agent's frames.
    pub frame_lateness: Option<Percentiles>,
    /// Lateness of the sandbox's own steps.
    pub sandbox_lateness: Option<Percentiles>,
    /// From the final transcript to the request to the model.
    pub transcript_to_model: Option<Percentiles>,
    /// From the end of the first sentence to the request to the voice.
    pub sentence_to_voice: Option<Percentiles>,
    /// From the first audio of the voice to the first media message.
    pub audio_to_carrier: Option<Percentiles>,
    /// The sum of these three for each response.
    pub own_share: Option<Percentiles>,
    /// From the frame that completes 200 ms of speech to the `clear`.
    pub clear: Option<Percentiles>,
    /// From the start of a stream to its first media message.
    pub greeting: Option<Percentiles>,
    /// How often the carrier ran out of audio within an utterance.
    pub underruns: u32,
    /// Responses that callers began to hear.
    pub answers: u32,
    /// Interruptions at which the agent fell silent.
    pub interruptions: u32,
    /// Questions without a response for ten seconds.
    pub unanswered: u32,
}

/// The measurements while they are taken.
#[derive(Debug, Default)]
pub(super) struct Measures {
    frames: Histogram,
    steps: Histogram,
    model: Histogram,
    voice: Histogram,
    carrier: Histogram,
    own_share: Histogram,
    greeting: Histogram,
    interruptions: Mutex<Vec<Interruption>>,
    underruns: AtomicU32,
    answers: AtomicU32,
    unanswered: AtomicU32,
}

/// For each frame of the caller, its age at the `clear`, in microseconds.
type Interruption = Box<[u32]>;

impl Measures {
    /// Records the lateness of a frame of the agent.
    pub(super) fn frame(&self, lateness: Duration) {
        self.frames.count(lateness);
    }

    /// Records the lateness of one of the sandbox's steps.
    pub(super) fn step(&self, lateness: Duration) {
        self.steps.count(lateness);
    }

    /// Records the first media message of a stream.
    pub(super) fn greeting(&self, after: Duration) {
        self.greeting.count(after);
    }

    /// Records the three stages of a response.
    pub(super) fn own_share(&self, model: Duration, voice: Duration, carrier: Duration) {
        self.model.count(model);
        self.voice.count(voice);
        self.carrier.count(carrier);
        self.own_share.count(model + voice + carrier);
    }

    /// Records a response that a caller begins to hear.
    pub(super) fn record_response(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a question without a response.
    pub(super) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Records an underrun.
    pub(super) fn underrun(&self) {
        self.underruns.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the agent fell silent; the caller's frames were sent at these times.
    pub(super) fn interrupted(&self, now: Instant, sent: &[Instant]) {
        let before = |at: &Instant| micros(now.saturating_duration_since(*at));
        let ages = sent.iter().map(|at| u32::try_from(before(at)).unwrap_or(u32::MAX)).collect();
        let mut interruptions = self.interruptions.lock().unwrap_or_else(PoisonError::into_inner);
        if interruptions.len() < INTERRUPTIONS {
            interruptions.push(ages);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let histograms =
            [&self.frames, &self.steps, &self.model, &self.voice, &self.carrier, &self.own_share];
        for histogram in histograms.into_iter().chain([&self.greeting]) {
            histogram.buckets.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        }
        self.interruptions.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for counter in [&self.underruns, &self.answers, &self.unanswered] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Evaluates all of them.
    pub(super) fn sum(&self) -> Measured {
        let interruptions = self.interruptions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        Measured {
            frame_lateness: self.frames.percentiles(),
            sandbox_lateness: self.steps.percentiles(),
            transcript_to_model: self.model.percentiles(),
            sentence_to_voice: self.voice.percentiles(),
            audio_to_carrier: self.carrier.percentiles(),
            own_share: self.own_share.percentiles(),
            clear: clears(&interruptions).percentiles(),
            greeting: self.greeting.percentiles(),
            underruns: count(&self.underruns),
            answers: count(&self.answers),
            interruptions: u32::try_from(interruptions.len()).unwrap_or(u32::MAX),
            unanswered: count(&self.unanswered),
        }
    }
}

/// The durations of the `clear`s, counted from the frame that caused most of them.
fn clears(interruptions: &[Interruption]) -> Histogram {
    let last = |ages: &Interruption| ages.len().saturating_sub(1);
    let mut votes = vec![0_usize; interruptions.iter().map(|ages| last(ages) + 1).max().unwrap_or(0)];
    for ages in interruptions {
        votes[last(ages)] += 1;
    }
    // The earliest of those with most votes.
    let most = votes.iter().max().copied().unwrap_or(0);
    let usual = votes.iter().position(|&count| count == most).unwrap_or(0);
    let clears = Histogram::default();
    for ages in interruptions {
        if let Some(&age) = ages.get(usual.min(last(ages))) {
            clears.count(Duration::from_micros(age.into()));
        }
    }
    clears
}

/// Counts of durations.
#[derive(Debug)]
struct Histogram {
    buckets: Box<[AtomicU32]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..=bucket(LONGEST)).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Histogram {
    fn count(&self, time: Duration) {
        self.buckets[bucket(micros(time).min(LONGEST))].fetch_add(1, Ordering::Relaxed);
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let counts: Vec<u64> =
            self.buckets.iter().map(|count| count.load(Ordering::Relaxed).into()).collect();
        let total: u64 = counts.iter().sum();
        let percentile = |percent: u64| {
            // The nearest rank.
            let rank = (total * percent).div_ceil(100);
            let mut seen = 0;
            let reached = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            milliseconds(reached.unwrap_or(0))
        };
        (total > 0).then(|| Percentiles { p50: percentile(50), p99: percentile(99) })
    }
}

/// The bucket of a time in microseconds.
fn bucket(micros: u64) -> usize {
    let doublings = (micros / EXACT).checked_ilog2().map_or(0, |doublings| doublings + 1);
    let bucket = u64::from(doublings) * PER_DOUBLING + (micros >> doublings);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The shortest time of a bucket, in milliseconds.
fn milliseconds(bucket: usize) -> f64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let doublings = (bucket / PER_DOUBLING).saturating_sub(1);
    let micros = (bucket - doublings * PER_DOUBLING) << doublings;
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_known_to_a_thousandth(micros in 0..=LONGEST) {
            let known = milliseconds(bucket(micros));
            let truth = f64::from(u32::try_from(micros).unwrap()) / 1000.0;
            prop_assert!(known <= truth && truth - known <= truth / 1000.0, "{truth} as {known}");
        }
    }

    #[test]
    fn percentiles_are_the_nearest_ranks() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentiles(), None);
        (1..=200).for_each(|ms| histogram.count(Duration::from_micros(ms)));
        assert_eq!(histogram.percentiles(), Some(Percentiles { p50: 0.1, p99: 0.198 }));
        let one = Histogram::default();
        one.count(Duration::from_hours(1));
        assert!(one.percentiles().is_some_and(|times| times.p50 > 60_000.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clear_is_counted_from_the_frame_that_causes_it() {
        let measures = Measures::default();
        let begin = Instant::now();
        let sent = |frames: u32| -> Vec<Instant> {
            (0..frames).map(|frame| begin + Duration::from_millis(20) * frame).collect()
        };
        let at = |ms| begin + Duration::from_millis(ms);
        // Usually the eleventh frame causes it, after 2 ms.
        for _ in 0..3 {
            measures.interrupted(at(202), &sent(11));
        }
        // Once it took so long that a twelfth frame was sent meanwhile.
        measures.interrupted(at(225), &sent(12));
        let clear = measures.sum().clear.unwrap();
        assert_eq!((clear.p50, clear.p99), (2.0, 24.992));
    }
}
