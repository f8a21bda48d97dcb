//! tau-voice's golden values: three real calls and their panel by the paper's own pipeline, and the cases of its tests.
//!
//! The calls and the values are from `sierra-research/tau2-bench`, `tests/test_voice/test_interaction_metrics/testdata`
//! (MIT, Copyright (c) 2025 Sierra Research), reduced to what each tick contains.

use crate::{CallerSegment, Panel, Reaction, Segments, SoundKind, Stimulus, TICK_MS, Ticks, reactions};

/// Each call as runs of equal ticks: their number, then `u` (the caller speaks), `a` (the agent speaks), `b` (the speech is
/// backchannel), `t` (a vocal tic), `n` (speech that is not directed at the agent), or `-`.
const CALLS: [&str; 3] = [
    "26- 56u 6- 12a 8- 45u 6- 3a 1an 2a 9- 14a 1an 2a 6- 34u 5- 60a 1at 3a 3- 1t 2- 3ua 46u 6- 38a 3ua 26u 7- 34a 3ua 66u 4- \
     15a 3- 4a 6- 12u 8- 37a 5- 47a 1uab 5ua 4- 80a 3ua 8u 5- 83a 6- 5ua 2a 5- 80a 6- 1u",
    "26- 65ut 3uat 68ut 7- 16a 1an 2a 6- 3ua 36u 6- 50a 3uat 48ut 10- 59a 3ua 18u 14- 112a 1at 52a 1uab 2ua 1u 9- 17a 3ua 7u \
     6- 124a 3ua 11u 6- 40a 3ua 16u 11- 90a 3ua 8u 7- 42a 3ua 8- 119a 3ua 8u 9- 172a 1an 2a 6- 3ua 16u 5- 1a 1at 4a 2- 4a 3- \
     1t 5- 11u 7- 216a 5ua 1u 11- 88a 6- 9u 4- 56a 1ua",
    "6- 1n 13- 69a 3ua 3u 4- 57a 6- 22u 2ua 36u 12- 49a 6- 17u 6- 27a 3ua 2u 7- 38a 4ua 2u 5- 89a 4ua 40u 26- 8u 9- 73a 1uab \
     2ua 3u 8- 26a 3ua 22u 8- 137a 3ua 26u 4- 112a 1an 5a 6- 3ua 1u 13- 8a 1an 2a 6- 9ut 5uat 58a 6- 6u 5- 34a 6- 30u 11- 89a \
     3ua 2u 6- 19a 1ua",
];

/// Reads a call. A last tick in which the caller begins to speak is its simulator's sign of the end, and removed.
fn read(call: &str) -> Segments {
    let mut ticks: Vec<&str> = vec![];
    for run in call.split_whitespace() {
        let at = run.find(|c: char| !c.is_ascii_digit()).unwrap();
        let (count, content) = run.split_at(at);
        ticks.extend(std::iter::repeat_n(content, count.parse().unwrap()));
    }
    if let [.., before, last] = ticks[..]
        && last.contains('u')
        && !before.contains('u')
    {
        ticks.pop();
    }
    let runs = |is: &dyn Fn(&str) -> bool| {
        let mut found: Vec<Ticks> = vec![];
        for (tick, content) in (0..).zip(&ticks) {
            match found.last_mut() {
                Some(last) if is(content) && last.to == tick => last.to += 1,
                _ if is(content) => found.push(Ticks { from: tick, to: tick + 1 }),
                _ => {}
            }
        }
        found
    };
    let within = |ticks: Ticks, sign: char, contents: &[&str]| {
        contents[ticks.from as usize..ticks.to as usize].iter().any(|content| content.contains(sign))
    };
    let segment = |segment: Ticks| {
        let is_backchannel = ticks[segment.from as usize].contains('b');
        let kind = match () {
            () if is_backchannel => SoundKind::Backchannel,
            () if within(segment, 't', &ticks) => SoundKind::VocalTic,
            () if within(segment, 'n', &ticks) => SoundKind::NonDirected,
            () => SoundKind::Turn,
        };
        CallerSegment { ticks: segment, kind, is_turn: !is_backchannel }
    };
    let mut signals = vec![];
    for (sign, kind) in [('t', SoundKind::VocalTic), ('n', SoundKind::NonDirected)] {
        let found = runs(&|content| content.contains(sign) && !content.contains('u'));
        signals.extend(found.into_iter().map(|ticks| (ticks, kind)));
    }
    Segments {
        tick_ms: TICK_MS,
        length: u32::try_from(ticks.len()).unwrap(),
        caller: runs(&|content| content.contains('u')).into_iter().map(segment).collect(),
        signals,
        agent: runs(&|content| content.contains('a')),
    }
}

fn events(call: &str) -> Vec<Reaction> {
    reactions(&read(call))
}

#[test]
fn the_panel_of_the_published_calls_is_the_published_one() {
    let mut panel = Panel::default();
    for call in CALLS {
        panel.add(&Panel::new(&events(call)));
    }
    let ignored = |kind| panel.ignored(kind);
    assert_eq!((panel.responses.hits, panel.responses.total), (34, 35));
    assert_eq!(panel.yields.total, 23);
    assert_eq!(ignored(SoundKind::Backchannel).total, 3);
    assert_eq!(ignored(SoundKind::VocalTic).total, 7);
    assert_eq!(ignored(SoundKind::NonDirected).total, 6);
    assert_eq!(panel.agent_interruptions, 8);
    for (value, expected) in [
        (panel.response.seconds(), 1.458_823_529_411_764_6),
        (panel.yielding.seconds(), 0.669_565_217_391_304_4),
        (panel.responses.value(), 0.971_428_571_428_571_4),
        (panel.yields.value(), 1.0),
        (panel.agent_interruption_rate(), 0.228_571_428_571_428_56),
        (ignored(SoundKind::Backchannel).value(), 0.333_333_333_333_333_37),
        (ignored(SoundKind::VocalTic).value(), 0.142_857_142_857_142_9),
        (ignored(SoundKind::NonDirected).value(), 0.166_666_666_666_666_63),
    ] {
        assert!((value.unwrap() - expected).abs() < 1e-9, "{value:?} {expected}");
    }
}

#[test]
fn rates_of_fewer_than_ten_events_are_not_shown() {
    let mut panel = Panel::default();
    for call in CALLS {
        panel.add(&Panel::new(&events(call)));
    }
    assert!(panel.response.published().is_some() && panel.yields.published().is_some());
    assert_eq!(panel.ignored(SoundKind::VocalTic).published(), None);
    assert_eq!(panel.selectivity(), None);
    for _ in 0..3 {
        let again = panel;
        panel.add(&again);
    }
    // (1/3 + 1/7 + 1/6) / 3.
    assert!((panel.selectivity().unwrap() - 0.214_285_714).abs() < 1e-6);
}

#[test]
fn each_case_of_the_published_tests_has_its_events() {
    use SoundKind::{Backchannel, NonDirected, Turn, VocalTic};
    use Stimulus::{InSilence, TurnEnd, WhileAgentSpeaks};
    for (call, expected) in [
        ("5u 5- 5a 5-", vec![(TurnEnd, true, Some(1_000))]),
        ("5u 10- 5u 5- 3a 3-", vec![(TurnEnd, false, None), (TurnEnd, true, Some(1_000))]),
        ("4a 3ua 3u 5- 3a 2-", vec![(WhileAgentSpeaks(Turn), true, Some(600)), (TurnEnd, true, Some(1_000))]),
        ("2a 4ua 12a 2-", vec![(WhileAgentSpeaks(Turn), false, None)]),
        ("3a 1uab 1ua 8a 2-", vec![(WhileAgentSpeaks(Backchannel), true, None)]),
        ("3a 2uab 8-", vec![(WhileAgentSpeaks(Backchannel), false, Some(400))]),
        ("3a 2uat 8-", vec![(WhileAgentSpeaks(VocalTic), false, Some(400))]),
        ("3a 3- 2n 15-", vec![(InSilence(NonDirected), true, None)]),
        // A signal outside of the caller's segments while the agent speaks counts only if the agent stops.
        ("3a 1at 9a 2-", vec![]),
        ("3a 1at 4a 2-", vec![(WhileAgentSpeaks(VocalTic), false, Some(1_000))]),
    ] {
        let found: Vec<_> =
            events(call).iter().map(|event| (event.stimulus, event.is_right, event.latency_ms)).collect();
        assert_eq!(found, expected, "{call}");
    }
    let last = read("3a 1- 1u");
    assert_eq!((last.length, last.caller.len()), (4, 0));
    assert_eq!(read("3a 2u").caller.len(), 1);
}
