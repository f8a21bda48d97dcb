//! The log of what an engine was told and what it decided, and the proof that it decides so again.
//!
//! One JSON value a line: first the [`Header`], then every [`Step`]. A call that changes workers has one
//! log per worker.

use serde::{Deserialize, Serialize};

use super::{CallTime, Engine, Input, Output, Settings};

/// Grows when the engine decides differently: a log of another version may differ without a defect.
pub const ENGINE_VERSION: u32 = 2;

/// The first line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The [`ENGINE_VERSION`] that decided.
    pub engine: u32,
    /// What the engine was made with.
    pub settings: Settings,
}

/// One input and what it led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, in microseconds since media began.
    pub at: CallTime,
    /// What happened.
    pub input: Input,
    /// What the engine decided.
    pub outputs: Vec<Output>,
}

/// A log that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Its first line.
    pub header: Header,
    /// The rest of it.
    pub steps: Vec<Step>,
}

/// A line is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the log cannot be read")]
pub struct Unreadable {
    /// Which, from 1.
    pub line: usize,
    #[source]
    source: serde_json::Error,
}

/// Where today's engine decides otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The step as it was logged.
    pub logged: Step,
    /// What is decided now.
    pub decided: Vec<Output>,
}

impl Log {
    /// Reads a log. A last line that breaks off, as that of a worker that was killed, is left out.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let unreadable = |line| move |source| Unreadable { line, source };
        let (_, first) = lines.next().unwrap_or((1, ""));
        let header = serde_json::from_str(first).map_err(unreadable(1))?;
        let mut steps = vec![];
        let is_whole = text.ends_with('\n');
        let mut lines = lines.peekable();
        while let Some((number, line)) = lines.next() {
            match serde_json::from_str(line) {
                Ok(step) => steps.push(step),
                Err(_) if lines.peek().is_none() && !is_whole => break,
                Err(source) => return Err(Unreadable { line: number, source }),
            }
        }
        Ok(Self { header, steps })
    }

    /// Feeds today's engine the same inputs; the first step in which it decides otherwise.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        let mut engine = Engine::new(self.header.settings.clone());
        let mut decided = vec![];
        self.steps.iter().find_map(|step| {
            decided.clear();
            engine.on(step.at, step.input.clone(), &mut decided);
            let decided = &decided;
            (*decided != step.outputs).then(|| Difference { logged: step.clone(), decided: decided.clone() })
        })
    }
}
