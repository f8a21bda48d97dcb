//! Deepgram: transcriber ([`listen`]) and synthesizer ([`speak`]).

pub mod listen;
pub mod speak;

use crate::{Providers, Secret, unusable::Unusable};

pub(crate) const VENDOR: &str = "deepgram";

/// The name of the key among the deployment's provider keys.
const KEY: &str = "deepgram_api_key";

fn key(providers: &Providers) -> Result<Secret, Unusable> {
    providers.keys.deepgram_api_key.clone().ok_or_else(|| Unusable::missing_key(VENDOR, KEY))
}
