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
