use SoundKind::{Backchannel, Noise, Turn as Words, VocalTic};

use super::{near, spans, timeline};
use crate::{
    CallQuality, HeardWords, MAX_DEAD_AIR, Panel, Rate, Segments, Side, Sound, SoundKind, Span, Spread,
    TICK_MS, Timeline, dead_air, pauses_cut_off, reactions, talk_over_ms,
};

fn panel(timeline: &Timeline) -> Panel {
    Panel::new(&reactions(&Segments::new(timeline, TICK_MS)))
}

#[test]
fn a_short_pause_of_the_agent_is_no_stop() {
    let stops_for = |pause: u32| {
        let call = timeline(&[(VocalTic, 2_000, 2_300)], &[(0, 2_200), (2_200 + pause, 6_000)], 7_000);
        panel(&call).ignored(VocalTic)
    };
    assert_eq!(stops_for(299), Rate { hits: 1, total: 1 });
    assert_eq!(stops_for(600), Rate { hits: 0, total: 1 });
}

#[test]
fn a_sound_that_wants_no_response_is_no_turn() {
    let caller = [(Words, 1_000, 2_000), (VocalTic, 2_200, 2_500), (Noise, 5_000, 5_300)];
    let panel = panel(&timeline(&caller, &[(2_900, 4_000)], 8_000));
    assert_eq!(panel.responses, Rate { hits: 1, total: 1 });
    assert_eq!(panel.ignored(Noise), Rate { hits: 1, total: 1 });
    let answered = [(Words, 1_000, 2_000), (Noise, 5_000, 5_300)];
    let answered = self::panel(&timeline(&answered, &[(2_900, 4_000), (6_300, 7_000)], 8_000));
    assert_eq!(answered.ignored(Noise), Rate { hits: 0, total: 1 });
}

#[test]
fn a_turn_with_a_known_pause_is_one_turn() {
    let mut call = timeline(&[(Words, 1_000, 2_000), (Words, 3_400, 4_000)], &[(4_600, 6_000)], 6_000);
    assert_eq!(panel(&call).responses, Rate { hits: 1, total: 2 });
    call.caller[0].continues = true;
    assert_eq!(panel(&call).responses, Rate { hits: 1, total: 1 });
    assert_eq!(pauses_cut_off(&call), Rate { hits: 0, total: 1 });
    call.agent.insert(0, Span::new(2_600, 3_500));
    assert_eq!(pauses_cut_off(&call), Rate { hits: 1, total: 1 });
    assert_eq!(panel(&call).agent_interruptions, 1);
}

#[test]
fn a_call_is_measured_in_milliseconds() {
    let caller =
        [(Words, 3_010, 4_000), (Backchannel, 5_000, 5_300), (Words, 6_000, 7_000), (Noise, 12_000, 12_100)];
    let agent = [(150, 2_000), (4_555, 6_370), (7_610, 9_000)];
    let quality = CallQuality::new(&timeline(&caller, &agent, 13_000));
    let spread = |p50, p90, max| Some(Spread { p50, p90, max });
    assert_eq!((quality.turns, quality.first_word_ms), (2, Some(150)));
    assert_eq!((quality.response_ms, quality.yield_ms), (spread(610, 610, 610), spread(370, 370, 370)));
    assert_eq!((quality.responses.value(), quality.yields.value()), (Some(1.0), Some(1.0)));
    assert_eq!(
        (quality.backchannels, quality.noises),
        (Rate { hits: 1, total: 1 }, Rate { hits: 1, total: 1 })
    );
    assert_eq!((quality.agent_interruptions, quality.talk_over_ms), (0, 370));
    assert!(near(quality.turn_score.unwrap(), 0.9075));
    let silence: Vec<_> = quality.dead_air.iter().map(|silence| (silence.span, silence.whose)).collect();
    assert_eq!(silence, [(Span::new(9_000, 13_000), Side::Caller)]);
}

#[test]
fn a_measure_without_events_is_absent() {
    let quality = CallQuality::new(&timeline(&[], &[(0, 2_000)], 2_000));
    assert_eq!(
        (quality.turns, quality.turn_score, quality.response_ms, quality.yield_ms),
        (0, None, None, None)
    );
    assert_eq!((quality.responses.value(), quality.yields.value()), (None, None));
    assert_eq!(CallQuality::new(&Timeline::default()).first_word_ms, None);
}

#[test]
fn dead_air_belongs_to_the_side_whose_turn_it_was() {
    let call = timeline(
        &[(Words, 8_000, 9_000), (Noise, 13_000, 14_000), (Words, 20_000, 21_000)],
        &[(3_100, 4_000), (22_000, 23_000)],
        26_001,
    );
    let found: Vec<_> = dead_air(&call).iter().map(|found| (found.span, found.whose)).collect();
    assert_eq!(
        found,
        [
            (Span::new(0, 3_100), Side::Agent),
            (Span::new(4_000, 8_000), Side::Caller),
            // Babble does not end it.
            (Span::new(9_000, 20_000), Side::Agent),
            (Span::new(23_000, 26_001), Side::Caller),
        ]
    );
}

#[test]
fn a_call_lists_its_longest_silences() {
    let agent: Vec<_> = (0..40).map(|n| (n * 10_000, n * 10_000 + 1_000 + n)).collect();
    let quality = CallQuality::new(&timeline(&[], &agent, 400_000));
    assert_eq!(quality.dead_air.len(), MAX_DEAD_AIR);
    assert_eq!(quality.dead_air[0].span, Span::new(1_000, 10_000));
}

#[test]
fn talk_over_counts_words_for_the_agent_alone() {
    let call = timeline(&[(Words, 1_000, 2_000), (Backchannel, 3_000, 3_400)], &[(1_800, 5_000)], 5_000);
    assert_eq!(talk_over_ms(&call), 200);
}

#[test]
fn heard_words_have_an_error_rate() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut all = HeardWords::between(&words("we close at six in"), &words("we close at six"));
    assert_eq!(all, HeardWords { stored: 5, errors: 1 });
    all.add(HeardWords::between(&words("yes it is sir now"), &words("yes it is sir now")));
    assert_eq!(all.rate(), Some(0.1));
    assert_eq!(HeardWords::default().rate(), None);
}

#[test]
fn percentiles_are_those_of_the_turn_score() {
    assert_eq!(Spread::new((1..=10).collect()), Some(Spread { p50: 6, p90: 10, max: 10 }));
    assert_eq!(Spread::new(vec![]), None);
    assert_eq!(spans(&[(5, 3)]), [Span::new(5, 5)]);
    assert_eq!(Sound::new(Noise, 1, 2).span.overlap_ms(Span::new(3, 4)), 0);
}
