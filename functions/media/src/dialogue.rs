//! The dialogue engine of one call, and the log by which it can be replayed.
//!
//! The log (see [`switchboard_dialogue::replay`]) holds what was said, like the conversation's messages; it
//! lies beside the recording, and goes with it.

use std::{io::Write as _, ops::Deref};

use switchboard_dialogue::{CallTime, Engine, EngineSettings, Input, Output, UtteranceKind, replay::Header};
use switchboard_model::messages::MessageKind;

/// Size in bytes of a part of the log that is taken at once: half a minute of lively talk.
const PART: usize = 64 * 1024;
/// A part, and what may be added to it before it is taken: a line is a few hundred bytes.
const ROOM: usize = PART + 8 * 1024;

/// The engine; what it is told and what it decides is written down.
#[derive(Debug)]
pub(crate) struct Dialogue {
    engine: Engine,
    log: Vec<u8>,
}

impl Dialogue {
    pub(crate) fn new(settings: EngineSettings) -> Self {
        let header = Header::new(settings);
        let mut log = Vec::with_capacity(ROOM);
        // Writing to memory cannot fail, nor can these types' serialization; so below.
        let _ = serde_json::to_writer(&mut log, &header);
        log.push(b'\n');
        Self { engine: Engine::new(header.settings), log }
    }

    /// See [`Engine::on`]; `outputs` is empty.
    pub(crate) fn on(&mut self, at: CallTime, input: Input, outputs: &mut Vec<Output>) {
        let _ = write!(self.log, "{{\"at\":{},\"input\":", at.0);
        let _ = serde_json::to_writer(&mut self.log, &input);
        self.engine.on(at, input, outputs);
        self.log.extend_from_slice(b",\"outputs\":");
        let _ = serde_json::to_writer(&mut self.log, &outputs);
        self.log.extend_from_slice(b"}\n");
    }

    /// The next part of the log, when there is enough of it.
    pub(crate) fn part(&mut self) -> Option<Vec<u8>> {
        (self.log.len() >= PART).then(|| std::mem::replace(&mut self.log, Vec::with_capacity(ROOM)))
    }

    /// The rest of the log.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.log
    }
}

/// The engine's flag, as it is stored.
pub(crate) fn message_kind(kind: UtteranceKind) -> MessageKind {
    match kind {
        UtteranceKind::Speech => MessageKind::Speech,
        UtteranceKind::HoldPhrase => MessageKind::HoldPhrase,
        UtteranceKind::Apology => MessageKind::Apology,
    }
}

/// The stored flag, as the engine of the next worker reads it.
pub(crate) fn utterance_kind(kind: MessageKind) -> UtteranceKind {
    match kind {
        MessageKind::Speech => UtteranceKind::Speech,
        MessageKind::HoldPhrase => UtteranceKind::HoldPhrase,
        MessageKind::Apology => UtteranceKind::Apology,
    }
}

impl Deref for Dialogue {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

#[cfg(test)]
mod tests {
    use switchboard_dialogue::replay::Log;

    use super::*;

    #[test]
    fn what_was_written_replays() {
        let mut dialogue =
            Dialogue::new(EngineSettings { greeting: Some("Hello.".into()), ..EngineSettings::default() });
        let mut outputs = vec![];
        for at in 0..2_000 {
            let input = if at == 0 { Input::MediaStarted } else { Input::Wake };
            dialogue.on(CallTime(at * 20_000), input, &mut outputs);
            outputs.clear();
        }
        let mut text = vec![];
        while let Some(part) = dialogue.part() {
            text.extend(part);
        }
        text.extend(dialogue.finish());
        let log = Log::parse(std::str::from_utf8(&text).unwrap()).unwrap();
        assert_eq!(log.steps.len(), 2_000);
        assert_eq!(log.difference(), None);
    }
}
