//! Counts of a load: how long things took, how often they happened. Taken by many tasks at once, without a
//! lock where it happens for every frame.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Times below this many microseconds are counted one by one, longer ones to a thousandth.
const EXACT: u64 = 2048;
/// Buckets per doubling, above that.
const PER_DOUBLING: u64 = EXACT / 2;
/// Longer times count as this: about a minute.
const LONGEST: u64 = (1 << 26) - 1;
/// Interruptions that are remembered: hours of them.
const INTERRUPTIONS: usize = 100_000;

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// Of a hundred times, one is longer.
    pub p99: f64,
}

/// What was measured; see the parent module for what each means. A distribution is none while nothing of
/// its kind happened.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// How late frames of the agent arrived.
    pub frame_lateness: Option<Percentiles>,
    /// How late we were ourselves.
    pub sandbox_lateness: Option<Percentiles>,
    /// From the final transcript to the request to the model.
    pub transcript_to_model: Option<Percentiles>,
    /// From the end of the first sentence to the request to the voice.
    pub sentence_to_voice: Option<Percentiles>,
    /// From the voice's first audio to the first media.
    pub audio_to_carrier: Option<Percentiles>,
    /// The sum of those three, answer by answer.
    pub own_share: Option<Percentiles>,
    /// From the frame that completes 200 ms of speech to the `clear`.
    pub clear: Option<Percentiles>,
    /// From a stream's start to its first media.
    pub greeting: Option<Percentiles>,
    /// How often the carrier ran out of audio within an utterance.
    pub underruns: u32,
    /// Answers that callers began to hear.
    pub answers: u32,
    /// Callers who spoke into the agent's words, and it fell silent.
    pub interruptions: u32,
    /// Questions without an answer for ten seconds.
    pub unanswered: u32,
}

/// Sums in the making.
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

/// How long before the `clear` each frame of the caller's was sent, in microseconds.
type Interruption = Box<[u32]>;

impl Measures {
    /// A frame of the agent arrived so late.
    pub(super) fn frame(&self, lateness: Duration) {
        self.frames.count(lateness);
    }

    /// One of our steps was begun so late.
    pub(super) fn step(&self, lateness: Duration) {
        self.steps.count(lateness);
    }

    /// A stream's first media came.
    pub(super) fn greeting(&self, after: Duration) {
        self.greeting.count(after);
    }

    /// The three stages of an answer.
    pub(super) fn own_share(&self, model: Duration, voice: Duration, carrier: Duration) {
        self.model.count(model);
        self.voice.count(voice);
        self.carrier.count(carrier);
        self.own_share.count(model + voice + carrier);
    }

    /// A caller begins to hear an answer.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// A caller has waited in vain.
    pub(super) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// The carrier had nothing to play.
    pub(super) fn underrun(&self) {
        self.underruns.fetch_add(1, Ordering::Relaxed);
    }

    /// The agent fell silent; the caller's frames were sent at these times.
    pub(super) fn interrupted(&self, now: Instant, sent: &[Instant]) {
        let before = |at: &Instant| micros(now.saturating_duration_since(*at));
        let ages = sent.iter().map(|at| u32::try_from(before(at)).unwrap_or(u32::MAX)).collect();
        let mut interruptions = self.interruptions.lock().unwrap_or_else(PoisonError::into_inner);
        if interruptions.len() < INTERRUPTIONS {
            interruptions.push(ages);
        }
    }

    /// All of it.
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

/// How long the `clear`s took, from the frame that brought about most of them.
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

/// How often something took how long.
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

/// Where a time of so many microseconds is counted.
fn bucket(micros: u64) -> usize {
    let doublings = (micros / EXACT).checked_ilog2().map_or(0, |doublings| doublings + 1);
    let bucket = u64::from(doublings) * PER_DOUBLING + (micros >> doublings);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The shortest time that is counted there, in milliseconds.
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
    async fn a_clear_is_counted_from_the_frame_that_brings_it_about() {
        let measures = Measures::default();
        let begin = Instant::now();
        let sent = |frames: u32| -> Vec<Instant> {
            (0..frames).map(|frame| begin + Duration::from_millis(20) * frame).collect()
        };
        let at = |ms| begin + Duration::from_millis(ms);
        // Usually the eleventh frame does it, after 2 ms.
        for _ in 0..3 {
            measures.interrupted(at(202), &sent(11));
        }
        // Once it took so long that a twelfth was sent meanwhile.
        measures.interrupted(at(225), &sent(12));
        let clear = measures.sum().clear.unwrap();
        assert_eq!((clear.p50, clear.p99), (2.0, 24.992));
    }
}
