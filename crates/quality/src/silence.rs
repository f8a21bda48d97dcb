//! Dead air and talk-over.

use crate::timeline::{Side, Span, Timeline};

/// Silence of both sides counts as dead air from this length on.
pub const DEAD_AIR_MS: u32 = 3_000;

/// Silence of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadAir {
    /// When.
    pub span: Span,
    /// The side whose turn it was: the agent's until it has spoken, and after words of the caller.
    pub whose: Side,
}

/// All dead air. Sounds of the caller that are no words for the agent do not end it: the caller hears nothing.
pub fn dead_air(timeline: &Timeline) -> Vec<DeadAir> {
    let mut speech: Vec<(Span, Side)> =
        timeline.agent_speech().into_iter().map(|span| (span, Side::Agent)).collect();
    speech.extend(timeline.caller_turns().into_iter().map(|span| (span, Side::Caller)));
    speech.sort_by_key(|(span, _)| span.from_ms);
    speech.push((Span::new(timeline.length_ms, timeline.length_ms), Side::Agent));
    let (mut quiet_since, mut whose) = (0, Side::Agent);
    let mut found = vec![];
    for (span, side) in speech {
        if span.from_ms.saturating_sub(quiet_since) > DEAD_AIR_MS {
            found.push(DeadAir { span: Span::new(quiet_since, span.from_ms), whose });
        }
        if span.to_ms >= quiet_since {
            quiet_since = span.to_ms;
            whose = match side {
                Side::Agent => Side::Caller,
                Side::Caller => Side::Agent,
            };
        }
    }
    found
}

/// Milliseconds for which the agent and words of the caller for it were heard together.
pub fn talk_over_ms(timeline: &Timeline) -> u32 {
    let agent = timeline.agent_speech();
    let turns = timeline.caller_turns();
    turns.iter().flat_map(|words| agent.iter().map(|span| span.overlap_ms(*words))).sum()
}
