//! `expect.quality`: limits on the turn-taking that is measured in a call's recording.

use switchboard_quality::{DeadAir, Rate, Side};

use super::{expectations::Mismatch, file::ExpectedQuality, measured_call::MeasuredCall};

/// Returns every limit that was not kept.
pub(super) fn check(expected: Option<&ExpectedQuality>, measured: Option<&MeasuredCall>) -> Vec<Mismatch> {
    let Some(expected) = expected else { return vec![] };
    let Some(MeasuredCall { quality, .. }) = measured else {
        let expected = "the call is recorded, so that its quality can be measured".to_owned();
        return vec![Mismatch { expected, happened: "there is no recording".to_owned() }];
    };
    let silence = |silence: &DeadAir| silence.span.to_ms - silence.span.from_ms;
    let agents = quality.dead_air.iter().filter(|silence| silence.whose == Side::Agent);
    let longest = agents.map(silence).max().unwrap_or(0);
    let ignored = Rate {
        hits: quality.backchannels.hits + quality.noises.hits,
        total: quality.backchannels.total + quality.noises.total,
    };
    let mut faults = vec![];
    for (name, limit, value) in [
        ("response_ms", expected.response_ms_max, quality.response_ms.map(|spread| spread.max)),
        ("yield_ms", expected.yield_ms_max, quality.yield_ms.map(|spread| spread.max)),
        ("agent_interruptions", expected.agent_interruptions_max, Some(quality.agent_interruptions)),
        ("pauses_cut_off", expected.pauses_cut_off_max, Some(quality.pauses_cut_off.hits)),
        ("the agent's dead air in ms", expected.dead_air_ms_max, Some(longest)),
    ] {
        if let Some(limit) = limit
            && value.is_none_or(|value| value > limit)
        {
            let happened =
                value.map_or("there was nothing to measure".to_owned(), |value| format!("it is {value}"));
            faults.push(Mismatch { expected: format!("{name} is at most {limit}"), happened });
        }
    }
    for (wanted, rate, done, events) in [
        (expected.yields, quality.yields, "yields to", "interruption"),
        (expected.ignores, ignored, "ignores", "sound that wants no response"),
    ] {
        let Some(wanted) = wanted else { continue };
        if rate.total == 0 || rate.hits != if wanted { rate.total } else { 0 } {
            let all = if wanted { "every" } else { "no" };
            faults.push(Mismatch {
                expected: format!("the agent {done} {all} {events}"),
                happened: format!("to {} of {}", rate.hits, rate.total),
            });
        }
    }
    if let Some(limit) = expected.turn_score_min
        && quality.turn_score.is_none_or(|score| score < limit)
    {
        let happened =
            quality.turn_score.map_or("there is none".to_owned(), |score| format!("it is {score:.2}"));
        faults.push(Mismatch { expected: format!("the turn score is at least {limit}"), happened });
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::measured_call::{
            measure,
            tests::{recorded, script},
        },
        *,
    };

    fn faults(expected: Value) -> Vec<String> {
        let expected: ExpectedQuality = serde_json::from_value(expected).unwrap();
        let measured = measure(&recorded(), &script());
        let faults = check(Some(&expected), measured.as_ref());
        faults.into_iter().map(|fault| format!("{} | {}", fault.expected, fault.happened)).collect()
    }

    #[test]
    fn limits_that_are_kept_are_no_faults() {
        let kept = json!({
            "response_ms_max": 800, "yields": true, "yield_ms_max": 400, "ignores": true, "agent_interruptions_max": 0,
            "pauses_cut_off_max": 0, "dead_air_ms_max": 3000, "turn_score_min": 0.9,
        });
        assert_eq!(faults(kept), [""; 0]);
        assert_eq!(check(None, None), []);
    }

    #[test]
    fn each_limit_that_is_not_kept_shows_the_measure() {
        for (limit, says) in [
            (json!({ "response_ms_max": 799 }), "response_ms is at most 799 | it is 800"),
            (json!({ "yield_ms_max": 399 }), "yield_ms is at most 399 | it is 400"),
            (json!({ "yields": false }), "the agent yields to no interruption | to 1 of 1"),
            (json!({ "ignores": false }), "the agent ignores no sound that wants no response | to 1 of 1"),
            (json!({ "turn_score_min": 1.5 }), "the turn score is at least 1.5 | it is 1.00"),
        ] {
            assert_eq!(faults(limit), [says]);
        }
    }

    #[test]
    fn limits_on_a_call_that_was_not_measured_fail() {
        let faults = check(Some(&ExpectedQuality::default()), None);
        assert_eq!(faults[0].happened, "there is no recording");
    }
}
