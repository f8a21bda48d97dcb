//! The instructions that an agent carries out when an event happens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard_filters::Filter;

use crate::event_names::EventName;

/// Instructions that run when an event happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The events that it runs on; at least one.
    pub events: Vec<EventName>,
    /// A condition on the events; none: it runs on all of them.
    pub filter: Option<Filter>,
    /// The instructions, in their order.
    pub instructions: Vec<Instruction>,
}

/// An action of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "instruction", rename_all = "snake_case")]
pub enum Instruction {
    /// End the conversation.
    HangUp,
}
