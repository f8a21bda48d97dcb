//! The turns of a timeline, for EVA's score.

use crate::{
    timeline::{Span, Timeline},
    turn_score::{HARD_LATE_MS, Turn, call_score},
};

/// Splits a conversation into turns. What the agent says before the caller's first words belongs to none.
pub fn turns(timeline: &Timeline) -> Vec<Turn> {
    let agent = timeline.agent_speech();
    let mut turns: Vec<Turn> = vec![];
    let mut starts: Vec<u32> = vec![];
    for words in timeline.caller_turns() {
        let since = turns.last().and_then(|turn| turn.caller.last()).map_or(0, |last| last.from_ms);
        let has_spoken_since = agent.iter().any(|span| (since..words.from_ms).contains(&span.from_ms));
        match turns.last_mut() {
            Some(turn) if !has_spoken_since => turn.caller.push(words),
            _ => {
                starts.push(words.from_ms);
                turns.push(Turn {
                    caller: vec![words],
                    caller_interrupts: agent.iter().any(|span| span.contains(words.from_ms)),
                    ..Turn::default()
                });
            }
        }
    }
    for (index, turn) in turns.iter_mut().enumerate() {
        let from = starts[index];
        let within = from..starts.get(index + 1).copied().unwrap_or(u32::MAX);
        turn.agent = agent.iter().copied().filter(|span| within.contains(&span.from_ms)).collect();
        turn.agent_before_until_ms =
            agent.iter().take_while(|span| span.from_ms < from).last().map(|span| span.to_ms);
        turn.has_function_call = timeline.function_calls_ms.iter().any(|at| within.contains(at));
        let interrupts = |agent: &Span| turn.caller.iter().any(|words| words.contains(agent.from_ms));
        turn.agent_interrupts = turn.agent.iter().any(interrupts);
    }
    turns
}

/// The turn score of a call; none without a turn that was, or should have been, answered.
pub(crate) fn score(timeline: &Timeline, turns: &[Turn]) -> Option<f64> {
    let is_last_unanswered = turns.last().is_some_and(|turn| {
        let waited = turn.caller.last().map_or(0, |words| timeline.length_ms.saturating_sub(words.to_ms));
        turn.agent.is_empty() && f64::from(waited) >= HARD_LATE_MS[usize::from(turn.has_function_call)]
    });
    call_score(turns, is_last_unanswered)
}
