//! The quality of an ended conversation: its turn-taking, as the API shows it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard_quality::{CallQuality, Rate, Side};

use crate::time::Timestamp;

/// The version of the definitions.
const VERSION: u32 = 1;

/// The turn-taking of a conversation. A member without events is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Quality")]
pub struct Quality {
    /// The version of the definitions; numbers of different versions are not comparable.
    pub version: u32,
    /// Whether the kinds of the caller's sounds are estimated, as in every live call.
    pub estimated: bool,
    /// The caller's turns.
    pub turns: u32,
    /// From the end of a turn to the agent's response, in milliseconds.
    pub response_ms: Option<ResponseTimes>,
    /// From the beginning of an interruption until the agent was silent, in milliseconds.
    pub yield_ms: Option<YieldTimes>,
    /// The share of turns that were answered before the caller spoke again.
    pub response_rate: Option<f64>,
    /// The share of interruptions to which the agent yielded within 2 s.
    pub yield_rate: Option<f64>,
    /// How often the agent began to speak while the caller spoke.
    pub agent_interruptions: u32,
    /// Words like "uh-huh" while the agent spoke.
    pub backchannels: Option<Backchannels>,
    /// Coughs, and other sounds that want no response.
    pub noises: Option<Noises>,
    /// For how long both sides spoke, in milliseconds.
    pub talk_over_ms: u32,
    /// Silence of both sides over 3 s; of many, the 20 longest.
    pub dead_air: Vec<Silence>,
    /// The turn score of `ServiceNow/eva`, 0 to 1.
    pub turn_score: Option<f64>,
}

/// Times to a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QualityResponseTimes")]
pub struct ResponseTimes {
    /// The median.
    pub p50: u32,
    /// The 90th percentile.
    pub p90: u32,
    /// The maximum.
    pub max: u32,
}

/// Times until the agent was silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QualityYieldTimes")]
pub struct YieldTimes {
    /// The median.
    pub p50: u32,
    /// The maximum.
    pub max: u32,
}

/// Backchannel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QualityBackchannels")]
pub struct Backchannels {
    /// All.
    pub total: u32,
    /// Those during which the agent spoke on.
    pub talked_through: u32,
}

/// Sounds that want no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QualityNoises")]
pub struct Noises {
    /// All.
    pub total: u32,
    /// Those for which the agent neither stopped nor began to speak.
    pub ignored: u32,
}

/// Silence of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QualitySilence")]
pub struct Silence {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// The side whose turn it was.
    pub whose: SilentSide,
}

/// A side of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QualitySide")]
#[serde(rename_all = "snake_case")]
pub enum SilentSide {
    /// The agent.
    Agent,
    /// The caller.
    User,
}

impl Quality {
    /// The stored form of a call's numbers, whose times count from `started_at`.
    #[must_use]
    pub fn new(call: &CallQuality, estimated: bool, started_at: Timestamp) -> Self {
        let at = |ms: u32| started_at.after(Duration::from_millis(ms.into()));
        let silence = |silence: &switchboard_quality::DeadAir| Silence {
            from: at(silence.span.from_ms),
            to: at(silence.span.to_ms),
            whose: match silence.whose {
                Side::Agent => SilentSide::Agent,
                Side::Caller => SilentSide::User,
            },
        };
        let counted = |rate: Rate| (rate.total > 0).then_some(rate);
        Self {
            version: VERSION,
            estimated,
            turns: call.turns,
            response_ms: call.response_ms.map(|spread| ResponseTimes {
                p50: spread.p50,
                p90: spread.p90,
                max: spread.max,
            }),
            yield_ms: call.yield_ms.map(|spread| YieldTimes { p50: spread.p50, max: spread.max }),
            response_rate: call.responses.value().map(rounded),
            yield_rate: call.yields.value().map(rounded),
            agent_interruptions: call.agent_interruptions,
            backchannels: counted(call.backchannels)
                .map(|rate| Backchannels { total: rate.total, talked_through: rate.hits }),
            noises: counted(call.noises).map(|rate| Noises { total: rate.total, ignored: rate.hits }),
            talk_over_ms: call.talk_over_ms,
            dead_air: call.dead_air.iter().map(silence).collect(),
            turn_score: call.turn_score.map(rounded),
        }
    }
}

/// Three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use switchboard_quality::{Sound, SoundKind, Span, Timeline};

    use super::*;

    fn quality(caller: Vec<Sound>, agent: &[(u32, u32)], length_ms: u32) -> serde_json::Value {
        let agent = agent.iter().map(|(from, to)| Span::new(*from, *to)).collect();
        let timeline = Timeline { caller, agent, length_ms, ..Timeline::default() };
        let call = CallQuality::new(&timeline);
        json!(Quality::new(&call, true, Timestamp::from_millis(1_000_000)))
    }

    #[test]
    fn the_stored_quality_has_the_documented_members() {
        let caller = vec![
            Sound::new(SoundKind::Turn, 2_000, 3_000),
            Sound::new(SoundKind::Backchannel, 4_000, 4_200),
            Sound::new(SoundKind::Turn, 5_000, 6_000),
            Sound::new(SoundKind::Noise, 12_000, 12_100),
        ];
        assert_eq!(
            quality(caller, &[(0, 1_500), (3_700, 5_310), (6_900, 8_000)], 15_000),
            json!({
                "version": 1,
                "estimated": true,
                "turns": 2,
                "response_ms": { "p50": 900, "p90": 900, "max": 900 },
                "yield_ms": { "p50": 310, "max": 310 },
                "response_rate": 1.0,
                "yield_rate": 1.0,
                "agent_interruptions": 0,
                "backchannels": { "total": 1, "talked_through": 1 },
                "noises": { "total": 1, "ignored": 1 },
                "talk_over_ms": 310,
                "dead_air": [
                    { "from": "1970-01-01T00:16:48.000Z", "to": "1970-01-01T00:16:55.000Z", "whose": "user" },
                ],
                "turn_score": 0.923,
            })
        );
    }

    #[test]
    fn a_member_without_events_is_null() {
        let empty = quality(vec![], &[(0, 1_500)], 1_500);
        for name in
            ["response_ms", "yield_ms", "response_rate", "yield_rate", "backchannels", "noises", "turn_score"]
        {
            assert!(empty[name].is_null(), "{name}: {empty}");
        }
        assert_eq!((&empty["turns"], &empty["dead_air"]), (&json!(0), &json!([])));
    }
}
