//! The pace of a browser's messages. A carrier sends in real time; a browser's page could send anything.

use std::time::Duration;

use tokio::time::Instant;

/// Maximum credit: audio that the network held back comes at once afterwards.
const BURST: Duration = Duration::from_secs(10);
/// Credit that a message takes at least, so that small ones are limited too: 200 a second.
const MESSAGE: Duration = Duration::from_millis(10);
/// Credit that a second brings, in seconds.
const RATE: u32 = 2;

/// Limits messages to twice real time, with a burst.
#[derive(Debug)]
pub(crate) struct Pace {
    credit: Duration,
    at: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { credit: BURST, at: now }
    }

    /// Whether a message with this much audio may come at `now`.
    pub(crate) fn admits(&mut self, now: Instant, audio: Duration) -> bool {
        let credit = BURST.min(self.credit + RATE * now.saturating_duration_since(self.at));
        self.at = now;
        let left = credit.checked_sub(audio.max(MESSAGE));
        self.credit = left.unwrap_or_default();
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    #[test]
    fn audio_in_real_time_and_after_a_pause_is_admitted() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..10_000 {
            now += FRAME;
            assert!(pace.admits(now, FRAME));
        }
        now += Duration::from_secs(9);
        assert!((0..450).all(|_| pace.admits(now, FRAME)), "the network held it back");
    }

    #[test]
    fn audio_faster_than_twice_real_time_is_not_admitted_for_long() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut fast = || {
            now += FRAME;
            pace.admits(now, 3 * FRAME)
        };
        let admitted = (0..10_000).take_while(|_| fast()).count();
        assert!((495..=505).contains(&admitted), "{admitted}: a burst of 10 s at 20 ms each");
    }

    #[test]
    fn messages_without_audio_are_limited_too() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!((0..10_000).take_while(|_| pace.admits(now, Duration::ZERO)).count(), 1_000);
    }
}
