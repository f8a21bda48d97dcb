//! `OpenAI`, and the many servers that speak its protocol: language model ([`chat`]).

pub mod chat;
mod chunks;

use crate::{Providers, Secret, unusable::Unusable};

pub(crate) const VENDOR: &str = "openai";

/// The name of the key among the deployment's provider keys.
const KEY: &str = "openai_api_key";

fn key(providers: &Providers) -> Result<Secret, Unusable> {
    providers.keys.openai_api_key.clone().ok_or_else(|| Unusable::missing_key(VENDOR, KEY))
}

/// The number of events in a stream of chunks; for the fuzz target.
#[cfg(fuzzing)]
pub(crate) fn chat_events(data: &[String]) -> usize {
    let (mut chunks, mut events) = (chunks::Chunks::default(), vec![]);
    for data in data {
        if !matches!(chunks.push(data, &mut events), Ok(false)) {
            break;
        }
    }
    let _ = chunks.finish(&mut events);
    events.len()
}
