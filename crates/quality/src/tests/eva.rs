//! Every point that EVA lists for its curves, and the cases of its tests (`ServiceNow/eva`,
//! `docs/metrics/turn_taking.md` and `tests/unit/metrics/test_turn_taking.py`, MIT).

use super::{near, spans, timeline};
use crate::{
    CallQuality, SoundKind, Turn, call_score, count_score, latency_score, overlap_score, turns, yield_score,
};

#[test]
fn every_listed_point_lies_on_its_curve() {
    for (ms, plain, with_function) in [
        (-1_000.0, 0.0, 0.0),
        (-500.0, 0.0, 0.0),
        (-200.0, 0.3, 0.3),
        (0.0, 0.5, 0.5),
        (200.0, 0.7, 0.7),
        (500.0, 1.0, 1.0),
        (1_000.0, 1.0, 1.0),
        (2_000.0, 1.0, 1.0),
        (2_500.0, 0.6667, 1.0),
        (2_750.0, 0.5, 1.0),
        (3_000.0, 0.3333, 1.0),
        (3_500.0, 0.0, 0.75),
        (4_000.0, 0.0, 0.5),
        (4_500.0, 0.0, 0.25),
        (5_000.0, 0.0, 0.0),
        (8_000.0, 0.0, 0.0),
    ] {
        assert!(near(latency_score(ms, false), plain), "{ms}");
        assert!(near(latency_score(ms, true), with_function), "{ms} with a function call");
    }
    for (ms, score) in
        [(0.0, 0.5), (200.0, 0.45), (500.0, 0.375), (1_000.0, 0.25), (2_000.0, 0.0), (9_000.0, 0.0)]
    {
        assert!(near(overlap_score(ms), score), "overlap {ms}");
    }
    for (count, score) in [(1, 0.5), (2, 0.25), (3, 0.0), (4, 0.0), (10, 0.0)] {
        assert!(near(count_score(count), score), "count {count}");
    }
    for (ms, score) in
        [(0.0, 1.0), (200.0, 0.9), (600.0, 0.7), (1_000.0, 0.5), (2_000.0, 0.0), (2_500.0, 0.0)]
    {
        assert!(near(yield_score(ms), score), "yield {ms}");
    }
}

fn turn(caller: &[(u32, u32)], agent: &[(u32, u32)]) -> Turn {
    Turn { caller: spans(caller), agent: spans(agent), ..Turn::default() }
}

#[test]
fn an_interruption_by_the_agent_scores_at_most_a_half() {
    let interrupts =
        |caller: &[(u32, u32)], agent: &[(u32, u32)]| Turn { agent_interrupts: true, ..turn(caller, agent) };
    for (case, overlap_ms, count, settled_ms, score) in [
        (interrupts(&[(0, 1_000)], &[(800, 1_000), (9_000, 10_000)]), 200, 1, Some(8_000), 0.0),
        (interrupts(&[(0, 1_000)], &[(800, 1_000), (2_000, 3_000)]), 200, 1, Some(1_000), 0.45),
        (interrupts(&[(0, 2_000)], &[(500, 1_500)]), 1_000, 1, None, 0.25),
        (interrupts(&[(0, 1_000)], &[(830, 5_000), (5_000, 7_500), (7_500, 9_000)]), 170, 1, None, 0.4575),
        (interrupts(&[(0, 10_000)], &[(2_000, 2_500), (5_000, 5_500), (8_000, 8_500)]), 1_500, 3, None, 0.0),
        (
            interrupts(&[(0, 10_000)], &[(2_000, 2_050), (5_000, 5_050), (11_000, 12_000)]),
            100,
            2,
            Some(1_000),
            0.25,
        ),
        (
            interrupts(&[(0, 4_000), (18_000, 27_000)], &[(3_800, 14_000), (30_000, 40_000)]),
            200,
            1,
            Some(3_000),
            0.3333,
        ),
    ] {
        assert_eq!(
            (case.overlap_ms(), case.interruptions(), case.settled_after_ms()),
            (overlap_ms, count, settled_ms)
        );
        assert!(near(case.score().unwrap(), score), "{case:?}: {:?}", case.score());
    }
    let tool = Turn { has_function_call: true, ..interrupts(&[(0, 1_000)], &[(800, 1_000), (5_000, 6_000)]) };
    // 4 s to the settled response: 0.5 with a function call, 0 without one; the overlap scores 0.45.
    assert!(near(tool.score().unwrap(), 0.45));
    assert!(near(Turn { has_function_call: false, ..tool }.score().unwrap(), 0.0));
}

#[test]
fn an_interruption_by_the_caller_scores_by_the_time_to_yield() {
    let cut = |until: u32| Turn {
        caller_interrupts: true,
        agent_before_until_ms: Some(until),
        ..turn(&[(3_000, 4_000)], &[(5_000, 6_000)])
    };
    assert!(near(cut(3_100).score().unwrap(), 0.95));
    assert!(near(cut(4_500).score().unwrap(), 0.25));
    let both = Turn { agent_interrupts: true, agent: spans(&[(3_500, 4_500)]), ..cut(3_100) };
    assert!(near(both.score().unwrap(), 0.375), "the lower score counts");
}

#[test]
fn a_call_scores_the_mean_of_its_turns_or_nothing_if_the_last_is_unanswered() {
    let turns = [turn(&[(0, 1_000)], &[(2_000, 3_500)]), turn(&[(5_000, 6_000)], &[(9_000, 9_500)])];
    assert!(near(call_score(&turns, false).unwrap(), f64::midpoint(1.0, 0.3333)));
    assert_eq!(call_score(&turns, true), Some(0.0));
    assert_eq!(call_score(&[turn(&[(0, 1_000)], &[])], false), None);
}

#[test]
fn the_turns_of_a_timeline_have_who_interrupts_whom() {
    let words = |from, to| (SoundKind::Turn, from, to);
    let caller = [
        words(3_000, 4_000),
        words(6_000, 7_000),
        (SoundKind::Backchannel, 7_900, 8_000),
        words(12_000, 14_000),
    ];
    let mut call = timeline(&caller, &[(0, 2_000), (4_600, 6_300), (7_500, 9_000), (13_000, 15_000)], 15_000);
    call.function_calls_ms.push(7_200);
    let found = turns(&call);
    let flags: Vec<_> = found
        .iter()
        .map(|turn| (turn.caller_interrupts, turn.agent_interrupts, turn.has_function_call))
        .collect();
    assert_eq!(flags, [(false, false, false), (true, false, true), (false, true, false)]);
    let scores: Vec<f64> = found.iter().map(|turn| turn.score().unwrap()).collect();
    assert_eq!(scores, [1.0, 0.85, 0.25]);
    // Words that continue before any response belong to the same turn.
    let pause = timeline(&[words(1_000, 2_000), words(3_000, 4_000)], &[(4_500, 5_000)], 5_000);
    assert_eq!(turns(&pause).len(), 1);
    assert_eq!(turns(&pause)[0].score(), Some(1.0));
}

#[test]
fn a_last_turn_that_waits_in_vain_makes_the_call_zero() {
    let caller = [(SoundKind::Turn, 3_000, 4_000), (SoundKind::Turn, 7_000, 8_000)];
    let score =
        |length_ms| CallQuality::new(&timeline(&caller, &[(0, 2_000), (4_600, 6_000)], length_ms)).turn_score;
    assert_eq!(score(11_400), Some(1.0), "the call ended before the response was due");
    assert_eq!(score(11_500), Some(0.0));
}
