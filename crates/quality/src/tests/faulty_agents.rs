//! Agents with a fault, on the same callers: each fault shows in the measure that is meant to find it.

use super::near;
use crate::{CallQuality, Panel, Segments, Sound, SoundKind, Span, TICK_MS, Timeline, reactions};

/// An agent that reacts to sound alone.
#[derive(Clone, Copy)]
struct Agent {
    /// Silence after which the caller's turn counts as over.
    endpoint_ms: u32,
    /// From the end of a turn, as the agent sees it, to the response.
    thinks_ms: u32,
    /// From the beginning of an interruption to silence; none without barge-in.
    yields_after_ms: Option<u32>,
    /// Whether it stops for a cough as for words.
    stops_for_tics: bool,
}

const GOOD: Agent =
    Agent { endpoint_ms: 500, thinks_ms: 200, yields_after_ms: Some(380), stops_for_tics: false };

/// Length of a response.
const ANSWER_MS: u32 = 4_000;

/// Twenty exchanges: a question with a pause of 450 ms in it; a cough at a second of the response, and an interruption at
/// two seconds, which is answered.
fn call(agent: Agent) -> Timeline {
    let mut timeline = Timeline { agent: vec![Span::new(0, 1_500)], ..Timeline::default() };
    let mut at = 2_000;
    for _ in 0..20 {
        let first = Sound { continues: true, ..Sound::new(SoundKind::Turn, at, at + 1_200) };
        let second = Sound::new(SoundKind::Turn, at + 1_650, at + 2_600);
        timeline.caller.extend([first, second]);
        if agent.endpoint_ms < second.span.from_ms - first.span.to_ms {
            // The pause counts as the end; the caller goes on, and the agent stops again.
            let from = first.span.to_ms + agent.endpoint_ms + agent.thinks_ms;
            let until = agent.yields_after_ms.map_or(from + ANSWER_MS, |ms| from + ms);
            timeline.agent.push(Span::new(from, until.min(second.span.to_ms)));
        }
        let answer = second.span.to_ms + agent.endpoint_ms + agent.thinks_ms;
        let cough = Sound::new(SoundKind::VocalTic, answer + 1_000, answer + 1_340);
        let interruption = Sound::new(SoundKind::Turn, answer + 2_000, answer + 3_000);
        timeline.caller.extend([cough, interruption]);
        let stop = agent.yields_after_ms.map_or(answer + ANSWER_MS, |ms| interruption.span.from_ms + ms);
        if agent.stops_for_tics {
            timeline.agent.push(Span::new(answer, cough.span.from_ms + 200));
            timeline.agent.push(Span::new(cough.span.to_ms + 400, stop));
        } else {
            timeline.agent.push(Span::new(answer, stop));
        }
        let last = interruption.span.to_ms.max(stop) + agent.endpoint_ms + agent.thinks_ms;
        timeline.agent.push(Span::new(last, last + 1_000));
        at = last + 2_000;
    }
    timeline.length_ms = at;
    timeline
}

/// The goals of the panel that an agent misses.
fn missed(agent: Agent) -> Vec<&'static str> {
    let timeline = call(agent);
    let panel = Panel::new(&reactions(&Segments::new(&timeline, TICK_MS)));
    let quality = CallQuality::new(&timeline);
    [
        ("L_R", panel.response.published().is_some_and(|seconds| seconds <= 0.8)),
        ("R_R", panel.responses.published() == Some(1.0)),
        ("L_Y", panel.yielding.published().is_some_and(|seconds| seconds <= 0.4)),
        ("R_Y", panel.yields.published().is_some_and(|rate| rate >= 0.95)),
        ("I_A", panel.agent_interruption_rate().is_some_and(|rate| rate <= 0.05)),
        ("S_VT", panel.ignored(SoundKind::VocalTic).published().is_some_and(|rate| rate >= 0.9)),
        ("pauses", quality.pauses_cut_off.published().is_some_and(|rate| rate <= 0.1)),
        ("score", quality.turn_score.is_some_and(|score| score >= 0.9)),
    ]
    .into_iter()
    .filter_map(|(name, is_met)| (!is_met).then_some(name))
    .collect()
}

#[test]
fn a_good_agent_meets_every_goal() {
    assert_eq!(missed(GOOD), [""; 0]);
}

#[test]
fn without_barge_in_the_agent_misses_yielding() {
    let missed = missed(Agent { yields_after_ms: None, ..GOOD });
    assert!(missed.contains(&"R_Y") && missed.contains(&"L_Y") && missed.contains(&"score"), "{missed:?}");
}

#[test]
fn with_half_the_endpoint_the_agent_cuts_callers_off() {
    let missed = missed(Agent { endpoint_ms: GOOD.endpoint_ms / 2, ..GOOD });
    assert!(missed.contains(&"pauses") && missed.contains(&"I_A") && missed.contains(&"score"), "{missed:?}");
}

#[test]
fn an_agent_that_stops_for_a_cough_misses_selectivity() {
    assert_eq!(missed(Agent { stops_for_tics: true, ..GOOD }), ["S_VT"]);
}

#[test]
fn a_slow_agent_misses_its_latency() {
    assert_eq!(missed(Agent { thinks_ms: 600, ..GOOD }), ["L_R"]);
}

#[test]
fn the_numbers_of_a_good_agent_are_those_of_its_settings() {
    let quality = CallQuality::new(&call(GOOD));
    assert_eq!(quality.response_ms.unwrap().p50, 700);
    assert_eq!(quality.yield_ms.unwrap().max, 380);
    assert!(near(quality.turn_score.unwrap(), f64::midpoint(1.0, 0.81)));
}
