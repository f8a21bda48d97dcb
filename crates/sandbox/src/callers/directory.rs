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

/// People made at run time that are known; older ones are forgotten.
const MADE_LIMIT: usize = 256;

pub(super) const SCRIPTS: &str = include_str!("../../scripts/callers.json");
/// The script of every number that has none of its own.
const DEFAULT: &str = "default";

/// Somebody with a number. Their part is spoken once, whoever calls.
struct Known {
    script: Script,
    part: OnceCell<Part>,
}

/// Everybody who can be called.
pub(crate) struct Callers {
    speech: Speech,
    /// By number, or [`DEFAULT`].
    built_in: HashMap<String, Arc<Known>>,
    /// With their numbers, the oldest first.
    made: Mutex<VecDeque<(String, Arc<Known>)>>,
}

impl Callers {
    /// The people of the built-in scripts.
    pub(crate) fn new(speech: Speech) -> anyhow::Result<Self> {
        let scripts: HashMap<String, Value> =
            serde_json::from_str(SCRIPTS).context("scripts/callers.json")?;
        anyhow::ensure!(scripts.contains_key(DEFAULT), "scripts/callers.json has no script named {DEFAULT}");
        let known = |(number, script)| match Script::read(script) {
            Ok(script) => Ok((number, Arc::new(Known { script, part: OnceCell::new() }))),
            Err(error) => anyhow::bail!("scripts/callers.json: {number}: {error}"),
        };
        let built_in = scripts.into_iter().map(known).collect::<anyhow::Result<_>>()?;
        Ok(Self { speech, built_in, made: Mutex::default() })
    }

    /// People who all have this one part, which needs no speaking.
    #[cfg(test)]
    pub(crate) fn with_part(speech: Speech, part: Part) -> Self {
        let script = Script::read(serde_json::json!({ "acts": [] })).unwrap();
        let known = Arc::new(Known { script, part: OnceCell::new_with(Some(part)) });
        Self { speech, built_in: [(DEFAULT.to_owned(), known)].into(), made: Mutex::default() }
    }

    /// From now on this script is the one of this number; of calls that ring already it is not.
    pub(crate) fn make(&self, number: &str, script: Script) {
        let mut made = self.made();
        made.retain(|(other, _)| other != number);
        if made.len() >= MADE_LIMIT {
            made.pop_front();
        }
        made.push_back((number.to_owned(), Arc::new(Known { script, part: OnceCell::new() })));
    }

    /// Takes back what was made of this number. False: nothing was.
    pub(crate) fn forget(&self, number: &str) -> bool {
        let mut made = self.made();
        let before = made.len();
        made.retain(|(other, _)| other != number);
        made.len() < before
    }

    /// The part of the person at this number, spoken now if it never was before.
    pub(crate) async fn part(&self, number: &str) -> anyhow::Result<Part> {
        let made = self.made().iter().find(|(other, _)| other == number).map(|(_, known)| known.clone());
        let built_in = || self.built_in.get(number).or_else(|| self.built_in.get(DEFAULT)).cloned();
        let known = made.or_else(built_in).context("nobody has this number")?;
        known.part.get_or_try_init(|| self.rehearse(&known.script)).await.cloned()
    }

    async fn rehearse(&self, script: &Script) -> anyhow::Result<Part> {
        let mut spoken = HashMap::new();
        for text in script.texts() {
            let audio = self.speech.synthesize(text, script.speed).await?;
            spoken.insert(text, Bytes::copy_from_slice(trimmed(&audio)));
        }
        Ok(Part::new(script, &spoken))
    }

    /// What the people recognise speech with.
    pub(crate) fn speech(&self) -> &Speech {
        &self.speech
    }

    fn made(&self) -> MutexGuard<'_, VecDeque<(String, Arc<Known>)>> {
        // Nothing that is done under the lock can leave the list half changed.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_people_made_at_run_time_the_oldest_is_forgotten() {
        let callers = Callers::new(Speech::connect("http://127.0.0.1:9").unwrap()).unwrap();
        let script = Script::read(serde_json::json!({ "acts": [] })).unwrap();
        for number in 0..=MADE_LIMIT {
            callers.make(&number.to_string(), script.clone());
        }
        assert!(!callers.forget("0"));
        assert!(callers.forget("1"));
    }

    #[test]
    fn the_built_in_scripts_can_be_read() {
        assert!(Callers::new(Speech::connect("http://127.0.0.1:9").unwrap()).is_ok());
    }
}
