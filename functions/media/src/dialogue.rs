//! The dialogue engine of one call, and the log by which it can be replayed.
//!
//! The log (see [`switchboard_dialogue::replay`]) holds the words of both sides, like the conversation's messages. It
//! is stored beside the recording, and deleted with it.

use std::{io::Write as _, ops::Deref};

use switchboard_dialogue::{CallTime, Engine, EngineSettings, Input, Output, UtteranceKind, replay::Header};
use switchboard_model::messages::MessageKind;

/// Size of a part of the log in bytes: half a minute of lively talk.
const PART: usize = 64 * 1024;
/// Capacity of the buffer in bytes: a part, and the lines that may be added before it is taken.
const ROOM: usize = PART + 8 * 1024;

/// The engine, with the log of its inputs and outputs.
#[derive(Debug)]
pub(crate) struct Dialogue {
    engine: Engine,
    log: Vec<u8>,
}

impl Dialogue {
    pub(crate) fn new(settings: EngineSettings) -> Self {
        let header = Header::new(settings);
        let mut log = Vec::with_capacity(ROOM);
        // Neither writing to memory nor serializing these types can fail; the same holds below.
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

    /// The next part of the log, once it is long enough.
    pub(crate) fn part(&mut self) -> Option<Vec<u8>> {
        (self.log.len() >= PART).then(|| std::mem::replace(&mut self.log, Vec::with_capacity(ROOM)))
    }

    /// The rest of the log.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.log
    }
}

/// The engine's kind of an utterance, as it is stored with its message.
pub(crate) fn message_kind(kind: UtteranceKind) -> MessageKind {
    match kind {
        UtteranceKind::Speech => MessageKind::Speech,
        UtteranceKind::HoldPhrase => MessageKind::HoldPhrase,
        UtteranceKind::Apology => MessageKind::Apology,
    }
}

/// The stored kind of a message, as the engine of the next worker reads it.
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
    fn the_written_log_replays() {
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
