//! A carrier on a bad day: its callbacks come late, repeated and reordered, and streams that our side closed are reported as
//! failed.
//!
//! `PUT /sandbox/rudeness`, which is no part of Twilio, sets it for all calls from then on. Every member is optional,
//! and `{}` is polite:
//!
//! ```json
//! {"seed": 7, "callbacks_late_ms": 2000, "callbacks_repeated": 2, "one_in": 3, "closed_stream": "error"}
//! ```

use std::time::Duration;

use serde::Deserialize;

/// Maximum delay of a callback, and maximum number of its repetitions.
const MAX_LATE_MS: u64 = 60_000;
const MAX_REPEATED: u64 = 10;

/// The carrier's behaviour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rudeness {
    /// The beginning of the sequence of draws.
    seed: u64,
    /// Each copy of a callback is sent after a drawn time of at most this: later callbacks overtake it.
    callbacks_late_ms: u64,
    /// Each callback is sent up to this many times more.
    callbacks_repeated: u64,
    /// Only one callback in so many, drawn, is treated like this; 0 and 1: all.
    one_in: u64,
    closed_stream: ClosedStream,
}

/// The reports about a stream that the server closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClosedStream {
    /// `stream-stopped`.
    #[default]
    Stopped,
    /// `stream-error` with 31921.
    Error,
    /// Both, the error first.
    ErrorAndStopped,
    /// One of these, drawn for each stream.
    Drawn,
}

impl Rudeness {
    /// Why it is not taken.
    pub(super) fn mistake(&self) -> Option<String> {
        if self.callbacks_late_ms > MAX_LATE_MS {
            return Some(format!("callbacks_late_ms: at most {MAX_LATE_MS}"));
        }
        (self.callbacks_repeated > MAX_REPEATED)
            .then(|| format!("callbacks_repeated: at most {MAX_REPEATED}"))
    }

    /// The delay of each copy of the next callback. `None`: once, at once and in order.
    pub(super) fn copies(&mut self) -> Option<Vec<Duration>> {
        let is_polite = (self.callbacks_late_ms, self.callbacks_repeated) == (0, 0);
        if is_polite || self.draw(self.one_in.max(1)) != 0 {
            return None;
        }
        let copies = 1 + self.draw(self.callbacks_repeated + 1);
        let delay = |_| Duration::from_millis(self.draw(self.callbacks_late_ms + 1));
        Some((0..copies).map(delay).collect())
    }

    /// The reports about the next stream that the server closes, in their order.
    pub(super) fn reports_of_closed_stream(&mut self) -> &'static [&'static str] {
        const VARIANTS: [&[&str]; 3] =
            [&["stream-stopped"], &["stream-error"], &["stream-error", "stream-stopped"]];
        let variant = match self.closed_stream {
            ClosedStream::Stopped => 0,
            ClosedStream::Error => 1,
            ClosedStream::ErrorAndStopped => 2,
            ClosedStream::Drawn => usize::try_from(self.draw(3)).unwrap_or(0),
        };
        VARIANTS[variant]
    }

    /// A number below `below`, by `SplitMix64`.
    fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_seed_draws_the_same_copies_again() {
        let rude = || {
            let rude = json!({ "seed": 7, "callbacks_late_ms": 1000, "callbacks_repeated": 2 });
            serde_json::from_value::<Rudeness>(rude).unwrap()
        };
        let (mut one, mut other) = (rude(), rude());
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let copies = one.copies().unwrap();
            assert_eq!(Some(&copies), other.copies().as_ref());
            assert!(copies.iter().all(|delay| delay.as_millis() <= 1_000));
            seen.insert(copies.len());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(Rudeness::default().copies(), None);
    }

    #[test]
    fn a_share_of_the_callbacks_is_treated_rudely() {
        let rude = json!({ "callbacks_late_ms": 1000, "one_in": 3 });
        let mut rude = serde_json::from_value::<Rudeness>(rude).unwrap();
        let share = (0..300).filter(|_| rude.copies().is_some()).count();
        assert!((60..140).contains(&share), "{share} of 300");
    }

    #[test]
    fn a_mistake_is_named() {
        let mistake = |body| serde_json::from_value::<Rudeness>(body).unwrap().mistake();
        assert_eq!(
            mistake(json!({ "callbacks_late_ms": 60_001 })).unwrap(),
            "callbacks_late_ms: at most 60000"
        );
        assert_eq!(mistake(json!({ "callbacks_repeated": 11 })).unwrap(), "callbacks_repeated: at most 10");
        assert_eq!(mistake(json!({ "closed_stream": "drawn" })), None);
    }
}
