//! Pauses of the caller within a turn: did the agent take them for the end?

use crate::{
    panel::Rate,
    timeline::{SoundKind, Timeline},
};

/// The pauses that a script knows, and those that the agent cut off: it began to speak between the beginning of the
/// pause and the end of the words after it.
pub fn pauses_cut_off(timeline: &Timeline) -> Rate {
    let agent = timeline.agent_speech();
    let words: Vec<_> = timeline.caller.iter().filter(|sound| sound.kind == SoundKind::Turn).collect();
    let mut cut_off = Rate::default();
    for pair in words.windows(2) {
        let [before, after] = pair else { continue };
        if before.continues {
            let within = before.span.to_ms..after.span.to_ms;
            cut_off.count(agent.iter().any(|span| within.contains(&span.from_ms)));
        }
    }
    cut_off
}
