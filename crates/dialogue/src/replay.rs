//! Replay logs: an engine's inputs and outputs, and the check that today's engine decides the same.
//!
//! A log has one JSON value per line: first the [`Header`], then each [`LoggedStep`]. A call that changes workers
//! has one log per worker.

use serde::{Deserialize, Serialize};

use crate::{CallTime, Engine, EngineSettings, Input, Output};

/// The format of a log: it grows when names or units of inputs and outputs change. Format 1 had no number, and
/// counted audio in bytes.
pub const LOG_FORMAT: u32 = 2;
/// Grows when the engine's decisions change: the log of another version may differ without a defect.
pub const ENGINE_VERSION: u32 = 4;

/// The first line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The [`LOG_FORMAT`] of the log.
    pub format: u32,
    /// The [`ENGINE_VERSION`] that decided.
    pub engine: u32,
    /// The settings of the engine.
    pub settings: EngineSettings,
}

impl Header {
    /// The header of a log that begins now.
    #[must_use]
    pub fn new(settings: EngineSettings) -> Self {
        Self { format: LOG_FORMAT, engine: ENGINE_VERSION, settings }
    }
}

/// One input and its outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedStep {
    /// When, in microseconds since media began.
    pub at: CallTime,
    /// The input.
    pub input: Input,
    /// The engine's outputs.
    pub outputs: Vec<Output>,
}

/// A log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Its first line.
    pub header: Header,
    /// Its other lines.
    pub steps: Vec<LoggedStep>,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The log was written by another version of Switchboard.
    #[error(
        "the log has format {format}, but this version reads format {LOG_FORMAT}: replay it with the version that wrote it"
    )]
    Format {
        /// The format of the log.
        format: u32,
    },
    /// A line is not the JSON of a header or step.
    #[error("line {line} of the log cannot be read")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
}

/// The first step whose outputs differ today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The step as it was logged.
    pub logged: LoggedStep,
    /// The outputs that today's engine decides on.
    pub decided: Vec<Output>,
}

impl Log {
    /// Reads a log. A last line that breaks off, as that of a worker that was killed, is left out.
    ///
    /// # Errors
    ///
    /// The log has another format, or a line of it cannot be read.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        /// The one member of a header that all formats agree on.
        #[derive(Deserialize)]
        struct Format {
            #[serde(default = "first_format")]
            format: u32,
        }
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let unreadable = |line| move |source| Unreadable::Line { line, source };
        let (_, first) = lines.next().unwrap_or((1, ""));
        let Format { format } = serde_json::from_str(first).map_err(unreadable(1))?;
        if format != LOG_FORMAT {
            return Err(Unreadable::Format { format });
        }
        let header = serde_json::from_str(first).map_err(unreadable(1))?;
        let mut steps = vec![];
        let is_whole = text.ends_with('\n');
        let mut lines = lines.peekable();
        while let Some((number, line)) = lines.next() {
            match serde_json::from_str(line) {
                Ok(step) => steps.push(step),
                Err(_) if lines.peek().is_none() && !is_whole => break,
                Err(source) => return Err(unreadable(number)(source)),
            }
        }
        Ok(Self { header, steps })
    }

    /// Feeds today's engine the same inputs, and returns the first step whose outputs differ.
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

fn first_format() -> u32 {
    1
}
