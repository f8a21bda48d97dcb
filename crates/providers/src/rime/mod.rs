//! Rime: synthesizer ([`speak`]). The API has two names for the vendor, `rime` and `rimeai`.

mod socket;
pub mod speak;

pub(crate) const VENDOR: &str = "rime";
