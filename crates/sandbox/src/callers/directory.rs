//! Everybody who can be called, by number.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    part::{Part, trimmed},
    scripts::Script,
};
use crate::speech::Speech;

/// Maximum number of people created at run time; the oldest is removed.
const ASSIGNED_LIMIT: usize = 256;

pub(super) const SCRIPTS: &str = include_str!("../../scripts/callers.json");
/// The script of every number without one of its own.
const DEFAULT: &str = "default";

/// A person with a number. The lines are synthesized once, for all calls.
struct ScriptedPerson {
    script: Script,
    part: OnceCell<Part>,
}

/// All people.
pub(crate) struct Callers {
    speech: Speech,
    /// By number, or [`DEFAULT`].
    built_in: HashMap<String, Arc<ScriptedPerson>>,
    /// With their numbers, the oldest first.
    assigned: Mutex<VecDeque<(String, Arc<ScriptedPerson>)>>,
}

impl Callers {
    /// Reads the built-in scripts.
    pub(crate) fn new(speech: Speech) -> anyhow::Result<Self> {
        let scripts: HashMap<String, Value> =
            serde_json::from_str(SCRIPTS).context("reading scripts/callers.json")?;
        anyhow::ensure!(scripts.contains_key(DEFAULT), "scripts/callers.json has no script named {DEFAULT}");
        let known = |(number, script)| match Script::read(script) {
            Ok(script) => Ok((number, Arc::new(ScriptedPerson { script, part: OnceCell::new() }))),
            Err(error) => anyhow::bail!("scripts/callers.json: {number}: {error}"),
        };
        let built_in = scripts.into_iter().map(known).collect::<anyhow::Result<_>>()?;
        Ok(Self { speech, built_in, assigned: Mutex::default() })
    }

    /// Gives everybody the same part, which needs no synthesis.
    #[cfg(test)]
    pub(crate) fn with_part(speech: Speech, part: Part) -> Self {
        let script = Script::read(serde_json::json!({ "acts": [] })).unwrap();
        let known = Arc::new(ScriptedPerson { script, part: OnceCell::new_with(Some(part)) });
        Self { speech, built_in: [(DEFAULT.to_owned(), known)].into(), assigned: Mutex::default() }
    }

    /// Assigns a script to a number. Calls that ring already keep the old one.
    pub(crate) fn assign(&self, number: &str, script: Script) {
        let mut assigned = self.assigned();
        assigned.retain(|(other, _)| other != number);
        if assigned.len() >= ASSIGNED_LIMIT {
            assigned.pop_front();
        }
        assigned.push_back((number.to_owned(), Arc::new(ScriptedPerson { script, part: OnceCell::new() })));
    }

    /// Removes the script that was assigned to a number; false if there was none.
    pub(crate) fn remove(&self, number: &str) -> bool {
        let mut assigned = self.assigned();
        let before = assigned.len();
        assigned.retain(|(other, _)| other != number);
        assigned.len() < before
    }

    /// The part of the person at a number; synthesizes the lines on the first call.
    pub(crate) async fn part(&self, number: &str) -> anyhow::Result<Part> {
        let assigned =
            self.assigned().iter().find(|(other, _)| other == number).map(|(_, known)| known.clone());
        let built_in = || self.built_in.get(number).or_else(|| self.built_in.get(DEFAULT)).cloned();
        let known = assigned.or_else(built_in).context("no person has this number")?;
        known.part.get_or_try_init(|| self.synthesize_lines(&known.script)).await.cloned()
    }

    async fn synthesize_lines(&self, script: &Script) -> anyhow::Result<Part> {
        let mut spoken = HashMap::new();
        for text in script.texts() {
            let audio = self.speech.synthesize(text, script.speed).await?;
            spoken.insert(text, Bytes::copy_from_slice(trimmed(&audio)));
        }
        Ok(Part::new(script, &spoken))
    }

    /// The engine with which people recognise speech.
    pub(crate) fn speech(&self) -> &Speech {
        &self.speech
    }

    fn assigned(&self) -> MutexGuard<'_, VecDeque<(String, Arc<ScriptedPerson>)>> {
        // No operation under the lock can leave the list half changed.
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_person_created_at_run_time_is_removed() {
        let callers = Callers::new(Speech::connect("http://127.0.0.1:9").unwrap()).unwrap();
        let script = Script::read(serde_json::json!({ "acts": [] })).unwrap();
        for number in 0..=ASSIGNED_LIMIT {
            callers.assign(&number.to_string(), script.clone());
        }
        assert!(!callers.remove("0"));
        assert!(callers.remove("1"));
    }

    #[test]
    fn the_built_in_scripts_are_valid() {
        assert!(Callers::new(Speech::connect("http://127.0.0.1:9").unwrap()).is_ok());
    }
}
