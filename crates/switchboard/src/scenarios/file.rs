//! The format of a scripted call, which `docs/test-calls.md` explains, and where the files are found.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use switchboard_model::{conversations::EndedReason, events::EventName, messages::Role};

use crate::evidence::AGENT;

/// One file: one call.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// The agent's whole configuration, but for what the command adds.
    pub(super) agent: Value,
    pub(super) call: Call,
}

/// A call as it is written down.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// A sentence that names the behaviour.
    pub(super) about: String,
    /// An object is merged into the demo's agent; a text is the path of a whole configuration.
    #[serde(default)]
    agent: Value,
    /// The script of the sandbox's model.
    pub(super) model: Option<Value>,
    #[serde(default)]
    pub(super) faults: ProviderFaults,
    #[serde(default)]
    pub(super) tools: BTreeMap<String, FunctionStub>,
    /// The person who is called.
    pub(super) caller: Option<Value>,
    /// Their number, if they are one of the sandbox's own.
    pub(super) to: Option<String>,
    /// So long after media flows the end of the conversation is asked for.
    pub(super) end_after_ms: Option<u64>,
    pub(super) expect: Expectations,
}

/// What goes wrong at the providers, in the sandbox's own words.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProviderFaults {
    pub(super) language_model: Vec<Value>,
    pub(super) voice: Vec<Value>,
    pub(super) transcriber: Vec<Value>,
}

/// What a function answers.
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

/// What should have happened.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expectations {
    /// In this order; others may lie between.
    pub(super) messages: Vec<ExpectedMessage>,
    /// No others.
    pub(super) exactly: bool,
    /// No message of the agent has it, nor does the caller hear it.
    pub(super) never_said: Vec<String>,
    /// What the caller hears, in this order.
    pub(super) heard: Vec<String>,
    /// All functions that are called, in this order.
    pub(super) functions: Option<Vec<String>>,
    pub(super) ended: Option<EndedReason>,
    pub(super) answered_by: Option<String>,
    /// Utterance that stand in a note of the event log.
    pub(super) notes: Vec<String>,
    /// The longest that the caller waits for the agent to be heard.
    pub(super) replies_within_ms: Option<u64>,
    /// Events that must occur.
    pub(super) events: Vec<EventName>,
}

/// One message.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedMessage {
    pub(super) role: Role,
    /// Utterance that occur in it; `...` stands for any others.
    pub(super) says: Option<String>,
    /// All its words.
    pub(super) is: Option<String>,
    pub(super) interrupted: Option<bool>,
    /// Utterance that do not occur in it.
    pub(super) not: Option<String>,
}

/// Finds the files: those that are named, and all of the directories that are named, by name.
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
        ensure!(!files.is_empty(), "{} has no scripted call (no file that ends in .json)", path.display());
        found.extend(files);
    }
    Ok(found)
}

impl File {
    /// Reads and checks one.
    ///
    /// # Errors
    ///
    /// Saying the file, the place in it, and what is allowed there.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("reading {shown}"))?;
        let call: Call = parse(file, &text)?;
        ensure!(!call.about.trim().is_empty(), "{shown}: `about` must say what the call is about");
        ensure!(
            call.caller.is_none() || call.to.is_none(),
            "{shown}: either `caller`, a person of this call, or `to`, one of the sandbox's"
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
            Value::Null => parse(Path::new("demo/agent.json"), AGENT)?,
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
        ensure!(agent.is_object(), "{shown}: the agent's configuration is no object");
        Ok(Self { path: file.to_owned(), agent, call })
    }
}

/// Reads JSON; an error names file, line and column.
fn parse<T: for<'a> Deserialize<'a>>(path: &Path, text: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let message = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
        anyhow::anyhow!("{}:{line}:{column}: {message}", path.display())
    })
}

/// RFC 7396: what is null is taken out, objects are merged, all else is replaced.
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

    use super::*;

    /// Reads a file of this text.
    fn read(text: &str) -> Result<File, String> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("own.json"), r#"{ "prompt": "You are Bob." }"#).unwrap();
        let path = directory.path().join("call.json");
        fs::write(&path, text).unwrap();
        let place = directory.path().display().to_string();
        File::read(&path).map_err(|error| format!("{error:#}").replace(&format!("{place}/"), ""))
    }

    #[test]
    fn a_call_needs_no_more_than_a_sentence_and_expects_nothing_by_itself() {
        let file = read(r#"{ "about": "nothing", "expect": {} }"#).unwrap();
        assert_eq!(file.agent, serde_json::from_str::<Value>(AGENT).unwrap());
        assert!(file.call.expect.messages.is_empty() && file.call.faults.voice.is_empty());
    }

    #[test]
    fn an_agent_is_merged_into_the_demos_or_a_file_beside_the_call() {
        let file = read(
            r#"{ "about": "a", "agent": { "initial_message": null, "voice": { "model": "aura-2-orion-en" },
                 "metadata": { "a": "b" } }, "expect": {} }"#,
        );
        let agent = file.unwrap().agent;
        assert_eq!(agent.get("initial_message"), None);
        assert_eq!(agent["voice"], json!({ "provider": "deepgram", "model": "aura-2-orion-en" }));
        assert_eq!(agent["metadata"], json!({ "purpose": "demo", "a": "b" }));
        let own = read(r#"{ "about": "a", "agent": "own.json", "expect": {} }"#).unwrap().agent;
        assert_eq!(own, json!({ "prompt": "You are Bob." }));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_place_and_with_what_is_allowed() {
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
            (r#"{ "about": " ", "expect": {} }"#, "call.json: `about` must say"),
            (r#"{ "about": "a", "agent": 1, "expect": {} }"#, "call.json: `agent` is an object, or the path"),
            (
                r#"{ "about": "a", "agent": "none.json", "expect": {} }"#,
                "call.json: reading the agent none.json: No such file",
            ),
            (
                r#"{ "about": "a", "to": "+14155550156", "caller": {}, "expect": {} }"#,
                "call.json: either `caller`",
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
    fn the_example_of_the_documentation_can_be_read() {
        let text = include_str!("../../../../docs/test-calls.md");
        let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let file = read(example).unwrap();
        assert_eq!(file.call.expect.messages.len(), 4);
    }

    #[test]
    fn every_call_that_ships_can_be_read_and_is_about_something_else() {
        let calls = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/calls");
        let files = find(&[calls]).unwrap();
        let about: std::collections::BTreeSet<_> =
            files.iter().map(|file| File::read(file).unwrap().call.about).collect();
        assert_eq!(about.len(), files.len());
    }

    #[test]
    fn the_files_of_a_directory_are_taken_by_name() {
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
