//! The events of tau-voice's panel: each thing that the agent reacted to, or should not have.
//!
//! The rules follow `tau2-bench`'s `voice_interaction_metrics` version 1.0, to the tick. One of them surprises: a
//! signal outside of the caller's segments while the agent speaks counts only if the agent stopped.

use crate::{
    segments::{CallerSegment, Segments, Ticks},
    timeline::SoundKind,
};

/// The agent stops within this time after a real interruption.
const YIELD_WINDOW_MS: u32 = 2_000;
/// The agent stops within this time after a sound that it should ignore: an error.
const FALSE_STOP_WINDOW_MS: u32 = 1_000;
/// The agent begins to speak within this time after such a sound in silence: an error.
const FALSE_RESPONSE_WINDOW_MS: u32 = 2_000;

/// The reason for a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stimulus {
    /// The end of a turn of the caller.
    TurnEnd,
    /// A sound of the caller while the agent speaks.
    WhileAgentSpeaks(SoundKind),
    /// A sound of the caller in silence that wants no response.
    InSilence(SoundKind),
    /// None: the agent began to speak while the caller spoke.
    CallerSpeaks,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaction {
    /// When its reason began; for [`Stimulus::TurnEnd`] the end of the turn.
    pub at_ms: u32,
    /// Its reason.
    pub stimulus: Stimulus,
    /// Whether the agent did right.
    pub is_right: bool,
    /// The time to the response, or to the stop; none without either.
    pub latency_ms: Option<u32>,
}

/// Every event of a conversation, sorted by time.
pub fn reactions(segments: &Segments) -> Vec<Reaction> {
    let mut found = responses(segments);
    found.extend(segments.caller.iter().filter_map(|segment| while_agent_speaks(segments, segment)));
    let ignorable = segments.caller.iter().filter(|segment| is_ignorable(segment.kind));
    let in_silence = ignorable.filter(|segment| segments.agent_segment_at(segment.ticks.from).is_none());
    found.extend(in_silence.map(|segment| in_silence_at(segments, segment.ticks, segment.kind)));
    found.extend(segments.signals.iter().filter_map(|(ticks, kind)| signal(segments, *ticks, *kind)));
    let interrupts =
        |ticks: &&Ticks| segments.caller.iter().any(|segment| segment.ticks.contains(ticks.from));
    found.extend(segments.agent.iter().filter(interrupts).map(|ticks| Reaction {
        at_ms: segments.ms(ticks.from),
        stimulus: Stimulus::CallerSpeaks,
        is_right: false,
        latency_ms: None,
    }));
    found.sort_by_key(|reaction| reaction.at_ms);
    found
}

fn is_ignorable(kind: SoundKind) -> bool {
    matches!(kind, SoundKind::VocalTic | SoundKind::NonDirected | SoundKind::Noise)
}

/// For each turn after which the agent was silent: did it begin to speak before the caller spoke again?
fn responses(segments: &Segments) -> Vec<Reaction> {
    let is_open = |segment: &&CallerSegment| {
        let end = segment.ticks.to;
        segment.is_turn && (end >= segments.length || segments.agent_segment_at(end).is_none())
    };
    let turns: Vec<Ticks> = segments.caller.iter().filter(is_open).map(|segment| segment.ticks).collect();
    let response = |(index, turn): (usize, &Ticks)| {
        let next = turns[index + 1..].iter().map(|next| next.from).find(|from| *from >= turn.to);
        let agent = segments.agent.iter().map(|agent| agent.from).find(|from| *from >= turn.to);
        // The last turn of a call that ends without another word is no event.
        let is_right = agent.is_some_and(|agent| next.is_none_or(|next| agent <= next));
        if !is_right && next.is_none() {
            return None;
        }
        Some(Reaction {
            at_ms: segments.ms(turn.to),
            stimulus: Stimulus::TurnEnd,
            is_right,
            latency_ms: agent.filter(|_| is_right).map(|agent| segments.ms(agent - turn.to)),
        })
    };
    turns.iter().enumerate().filter_map(response).collect()
}

/// Did the agent stop for a segment that began while it spoke?
fn while_agent_speaks(segments: &Segments, segment: &CallerSegment) -> Option<Reaction> {
    let from = segment.ticks.from;
    let agent = segments.agent_segment_at(from)?;
    let is_interruption = segment.kind == SoundKind::Turn;
    let window = if is_interruption { YIELD_WINDOW_MS } else { FALSE_STOP_WINDOW_MS };
    let after = segments.ms(agent.to - from);
    let has_stopped = after < window && agent.to < segments.length;
    Some(Reaction {
        at_ms: segments.ms(from),
        stimulus: Stimulus::WhileAgentSpeaks(segment.kind),
        is_right: has_stopped == is_interruption,
        latency_ms: has_stopped.then_some(after),
    })
}

/// Did the agent respond to a sound in silence that wants no response?
fn in_silence_at(segments: &Segments, ticks: Ticks, kind: SoundKind) -> Reaction {
    let until = ticks.to.saturating_add(FALSE_RESPONSE_WINDOW_MS / segments.tick_ms);
    let response = segments.agent.iter().find(|agent| (ticks.from..=until).contains(&agent.from));
    Reaction {
        at_ms: segments.ms(ticks.from),
        stimulus: Stimulus::InSilence(kind),
        is_right: response.is_none(),
        latency_ms: response.map(|agent| segments.ms(agent.from - ticks.from)),
    }
}

fn signal(segments: &Segments, ticks: Ticks, kind: SoundKind) -> Option<Reaction> {
    if !is_ignorable(kind) {
        return None;
    }
    let Some(agent) = segments.agent_segment_at(ticks.from) else {
        return Some(in_silence_at(segments, ticks, kind));
    };
    let after = segments.ms(agent.to - ticks.from);
    (after <= FALSE_STOP_WINDOW_MS).then(|| Reaction {
        at_ms: segments.ms(ticks.from),
        stimulus: Stimulus::WhileAgentSpeaks(kind),
        is_right: false,
        latency_ms: Some(after),
    })
}
