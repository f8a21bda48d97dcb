//! The timeline in ticks: the segments that tau-voice's events are made of.

use crate::timeline::{SEGMENT_GAP_MS, SoundKind, Span, Timeline};

/// Length of a tick of the published panel.
pub const TICK_MS: u32 = 200;

/// A range of ticks, the end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    /// The first tick.
    pub from: u32,
    /// The tick after the last one.
    pub to: u32,
}

impl Ticks {
    /// Whether it contains a tick.
    pub fn contains(self, tick: u32) -> bool {
        (self.from..self.to).contains(&tick)
    }
}

/// Speech, or another sound, of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerSegment {
    /// Its ticks.
    pub ticks: Ticks,
    /// Its meaning.
    pub kind: SoundKind,
    /// Whether it wants a response. A cough alone does not; a sentence with a cough in it does.
    pub is_turn: bool,
}

/// A conversation in ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segments {
    /// Length of a tick.
    pub tick_ms: u32,
    /// Number of ticks.
    pub length: u32,
    /// The caller's segments, in order.
    pub caller: Vec<CallerSegment>,
    /// Sounds outside of the caller's segments that the agent should ignore, in order.
    pub signals: Vec<(Ticks, SoundKind)>,
    /// The agent's segments, in order.
    pub agent: Vec<Ticks>,
}

impl Segments {
    /// Cuts a timeline into ticks of `tick_ms`.
    pub fn new(timeline: &Timeline, tick_ms: u32) -> Self {
        let tick_ms = tick_ms.max(1);
        let mut segments = Self { tick_ms, length: timeline.length_ms.div_ceil(tick_ms), ..Self::default() };
        for span in timeline.agent_speech() {
            let ticks = segments.ticks(span);
            match segments.agent.last_mut() {
                Some(last) if ticks.from <= last.to => last.to = last.to.max(ticks.to),
                _ => segments.agent.push(ticks),
            }
        }
        for segment in segments.caller_segments(timeline) {
            if segment.is_turn || segments.agent_segment_at(segment.ticks.from).is_some() {
                segments.caller.push(segment);
            } else {
                segments.signals.push((segment.ticks, segment.kind));
            }
        }
        segments
    }

    /// The sounds of the caller; those that touch are one segment.
    fn caller_segments(&self, timeline: &Timeline) -> Vec<CallerSegment> {
        let mut merged: Vec<CallerSegment> = vec![];
        let (mut end_ms, mut continues) = (0, false);
        for sound in &timeline.caller {
            let is_turn = sound.kind == SoundKind::Turn;
            let ticks = self.ticks(sound.span);
            match merged.last_mut() {
                Some(last)
                    if ticks.from <= last.ticks.to
                        || last.is_turn
                            && is_turn
                            && (continues || sound.span.from_ms < end_ms + SEGMENT_GAP_MS) =>
                {
                    last.ticks.to = last.ticks.to.max(ticks.to);
                    last.kind = last.kind.min(sound.kind);
                    last.is_turn |= is_turn;
                }
                _ => merged.push(CallerSegment { ticks, kind: sound.kind, is_turn }),
            }
            end_ms = sound.span.to_ms.max(end_ms);
            continues = sound.continues;
        }
        merged
    }

    /// The ticks of which at least half lies in the span; at least one.
    fn ticks(&self, span: Span) -> Ticks {
        let nearest = |ms: u32| (ms + self.tick_ms / 2) / self.tick_ms;
        let from = nearest(span.from_ms);
        Ticks { from, to: nearest(span.to_ms).max(from + 1) }
    }

    /// The agent's segment at a tick.
    pub(crate) fn agent_segment_at(&self, tick: u32) -> Option<Ticks> {
        self.agent.iter().copied().find(|segment| segment.contains(tick))
    }

    /// A number of ticks in milliseconds.
    pub(crate) fn ms(&self, ticks: u32) -> u32 {
        ticks.saturating_mul(self.tick_ms)
    }
}
