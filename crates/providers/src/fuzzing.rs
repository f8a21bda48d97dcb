//! Entrances for the fuzz targets in `tests/fuzz` to parsers that are private. Compiled for them only.

use crate::{carrier::documents::Instructions, google, openai, sse, twilio};

/// Writes a document for the carrier.
#[must_use]
pub fn document(instructions: &Instructions<'_>) -> String {
    twilio::document(instructions).body
}

/// Reads the stream of a language model as each vendor's, cut in two at `cut`. Returns the number of its events.
#[must_use]
pub fn model_stream(bytes: &[u8], cut: usize) -> usize {
    let (mut decoder, mut events) = (sse::Decoder::default(), vec![]);
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    let whole = decoder.push(first, &mut events).and_then(|()| decoder.push(second, &mut events));
    let _ = whole.and_then(|()| decoder.finish(&mut events));
    openai::chat_events(&events) + google::content_events(&events)
}
