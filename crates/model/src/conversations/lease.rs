//! The lease on a live conversation. Its holder is the worker that has the media.
//!
//! While a lease is live only its holder ends the conversation, since only it has the last words and
//! the usage; every other process leaves a worker signal. The lease of a worker that dies runs out.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{messages::MessageKind, time::Timestamp};

/// Characters a second of unhurried speech.
const PACE: usize = 16;

/// A worker's hold on a conversation; stored apart from it, so that heartbeats touch nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The stream that holds it: drawn at random when it is let in, so that a later stream of the same
    /// call is another holder, also in the same worker.
    pub holder: String,
    /// The carrier's name for that stream, if it has one: so a report that another one broke is told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// When its holder was heard of the last time: when it was taken, renewed or given back.
    pub last_seen_at: Timestamp,
    /// It ends by itself then, unless it is renewed.
    pub until: Timestamp,
    /// The agent's utterance at the last heartbeat; none while the agent was silent.
    pub utterance: Option<UtteranceProgress>,
}

/// A message of the agent that is being heard.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtteranceProgress {
    /// The words that the caller has heard so far.
    pub heard: String,
    /// The words that the caller has not heard yet.
    pub unheard: String,
    /// When its first word began.
    pub started_at: Timestamp,
    /// Why it is said.
    #[serde(default)]
    pub kind: MessageKind,
}

impl Lease {
    /// How long a lease lasts; it outlives three failed heartbeats.
    pub const DURATION: Duration = Duration::from_mins(1);
    /// How often it is renewed.
    pub const HEARTBEAT: Duration = Duration::from_secs(15);

    /// A lease from `now` on.
    #[must_use]
    pub fn new(holder: String, now: Timestamp) -> Self {
        Self { holder, stream: None, last_seen_at: now, until: now.after(Self::DURATION), utterance: None }
    }

    /// The same, renewed at `now`, with what the agent is saying then.
    #[must_use]
    pub fn renewed(self, now: Timestamp, utterance: Option<UtteranceProgress>) -> Self {
        Self { stream: self.stream, utterance, ..Self::new(self.holder, now) }
    }

    /// Whether its holder may still be counted on.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

impl UtteranceProgress {
    /// The same message `later`, if the voice went on: words at the pace of speech have moved from what
    /// was not heard to what was. Rather a word too many, which is then missing, than one said twice.
    #[must_use]
    pub fn advanced_by(mut self, later: Duration) -> Self {
        let spoken = usize::try_from(later.as_millis()).unwrap_or(usize::MAX).saturating_mul(PACE) / 1_000;
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
    fn a_voice_that_went_on_has_said_whole_words_more_and_lost_none() {
        let before = || UtteranceProgress {
            kind: crate::messages::MessageKind::Speech,
            heard: "On Saturday".into(),
            unheard: "we close at six in the evening.".into(),
            started_at: Timestamp::from_millis(0),
        };
        for ms in (0..4_000).step_by(50) {
            let after = before().advanced_by(Duration::from_millis(ms));
            let whole = format!("{} {}", after.heard, after.unheard);
            assert_eq!(whole.trim_end(), "On Saturday we close at six in the evening.", "{ms} ms");
        }
        assert_eq!(before().advanced_by(Duration::ZERO), before());
        assert_eq!(before().advanced_by(Duration::from_millis(500)).heard, "On Saturday we close");
        assert_eq!(before().advanced_by(Duration::from_secs(9)).unheard, "");
    }

    #[test]
    fn a_lease_outlives_three_missed_heartbeats() {
        let now = Timestamp::from_millis(1_000_000);
        let lease = Lease::new("a".into(), now);
        assert!(lease.is_live(now.after(Lease::HEARTBEAT * 3)));
        assert!(!lease.is_live(now.after(Lease::DURATION)));
    }
}
