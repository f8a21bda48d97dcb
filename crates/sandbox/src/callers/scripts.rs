//! The JSON of a script, read and validated. [`super`] describes the format. Errors are written for authors of scripts.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The default delay of a reply.
pub(super) const REPLY_WAIT: Duration = Duration::from_millis(500);

const MAX_ACTS: usize = 100;
/// Maximum length of a line, in characters.
const MAX_TEXT: usize = 1000;
const MAX_KEYS: usize = 32;
const MAX_WAIT_MS: u64 = 600_000;
const MAX_CUT_MS: u64 = 60_000;
const MAX_ECHO_MS: u64 = 1000;

/// A person's script.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Script {
    pub(super) speed: f32,
    pub(super) acts: Vec<Act>,
    pub(super) when_nobody_speaks: Option<String>,
    pub(super) machine: bool,
    pub(super) echo: Option<Echo>,
    pub(super) noise_db: Option<f32>,
}

/// An act of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Act {
    pub(super) after: After,
    pub(super) wait: Duration,
    pub(super) deed: Deed,
    /// The time after which it is cut off.
    pub(super) cut: Option<Duration>,
    pub(super) then_hang_up: bool,
}

/// The event that an act waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum After {
    /// The agent has finished, and was understood.
    Reply,
    /// The agent begins to be heard.
    Speech,
    /// The previous act has ended.
    Act,
    /// The call was answered.
    Start,
}

/// The content of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    Say(String),
    Sound(Sound),
    Keys(String),
    HangUp,
}

/// A sound without words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sound {
    Cough,
    Hum,
    Beep,
}

impl Sound {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cough => "cough",
            Self::Hum => "hum",
            Self::Beep => "beep",
        }
    }
}

/// An echo of the agent on a person's line.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Echo {
    /// Gain in dB, relative to the agent's audio.
    pub(super) db: f32,
    delay_ms: u64,
}

impl Echo {
    /// The delay in whole frames of 20 ms.
    pub(super) fn frames(self) -> usize {
        usize::try_from(self.delay_ms / 20).unwrap_or(0)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenScript {
    #[serde(rename = "about")]
    _about: Option<Value>,
    /// The default of the built-in people, who share one voice with the agent.
    #[serde(default = "person_speed")]
    speed: f32,
    acts: Vec<Value>,
    when_nobody_speaks: Option<String>,
    #[serde(default)]
    machine: bool,
    echo: Option<Echo>,
    noise_db: Option<f32>,
}

fn person_speed() -> f32 {
    1.08
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAct {
    #[serde(rename = "about")]
    _about: Option<Value>,
    after: Option<After>,
    wait_ms: Option<u64>,
    say: Option<String>,
    sound: Option<Sound>,
    keys: Option<String>,
    hang_up: Option<bool>,
    cut_ms: Option<u64>,
    #[serde(default)]
    then_hang_up: bool,
}

impl Script {
    /// Reads a script; the error names the mistake and its place.
    pub(crate) fn read(json: Value) -> Result<Self, String> {
        let written: WrittenScript = serde_json::from_value(json).map_err(|error| error.to_string())?;
        let WrittenScript { speed, acts, when_nobody_speaks, machine, echo, noise_db, .. } = written;
        within("speed", speed, 0.5, 2.0)?;
        if acts.len() > MAX_ACTS {
            return Err(format!("acts: over {MAX_ACTS}"));
        }
        if let Some(text) = &when_nobody_speaks {
            speakable(text).map_err(|error| format!("when_nobody_speaks: {error}"))?;
        }
        if let Some(Echo { db, delay_ms }) = echo {
            within("echo.db", db, -60.0, 0.0)?;
            at_most("echo.delay_ms", delay_ms, MAX_ECHO_MS)?;
        }
        if let Some(db) = noise_db {
            within("noise_db", db, -80.0, -48.0)?;
        }
        let acts = acts.into_iter().enumerate();
        let acts = acts.map(|(n, act)| Act::read(act).map_err(|error| format!("acts[{n}]: {error}")));
        Ok(Self { speed, acts: acts.collect::<Result<_, _>>()?, when_nobody_speaks, machine, echo, noise_db })
    }

    /// All texts that must be synthesized.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let said = self.acts.iter().filter_map(|act| match &act.deed {
            Deed::Say(text) => Some(text.as_str()),
            Deed::Sound(_) | Deed::Keys(_) | Deed::HangUp => None,
        });
        said.chain(self.when_nobody_speaks.as_deref())
    }
}

impl Act {
    fn read(json: Value) -> Result<Self, String> {
        if let Value::String(text) = json {
            let deed = Deed::say(text)?;
            return Ok(Self { after: After::Reply, wait: REPLY_WAIT, deed, cut: None, then_hang_up: false });
        }
        let WrittenAct { after, wait_ms, say, sound, keys, hang_up, cut_ms, then_hang_up, .. } =
            serde_json::from_value(json).map_err(|error| error.to_string())?;
        let deed = match (say, sound, keys, hang_up) {
            (Some(text), None, None, None) => Deed::say(text)?,
            (None, Some(sound), None, None) => Deed::Sound(sound),
            (None, None, Some(keys), None) => Deed::keys(keys)?,
            (None, None, None, Some(true)) => Deed::HangUp,
            _ => return Err("needs exactly one of say, sound, keys and hang_up (true)".to_owned()),
        };
        let after = after.unwrap_or(After::Reply);
        if let Some(wait) = wait_ms {
            at_most("wait_ms", wait, MAX_WAIT_MS)?;
        }
        let default = if after == After::Reply { REPLY_WAIT } else { Duration::ZERO };
        if let Some(cut) = cut_ms {
            at_most("cut_ms", cut, MAX_CUT_MS)?;
            if !matches!(deed, Deed::Say(_) | Deed::Sound(_)) {
                return Err("only what is said, or a sound, has a cut_ms".to_owned());
            }
        }
        let cut = cut_ms.map(Duration::from_millis);
        Ok(Self { after, wait: wait_ms.map_or(default, Duration::from_millis), deed, cut, then_hang_up })
    }
}

impl Deed {
    fn say(text: String) -> Result<Self, String> {
        speakable(&text)?;
        Ok(Self::Say(text))
    }

    fn keys(keys: String) -> Result<Self, String> {
        let pressable = |key: char| key.is_ascii_digit() || matches!(key, '*' | '#');
        if keys.is_empty() || keys.len() > MAX_KEYS || !keys.chars().all(pressable) {
            return Err(format!("keys are one to {MAX_KEYS} of 0-9, * and #"));
        }
        Ok(Self::Keys(keys))
    }
}

fn speakable(text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.chars().count() > MAX_TEXT {
        return Err(format!("what is said has one to {MAX_TEXT} characters"));
    }
    Ok(())
}

fn within(name: &str, value: f32, from: f32, to: f32) -> Result<(), String> {
    if (from..=to).contains(&value) { Ok(()) } else { Err(format!("{name} is between {from} and {to}")) }
}

fn at_most(name: &str, value: u64, limit: u64) -> Result<(), String> {
    if value <= limit { Ok(()) } else { Err(format!("{name} is at most {limit}")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_string_is_said_half_a_second_after_the_agent_has_finished() {
        let script = Script::read(json!({ "acts": ["Yes."] })).unwrap();
        let long = json!({ "acts": [{ "after": "reply", "wait_ms": 500, "say": "Yes." }] });
        assert_eq!(script, Script::read(long).unwrap());
    }

    #[test]
    fn an_act_after_another_event_has_no_default_delay() {
        for after in ["speech", "act", "start"] {
            let script = Script::read(json!({ "acts": [{ "after": after, "keys": "1" }] })).unwrap();
            assert_eq!(script.acts[0].wait, Duration::ZERO, "{after}");
        }
    }

    #[test]
    fn a_mistake_in_a_script_is_named_with_its_place() {
        let act = |act: Value| json!({ "acts": ["Yes.", act] });
        let cases = [
            (json!({}), "missing field `acts`"),
            (json!([]), "invalid length 0"),
            (json!({ "acts": [], "lines": [] }), "unknown field `lines`"),
            (json!({ "acts": [], "speed": 9 }), "speed is between 0.5 and 2"),
            (json!({ "acts": [], "when_nobody_speaks": " " }), "when_nobody_speaks: what is said has"),
            (json!({ "acts": [], "echo": { "db": 3, "delay_ms": 1 } }), "echo.db is between -60 and 0"),
            (json!({ "acts": [], "echo": { "db": -3, "delay_ms": 1001 } }), "echo.delay_ms is at most 1000"),
            (json!({ "acts": [], "noise_db": 0 }), "noise_db is between -80 and -48"),
            (json!({ "acts": vec!["Yes."; 101] }), "acts: over 100"),
            (act(json!(7)), "acts[1]: invalid type"),
            (act(json!("")), "acts[1]: what is said has"),
            (act(json!({})), "acts[1]: needs exactly one of"),
            (act(json!({ "say": "a", "keys": "1" })), "acts[1]: needs exactly one of"),
            (act(json!({ "hang_up": false })), "acts[1]: needs exactly one of"),
            (act(json!({ "sound": "sneeze" })), "acts[1]: unknown variant `sneeze`, expected one of `cough`"),
            (act(json!({ "after": "noon", "say": "a" })), "acts[1]: unknown variant `noon`"),
            (act(json!({ "keys": "1x" })), "acts[1]: keys are one to 32 of"),
            (act(json!({ "say": "a", "wait_ms": 600_001 })), "acts[1]: wait_ms is at most"),
            (act(json!({ "say": "a", "wait_ms": -1 })), "acts[1]: invalid value"),
            (act(json!({ "keys": "1", "cut_ms": 5 })), "acts[1]: only what is said"),
            (act(json!({ "say": "a", "cut_ms": 60_001 })), "acts[1]: cut_ms is at most"),
            (act(json!({ "say": "a", "them_hang_up": true })), "acts[1]: unknown field `them_hang_up`"),
        ];
        for (json, expected) in cases {
            let error = Script::read(json.clone()).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
