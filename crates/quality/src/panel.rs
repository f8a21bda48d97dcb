//! The interaction panel: sums and rates of reactions, over one call or many.

use crate::{
    reactions::{Reaction, Stimulus},
    timeline::SoundKind,
};

/// A rate of a set is shown from this number of events on.
pub const MIN_EVENTS: u32 = 10;

/// A share of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Those with the named outcome.
    pub hits: u32,
    /// All.
    pub total: u32,
}

impl Rate {
    /// Counts an event.
    pub fn count(&mut self, is_hit: bool) {
        self.hits += u32::from(is_hit);
        self.total += 1;
    }

    /// The rate; none without events.
    pub fn value(self) -> Option<f64> {
        (self.total > 0).then(|| f64::from(self.hits) / f64::from(self.total))
    }

    /// The rate of a set; none with too few events for one.
    pub fn published(self) -> Option<f64> {
        self.value().filter(|_| self.total >= MIN_EVENTS)
    }

    /// Adds another set.
    pub fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.total += other.total;
    }
}

/// A mean of times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mean {
    /// The sum of all.
    pub sum_ms: u32,
    /// Their number.
    pub count: u32,
}

impl Mean {
    /// Adds a time, if there is one.
    pub fn record(&mut self, ms: Option<u32>) {
        let Some(ms) = ms else { return };
        self.sum_ms = self.sum_ms.saturating_add(ms);
        self.count += 1;
    }

    /// The mean in seconds; none without times.
    pub fn seconds(self) -> Option<f64> {
        (self.count > 0).then(|| f64::from(self.sum_ms) / f64::from(self.count) / 1_000.0)
    }

    /// The mean of a set in seconds; none with too few times for one.
    pub fn published(self) -> Option<f64> {
        self.seconds().filter(|_| self.count >= MIN_EVENTS)
    }

    /// Adds another set.
    pub fn add(&mut self, other: Self) {
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
        self.count += other.count;
    }
}

/// The panel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Panel {
    /// `L_R`: from the end of a turn to the response.
    pub response: Mean,
    /// `R_R`: turns that were answered before the caller spoke again.
    pub responses: Rate,
    /// `L_Y`: from the beginning of an interruption to the agent's silence.
    pub yielding: Mean,
    /// `R_Y`: real interruptions to which the agent yielded.
    pub yields: Rate,
    /// Segments of the agent that began while the caller spoke.
    pub agent_interruptions: u32,
    /// For each [`SoundKind`], in the order of [`SoundKind::ALL`]: sounds while the agent spoke, and those for which it
    /// stopped.
    pub stopped: [Rate; SoundKind::ALL.len()],
    /// The same for sounds in silence that want no response, and those to which it responded.
    pub responded: [Rate; SoundKind::ALL.len()],
}

impl Panel {
    /// Counts the events of a call.
    pub fn new(reactions: &[Reaction]) -> Self {
        let mut panel = Self::default();
        for reaction in reactions {
            panel.count(reaction);
        }
        panel
    }

    fn count(&mut self, reaction: &Reaction) {
        let Reaction { stimulus, is_right, latency_ms, .. } = *reaction;
        match stimulus {
            Stimulus::TurnEnd => {
                self.responses.count(is_right);
                self.response.record(latency_ms);
            }
            Stimulus::WhileAgentSpeaks(kind) => {
                if kind == SoundKind::Turn {
                    self.yields.count(is_right);
                    self.yielding.record(latency_ms);
                }
                self.stopped[kind as usize].count(is_right == (kind == SoundKind::Turn));
            }
            Stimulus::InSilence(kind) => self.responded[kind as usize].count(!is_right),
            Stimulus::CallerSpeaks => self.agent_interruptions += 1,
        }
    }

    /// Adds another set of calls.
    pub fn add(&mut self, other: &Self) {
        self.response.add(other.response);
        self.responses.add(other.responses);
        self.yielding.add(other.yielding);
        self.yields.add(other.yields);
        self.agent_interruptions += other.agent_interruptions;
        for (sum, more) in self.stopped.iter_mut().zip(other.stopped) {
            sum.add(more);
        }
        for (sum, more) in self.responded.iter_mut().zip(other.responded) {
            sum.add(more);
        }
    }

    /// `I_A`: interruptions by the agent per turn that wanted a response; none without such turns.
    pub fn agent_interruption_rate(&self) -> Option<f64> {
        let turns = self.responses.total;
        (turns > 0).then(|| f64::from(self.agent_interruptions) / f64::from(turns))
    }

    /// Sounds of a kind that the agent should ignore, and did: `S_BC`, `S_VT`, `S_ND`, and noises.
    pub fn ignored(&self, kind: SoundKind) -> Rate {
        let mut wrong = self.stopped[kind as usize];
        wrong.add(self.responded[kind as usize]);
        Rate { hits: wrong.total - wrong.hits, total: wrong.total }
    }

    /// The mean of `S_BC`, `S_VT` and `S_ND`; none unless each has enough events.
    pub fn selectivity(&self) -> Option<f64> {
        let [backchannel, tic, other] = [SoundKind::Backchannel, SoundKind::VocalTic, SoundKind::NonDirected]
            .map(|kind| self.ignored(kind).published());
        Some((backchannel? + tic? + other?) / 3.0)
    }
}
