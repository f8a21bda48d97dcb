//! The numbers of one call, in milliseconds.

use crate::{
    panel::{Panel, Rate},
    pauses::pauses_cut_off,
    reactions::{Reaction, Stimulus, reactions},
    segments::Segments,
    silence::{DeadAir, dead_air, talk_over_ms},
    timeline::{SoundKind, Timeline},
    turns,
};

/// Maximum number of silences that a call's quality lists: the longest ones.
pub const MAX_DEAD_AIR: usize = 20;

/// The distribution of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// The median.
    pub p50: u32,
    /// The 90th percentile.
    pub p90: u32,
    /// The maximum.
    pub max: u32,
}

impl Spread {
    /// The distribution of some times; none without any.
    pub fn new(mut times: Vec<u32>) -> Option<Self> {
        times.sort_unstable();
        let max = *times.last()?;
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        Some(Self { p50: at(50), p90: at(90), max })
    }
}

/// The quality of a call. A member without events is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct CallQuality {
    /// Turns of the caller.
    pub turns: u32,
    /// From the end of a turn to the response.
    pub response_ms: Option<Spread>,
    /// Turns that were answered before the caller spoke again.
    pub responses: Rate,
    /// From the beginning of an interruption to the agent's silence.
    pub yield_ms: Option<Spread>,
    /// Real interruptions to which the agent yielded.
    pub yields: Rate,
    /// Segments of the agent that began while the caller spoke.
    pub agent_interruptions: u32,
    /// Backchannel while the agent spoke, and that which it talked through.
    pub backchannels: Rate,
    /// All other sounds that want no response, and those that the agent ignored.
    pub noises: Rate,
    /// Pauses within a turn, and those that the agent cut off.
    pub pauses_cut_off: Rate,
    /// Both sides spoke.
    pub talk_over_ms: u32,
    /// Silence of both sides: the longest ones, in the order of time.
    pub dead_air: Vec<DeadAir>,
    /// EVA's score.
    pub turn_score: Option<f64>,
    /// When the agent's first word was heard.
    pub first_word_ms: Option<u32>,
}

impl CallQuality {
    /// Measures a call.
    pub fn new(timeline: &Timeline) -> Self {
        let reactions = reactions(&Segments::new(timeline, 1));
        let panel = Panel::new(&reactions);
        let times = |stimulus: Stimulus| {
            let of = |reaction: &&Reaction| reaction.stimulus == stimulus;
            Spread::new(reactions.iter().filter(of).filter_map(|reaction| reaction.latency_ms).collect())
        };
        let mut noises = Rate::default();
        for kind in [SoundKind::VocalTic, SoundKind::NonDirected, SoundKind::Noise] {
            noises.add(panel.ignored(kind));
        }
        let turns = turns::turns(timeline);
        Self {
            turns: u32::try_from(turns.len()).unwrap_or(u32::MAX),
            response_ms: times(Stimulus::TurnEnd),
            responses: panel.responses,
            yield_ms: times(Stimulus::WhileAgentSpeaks(SoundKind::Turn)),
            yields: panel.yields,
            agent_interruptions: panel.agent_interruptions,
            backchannels: panel.ignored(SoundKind::Backchannel),
            noises,
            pauses_cut_off: pauses_cut_off(timeline),
            talk_over_ms: talk_over_ms(timeline),
            dead_air: longest(dead_air(timeline)),
            turn_score: turns::score(timeline, &turns),
            first_word_ms: timeline.agent.first().map(|span| span.from_ms),
        }
    }
}

fn longest(mut all: Vec<DeadAir>) -> Vec<DeadAir> {
    all.sort_by_key(|silence| std::cmp::Reverse(silence.span.to_ms - silence.span.from_ms));
    all.truncate(MAX_DEAD_AIR);
    all.sort_by_key(|silence| silence.span.from_ms);
    all
}
