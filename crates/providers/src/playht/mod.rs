//! PlayHT: synthesizer ([`speak`]), for a server of the deployment's that speaks the protocol of the service that ended.

pub mod speak;

pub(crate) const VENDOR: &str = "playht";
