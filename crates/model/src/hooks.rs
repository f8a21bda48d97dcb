//! The instructions that an agent carries out when an event happens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard_filters::Filter;

use crate::event_names::EventName;

/// Something the conversation does by itself when an event happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Which events; at least one.
    pub events: Vec<EventName>,
    /// Which of them: all, if there is none.
    pub filter: Option<Filter>,
    /// What to do, in this order.
    pub instructions: Vec<Instruction>,
}

/// What a hook can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "instruction", rename_all = "snake_case")]
pub enum Instruction {
    /// End the conversation.
    HangUp,
}
