//! `OpenAI`, and the many servers that speak its protocol: language model ([`chat`]).

mod azure;
pub mod chat;
mod chunks;
mod messages;
mod reasoning;
mod request;

pub(crate) const VENDOR: &str = "openai";

/// The member of a call with what its server wants back.
const EXTRA_CONTENT: &str = "extra_content";

/// The number of events in a stream of chunks; for the fuzz target.
#[cfg(fuzzing)]
pub(crate) fn chat_events(data: &[String]) -> usize {
    use crate::streamed_generation::Protocol as _;
    let (mut chunks, mut events) = (chunks::Chunks::default(), vec![]);
    for data in data {
        if !matches!(chunks.push(data, &mut events), Ok(false)) {
            break;
        }
    }
    let _ = chunks.finish(&mut events);
    events.len()
}
