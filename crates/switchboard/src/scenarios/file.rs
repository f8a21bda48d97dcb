//! Scenario files: their format, which `docs/test-calls.md` explains, and how they are found.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use switchboard_model::{conversations::EndedReason, event_names::EventName, messages::Role};

use super::sound_kinds::{self, ScriptedSound};
use crate::evidence::AGENT;

/// A scenario and its agent.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// The agent's configuration, without the parts that the command adds.
    pub(super) agent: Value,
    pub(super) call: Call,
    /// The kinds of the caller's sounds, which the script in `call` no longer has.
    pub(super) sounds: Vec<ScriptedSound>,
}

/// A scenario: one scripted call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// A sentence that names the tested behaviour.
    pub(super) about: String,
    /// An object is merged into the demo's agent; a string is the path of a whole configuration.
    #[serde(default)]
    agent: Value,
    /// A whole configuration, in place of `agent`.
    agent_config: Option<Map<String, Value>>,
    /// The script of the sandbox's language model.
    pub(super) model: Option<Value>,
    #[serde(default)]
    pub(super) faults: ProviderFaults,
    #[serde(default)]
    pub(super) tools: BTreeMap<String, FunctionStub>,
    /// The script of the person who is called.
    pub(super) caller: Option<Value>,
    /// The number of one of the sandbox's own people, in place of `caller`.
    pub(super) to: Option<String>,
    /// The delay after the start of media at which the end of the conversation is requested.
    pub(super) end_after_ms: Option<u64>,
    pub(super) expect: Expectations,
}

/// Faults of the providers, in the sandbox's format.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProviderFaults {
    pub(super) language_model: Vec<Value>,
    pub(super) voice: Vec<Value>,
    pub(super) transcriber: Vec<Value>,
}

/// The response of a function.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FunctionStub {
    #[serde(default)]
    pub(super) answer: Value,
    #[serde(default)]
    pub(super) after_ms: u64,
    #[serde(default = "ok")]
    pub(super) status: u16,
}

fn ok() -> u16 {
    200
}

/// The expected outcome.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expectations {
    /// Expected messages in this order; others may lie between.
    pub(super) messages: Vec<ExpectedMessage>,
    /// Whether no other messages may exist.
    pub(super) exactly: bool,
    /// Phrases that the agent never says, neither in a stored message nor on the line.
    pub(super) never_said: Vec<String>,
    /// Phrases that the caller hears, in this order.
    pub(super) heard: Vec<String>,
    /// All functions that are called, in this order.
    pub(super) functions: Option<Vec<String>>,
    pub(super) ended: Option<EndedReason>,
    pub(super) answered_by: Option<String>,
    /// Words that occur in a note of the event log.
    pub(super) notes: Vec<String>,
    /// The longest time that the caller may wait to hear the agent.
    pub(super) replies_within_ms: Option<u64>,
    /// Events that must occur.
    pub(super) events: Vec<EventName>,
    /// Limits on the turn-taking.
    pub(super) quality: Option<ExpectedQuality>,
}

/// Limits on the turn-taking. Each may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExpectedQuality {
    /// The longest time from the end of a turn to the response.
    pub(super) response_ms_max: Option<u32>,
    /// Whether the agent yields to every real interruption within 2 s; false: to none.
    pub(super) yields: Option<bool>,
    /// The longest time from an interruption to the agent's silence.
    pub(super) yield_ms_max: Option<u32>,
    /// Whether the agent ignores every sound that wants no response; false: none.
    pub(super) ignores: Option<bool>,
    /// How often the agent may begin to speak while the caller speaks.
    pub(super) agent_interruptions_max: Option<u32>,
    /// How many pauses within a turn the agent may take for the end.
    pub(super) pauses_cut_off_max: Option<u32>,
    /// The longest silence that is the agent's.
    pub(super) dead_air_ms_max: Option<u32>,
    /// The lowest turn score, 0 to 1.
    pub(super) turn_score_min: Option<f64>,
}

/// An expected message.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedMessage {
    pub(super) role: Role,
    /// Words that occur in it; `...` stands for any others.
    pub(super) says: Option<String>,
    /// All its words.
    pub(super) is: Option<String>,
    pub(super) interrupted: Option<bool>,
    /// Words that do not occur in it.
    pub(super) not: Option<String>,
}

/// Finds the scenario files: the named files, and those of the named directories in alphabetical order.
pub(super) fn find(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = vec![];
    for path in named {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut files = paths.collect::<Result<Vec<_>, _>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        ensure!(!files.is_empty(), "{} has no scenario (no file that ends in .json)", path.display());
        found.extend(files);
    }
    Ok(found)
}

impl File {
    /// Reads and validates a file.
    ///
    /// # Errors
    ///
    /// The file is not valid; the error names the file, the place in it, and the allowed values.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("reading {shown}"))?;
        let mut call: Call = parse(file, &text)?;
        let sounds = call.caller.as_mut().map(sound_kinds::take).transpose();
        let sounds = sounds.with_context(|| format!("{shown}: `caller.acts`"))?.unwrap_or_default();
        ensure!(!call.about.trim().is_empty(), "{shown}: `about` must name the tested behaviour");
        ensure!(
            call.caller.is_none() || call.to.is_none(),
            "{shown}: give either `caller`, a person of this scenario, or `to`, one of the sandbox's own people"
        );
        ensure!(
            call.agent.is_null() || call.agent_config.is_none(),
            "{shown}: give either `agent`, changes to the demo's agent, or `agent_config`, a whole configuration"
        );
        for message in &call.expect.messages {
            ensure!(
                message.says.is_some()
                    || message.is.is_some()
                    || message.not.is_some()
                    || message.interrupted.is_some(),
                "{shown}: a message of `expect` must have at least one of `says`, `is`, `not`, `interrupted`"
            );
        }
        let agent = match &call.agent {
            Value::Null => match &call.agent_config {
                Some(config) => Value::Object(config.clone()),
                None => parse(Path::new("demo/agent.json"), AGENT)?,
            },
            Value::Object(patch) => {
                let mut agent = parse(Path::new("demo/agent.json"), AGENT)?;
                merge(&mut agent, patch);
                agent
            }
            Value::String(other) => {
                let other = file.parent().unwrap_or(Path::new(".")).join(other);
                let text = fs::read_to_string(&other)
                    .with_context(|| format!("{shown}: reading the agent {}", other.display()))?;
                parse(&other, &text)?
            }
            _ => bail!("{shown}: `agent` is an object, or the path of an agent's configuration"),
        };
        ensure!(agent.is_object(), "{shown}: the configuration of the agent is not an object");
        Ok(Self { path: file.to_owned(), agent, call, sounds })
    }
}

/// Parses JSON; an error names file, line and column.
fn parse<T: for<'a> Deserialize<'a>>(path: &Path, text: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let message = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
        anyhow::anyhow!("{}:{line}:{column}: {message}", path.display())
    })
}

/// Merges as in RFC 7396: `null` removes a member, objects are merged, other values replace.
fn merge(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(object) = target.as_object_mut() else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(object.remove(name)),
            Value::Object(patch) => merge(object.entry(name.clone()).or_insert(Value::Null), patch),
            value => drop(object.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use switchboard_model::agents::Voice;

    use super::*;

    /// Reads a file with this text.
    fn read(text: &str) -> Result<File, String> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("own.json"), r#"{ "prompt": "You are Bob." }"#).unwrap();
        let path = directory.path().join("call.json");
        fs::write(&path, text).unwrap();
        let place = directory.path().display().to_string();
        File::read(&path).map_err(|error| format!("{error:#}").replace(&format!("{place}/"), ""))
    }

    #[test]
    fn a_scenario_needs_only_a_sentence_and_an_expectation() {
        let file = read(r#"{ "about": "nothing", "expect": {} }"#).unwrap();
        assert_eq!(file.agent, serde_json::from_str::<Value>(AGENT).unwrap());
        assert!(file.call.expect.messages.is_empty() && file.call.faults.voice.is_empty());
    }

    #[test]
    fn an_agent_is_merged_into_the_demos_or_read_from_a_file() {
        let file = read(
            r#"{ "about": "a", "agent": { "initial_message": null, "voice": { "model": "aura-2-orion-en" },
                 "metadata": { "a": "b" } }, "expect": {} }"#,
        );
        let agent = file.unwrap().agent;
        assert_eq!(agent.get("initial_message"), None);
        assert_eq!(
            agent["voice"],
            json!({ "provider": Voice::default().provider(), "model": "aura-2-orion-en" })
        );
        assert_eq!(agent["metadata"], json!({ "purpose": "demo", "a": "b" }));
        let whole = read(r#"{ "about": "a", "agent_config": { "prompt": "You are Bob." }, "expect": {} }"#);
        assert_eq!(whole.unwrap().agent, json!({ "prompt": "You are Bob." }));
        let own = read(r#"{ "about": "a", "agent": "own.json", "expect": {} }"#).unwrap().agent;
        assert_eq!(own, json!({ "prompt": "You are Bob." }));
    }

    #[test]
    fn an_error_names_the_place_and_the_allowed_values() {
        for (text, expected) in [
            ("{", "call.json:1:1: EOF while parsing an object"),
            (
                "{ \"about\": \"a\",\n  \"expect\": { \"hears\": [] } }",
                "call.json:2:21: unknown field `hears`, expected one of `messages`, `exactly`, `never_said`, `heard`",
            ),
            (
                r#"{ "about": "a", "expect": { "messages": [{ "role": "bot", "says": "a" }] } }"#,
                "call.json:1:56: unknown variant `bot`, expected `agent` or `user`",
            ),
            (
                r#"{ "about": "a", "expect": { "ended": "hung_up" } }"#,
                "unknown variant `hung_up`, expected one of `agent_ended`, `user_ended`, `unknown`",
            ),
            (r#"{ "about": "a" }"#, "call.json:1:16: missing field `expect`"),
            (r#"{ "about": " ", "expect": {} }"#, "call.json: `about` must name"),
            (
                r#"{ "about": "a", "agent": {}, "agent_config": {}, "expect": {} }"#,
                "call.json: give either `agent`, changes",
            ),
            (r#"{ "about": "a", "agent": 1, "expect": {} }"#, "call.json: `agent` is an object, or the path"),
            (
                r#"{ "about": "a", "agent": "none.json", "expect": {} }"#,
                "call.json: reading the agent none.json: No such file",
            ),
            (
                r#"{ "about": "a", "to": "+14155550156", "caller": {}, "expect": {} }"#,
                "call.json: give either `caller`",
            ),
            (
                r#"{ "about": "a", "expect": { "messages": [{ "role": "agent" }] } }"#,
                "call.json: a message of `expect` must have at least one of",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}\n{error}");
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_valid() {
        let text = include_str!("../../../../docs/test-calls.md");
        let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let file = read(example).unwrap();
        assert_eq!(file.call.expect.messages.len(), 4);
    }

    #[test]
    fn every_shipped_scenario_is_valid_and_has_a_sentence_of_its_own() {
        let calls = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/calls");
        let files = find(&[calls]).unwrap();
        let about: std::collections::BTreeSet<_> =
            files.iter().map(|file| File::read(file).unwrap().call.about).collect();
        assert_eq!(about.len(), files.len());
    }

    #[test]
    fn the_files_of_a_directory_are_read_in_alphabetical_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(find(&[directory.path().to_owned()]).is_err());
        for name in ["b.json", "a.json", "notes.md"] {
            fs::write(path(name), "").unwrap();
        }
        let found = find(&[path("b.json"), directory.path().to_owned()]).unwrap();
        assert_eq!(found, [path("b.json"), path("a.json"), path("b.json")]);
    }
}
