//! The report of a chain that another provider serves than the one that an agent names.

use switchboard_model::catalogue::StandIn;

/// From here on, this provider serves a stream. Only the streams of a [`chain`](crate::chain) report it, before everything
/// else that the provider sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StandInReport {
    /// The provider that serves; none: the one that the agent names.
    pub stand_in: Option<StandIn>,
    /// Why, for the event log: for each provider of the chain that failed this call since the last report, its name and its
    /// fault. Holds no key and no transcript.
    pub failed: Vec<String>,
}
