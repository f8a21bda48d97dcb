mod eva;
mod faulty_agents;
mod measures;
mod tau_voice;

use crate::{Sound, SoundKind, Span, Timeline};

/// A timeline of words of the caller and of speech of the agent, in milliseconds.
fn timeline(caller: &[(SoundKind, u32, u32)], agent: &[(u32, u32)], length_ms: u32) -> Timeline {
    Timeline {
        caller: caller.iter().map(|(kind, from, to)| Sound::new(*kind, *from, *to)).collect(),
        agent: spans(agent),
        length_ms,
        ..Timeline::default()
    }
}

fn spans(spans: &[(u32, u32)]) -> Vec<Span> {
    spans.iter().map(|(from, to)| Span::new(*from, *to)).collect()
}

fn near(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 1e-3
}
