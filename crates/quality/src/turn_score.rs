//! EVA's turn score: 0 to 1 per turn of the caller with a response, from when both sides spoke.

use crate::timeline::Span;

/// A response this early, relative to the end of the caller's words, scores 0.
const HARD_EARLY_MS: f64 = -500.0;
/// From here on a response scores 1.
const GOOD_FROM_MS: f64 = 500.0;
/// Until here a response scores 1; the second number is for a turn with a function call.
const GOOD_UNTIL_MS: [f64; 2] = [2_000.0, 3_000.0];
/// From here on a response scores 0; the second number is for a turn with a function call.
pub(crate) const HARD_LATE_MS: [f64; 2] = [3_500.0, 5_000.0];
/// A turn in which the agent interrupts scores at most this.
const INTERRUPTION_MAX: f64 = 0.5;
/// Overlap at which an interruption by the agent scores 0.
const OVERLAP_HARD_MS: f64 = 2_000.0;
/// Number of interruptions by the agent at which a turn scores 0.
const INTERRUPTIONS_HARD: f64 = 3.0;
/// Time to yield at which an interruption by the caller scores 0.
const YIELD_HARD_MS: f64 = 2_000.0;

/// The score of a response `ms` after the end of the caller's words.
pub fn latency_score(ms: f64, has_function_call: bool) -> f64 {
    let index = usize::from(has_function_call);
    let (good_until, hard_late) = (GOOD_UNTIL_MS[index], HARD_LATE_MS[index]);
    if ms <= HARD_EARLY_MS || ms >= hard_late {
        0.0
    } else if ms < GOOD_FROM_MS {
        (ms - HARD_EARLY_MS) / (GOOD_FROM_MS - HARD_EARLY_MS)
    } else if ms <= good_until {
        1.0
    } else {
        (hard_late - ms) / (hard_late - good_until)
    }
}

/// The score of an interruption by the agent, by the time for which both sides spoke.
pub fn overlap_score(ms: f64) -> f64 {
    (INTERRUPTION_MAX * (1.0 - ms / OVERLAP_HARD_MS)).max(0.0)
}

/// The score of a turn with `count` interruptions by the agent, at least one.
pub fn count_score(count: u32) -> f64 {
    (INTERRUPTION_MAX * (1.0 - (f64::from(count) - 1.0) / (INTERRUPTIONS_HARD - 1.0))).max(0.0)
}

/// The score of an interruption by the caller after which the agent spoke on for `ms`.
pub fn yield_score(ms: f64) -> f64 {
    (1.0 - ms / YIELD_HARD_MS).max(0.0)
}

/// A turn of the caller with the agent's response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// The caller's speech.
    pub caller: Vec<Span>,
    /// The speech of the agent that began in this turn.
    pub agent: Vec<Span>,
    /// When the agent's speech of the turn before ended; none if it had none.
    pub agent_before_until_ms: Option<u32>,
    /// Whether the agent called a function in it.
    pub has_function_call: bool,
    /// Whether the agent began to speak while the caller spoke.
    pub agent_interrupts: bool,
    /// Whether the caller began to speak while the agent spoke.
    pub caller_interrupts: bool,
}

impl Turn {
    /// The score; none unless both sides spoke.
    pub fn score(&self) -> Option<f64> {
        let (first, last) = (self.caller.first()?, self.caller.last()?);
        let response = self.agent.first()?;
        let agent = self.agent_interrupts.then(|| self.interruption_score());
        let caller = self.agent_before_until_ms.filter(|_| self.caller_interrupts);
        let caller = caller.map(|until| yield_score(f64::from(until.saturating_sub(first.from_ms))));
        Some(match (agent, caller) {
            (Some(agent), Some(caller)) => agent.min(caller),
            (Some(score), None) | (None, Some(score)) => score,
            (None, None) => {
                let ms = f64::from(response.from_ms) - f64::from(last.to_ms);
                latency_score(ms, self.has_function_call)
            }
        })
    }

    /// Milliseconds for which both sides spoke.
    pub fn overlap_ms(&self) -> u32 {
        self.pairs().map(|(caller, agent)| caller.overlap_ms(agent)).sum()
    }

    /// The number of the agent's segments that overlap with the caller's speech.
    pub fn interruptions(&self) -> u32 {
        let overlaps = |agent: &&Span| self.caller.iter().any(|caller| caller.overlap_ms(**agent) > 1);
        u32::try_from(self.agent.iter().filter(overlaps).count()).unwrap_or(u32::MAX)
    }

    /// The time from the end of the caller's words to the agent's next segment; none if it spoke at that time, or
    /// never again.
    pub fn settled_after_ms(&self) -> Option<u32> {
        let end = self.caller.last()?.to_ms;
        if self.agent.iter().any(|agent| agent.contains(end)) {
            return None;
        }
        let starts = self.agent.iter().map(|agent| agent.from_ms).filter(|start| *start > end);
        Some(starts.min()? - end)
    }

    fn interruption_score(&self) -> f64 {
        let mut score = overlap_score(f64::from(self.overlap_ms()));
        let count = self.interruptions();
        if count > 0 {
            score = score.min(count_score(count));
        }
        if let Some(ms) = self.settled_after_ms() {
            score = score.min(latency_score(f64::from(ms), self.has_function_call));
        }
        score
    }

    fn pairs(&self) -> impl Iterator<Item = (Span, Span)> {
        self.caller.iter().flat_map(|caller| self.agent.iter().map(|agent| (*caller, *agent)))
    }
}

/// The score of a call: the mean of its turns', or 0 if its last turn was not answered. None without a turn.
pub fn call_score(turns: &[Turn], is_last_unanswered: bool) -> Option<f64> {
    if is_last_unanswered {
        return Some(0.0);
    }
    let (mut sum, mut count) = (0.0, 0_u32);
    for score in turns.iter().filter_map(Turn::score) {
        sum += score;
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}
