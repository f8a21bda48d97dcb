//! The lease on a live conversation. Its holder is the worker that has the media.
//!
//! While a lease is live, only its holder ends the conversation, since only the holder has the last words and the
//! usage. Other processes leave worker signals. The lease of a dead worker expires.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{messages::MessageKind, time::Timestamp};

/// Characters per second of unhurried speech.
const PACE: usize = 16;
/// The slowest and the fastest pace of a voice.
const PACES: (usize, usize) = (8, 30);
/// Minimum time of heard words from which their pace is taken.
const MEASURED: Duration = Duration::from_secs(2);

/// A worker's lease on a conversation. It is an item of its own, so that heartbeats do not rewrite the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The id of the media stream that holds it, drawn at random at its admission. A later stream of the same call is
    /// another holder, even in the same worker.
    pub holder: String,
    /// The carrier's id of that stream, if it has one, to recognize reports about earlier streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The holder's last sign of life: the time at which it took, renewed or returned the lease.
    pub last_seen_at: Timestamp,
    /// The time at which it expires, unless its holder renews it.
    pub until: Timestamp,
    /// The agent's utterance at the last heartbeat; none while the agent was silent.
    pub utterance: Option<UtteranceProgress>,
}

/// A message of the agent while the caller hears it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtteranceProgress {
    /// The words that the caller has heard so far.
    pub heard: String,
    /// The words that the caller has not heard yet.
    pub unheard: String,
    /// The time at which its first word began.
    pub started_at: Timestamp,
    /// The kind of the message.
    #[serde(default)]
    pub kind: MessageKind,
}

impl Lease {
    /// Duration of a lease. It outlives three failed heartbeats.
    pub const DURATION: Duration = Duration::from_mins(1);
    /// Interval between renewals.
    pub const HEARTBEAT: Duration = Duration::from_secs(15);

    /// A lease that begins at `now`.
    #[must_use]
    pub fn new(holder: String, now: Timestamp) -> Self {
        Self { holder, stream: None, last_seen_at: now, until: now.after(Self::DURATION), utterance: None }
    }

    /// Renews it at `now`, with the agent's utterance at that time.
    #[must_use]
    pub fn renewed(self, now: Timestamp, utterance: Option<UtteranceProgress>) -> Self {
        Self { stream: self.stream, utterance, ..Self::new(self.holder, now) }
    }

    /// Whether its holder gave it back. It is then valid for 20 s; a renewal leaves at least 44 s at each heartbeat.
    #[must_use]
    pub fn is_given_back(&self) -> bool {
        self.until < self.last_seen_at.after(2 * Self::HEARTBEAT)
    }

    /// Whether it has not expired.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

impl UtteranceProgress {
    /// Estimates the heard words at `now`, after the voice went on since `noted_at`: words move from unheard to heard at
    /// the pace of those before, or else of unhurried speech. It rather moves a word too many, which the caller then misses,
    /// than one too few, which the agent would repeat.
    #[must_use]
    pub fn advanced(mut self, noted_at: Timestamp, now: Timestamp) -> Self {
        let ms = |duration: Duration| usize::try_from(duration.as_millis()).unwrap_or(usize::MAX);
        let heard_for = noted_at.since(self.started_at);
        let pace = if heard_for >= MEASURED {
            (self.heard.len().saturating_mul(1_000) / ms(heard_for)).clamp(PACES.0, PACES.1)
        } else {
            PACE
        };
        let spoken = ms(now.since(noted_at)).saturating_mul(pace) / 1_000;
        let mut end = 0;
        for (at, _) in self.unheard.match_indices(char::is_whitespace) {
            if end >= spoken {
                break;
            }
            end = at;
        }
        if end < spoken {
            end = self.unheard.len();
        }
        let rest = self.unheard.split_off(end).trim_start().to_owned();
        if !self.heard.is_empty() && !self.unheard.is_empty() {
            self.heard.push(' ');
        }
        self.heard.push_str(self.unheard.trim());
        Self { unheard: rest, ..self }
    }
}

impl fmt::Debug for UtteranceProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UtteranceProgress([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advanced_utterance_moves_whole_words_and_loses_none() {
        let before = || UtteranceProgress {
            kind: crate::messages::MessageKind::Speech,
            heard: "On Saturday".into(),
            unheard: "we close at six in the evening.".into(),
            started_at: Timestamp::from_millis(0),
        };
        let later =
            |ms: i64| before().advanced(Timestamp::from_millis(500), Timestamp::from_millis(500 + ms));
        for ms in (0..4_000).step_by(50) {
            let after = later(ms);
            let whole = format!("{} {}", after.heard, after.unheard);
            assert_eq!(whole.trim_end(), "On Saturday we close at six in the evening.", "{ms} ms");
        }
        assert_eq!(later(0), before());
        assert_eq!(later(500).heard, "On Saturday we close");
        assert_eq!(later(9_000).unheard, "");
    }

    #[test]
    fn an_utterance_advances_at_the_pace_of_its_heard_words() {
        let heard_in = |ms: i64| {
            let words = UtteranceProgress {
                kind: crate::messages::MessageKind::Speech,
                heard: "x".repeat(40),
                unheard: "y ".repeat(50),
                started_at: Timestamp::from_millis(0),
            };
            let noted_at = Timestamp::from_millis(ms);
            words.advanced(noted_at, noted_at.after(Duration::from_secs(1))).heard.len() - 41
        };
        assert!((9..=11).contains(&heard_in(4_000)), "ten characters per second: {}", heard_in(4_000));
        assert!((19..=21).contains(&heard_in(2_000)), "twenty: {}", heard_in(2_000));
        assert!((15..=17).contains(&heard_in(1_000)), "too few to tell: {}", heard_in(1_000));
        assert!((7..=9).contains(&heard_in(60_000)), "no voice is as slow: {}", heard_in(60_000));
    }

    #[test]
    fn a_lease_outlives_three_missed_heartbeats() {
        let now = Timestamp::from_millis(1_000_000);
        let lease = Lease::new("a".into(), now);
        assert!(lease.is_live(now.after(Lease::HEARTBEAT * 3)));
        assert!(!lease.is_live(now.after(Lease::DURATION)));
    }
}
