//! Azure Speech: transcriber ([`listen`]).

mod endpoint;
pub mod listen;
mod usp;

use reqwest::Url;

pub(crate) const VENDOR: &str = "azure";

/// The address of a region.
pub(crate) fn region_url(region: &str) -> Option<Url> {
    Url::parse(&format!("https://{region}.api.cognitive.microsoft.com")).ok()
}
