//! A customer's URLs that receive events.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard_filters::Filter;

use crate::event_names::EventName;

/// A customer's endpoint that receives events.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// The events that it receives; at least one.
    pub events: Vec<EventName>,
    /// The URL, without user info and without a host that can only be private.
    pub url: String,
    /// The HTTP method.
    pub method: WebhookMethod,
    /// Headers of every request. They may contain the customer's secrets.
    pub headers: Option<BTreeMap<String, String>>,
    /// A condition on the events; none: it receives all of them.
    pub filter: Option<Filter>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("events", &self.events).finish_non_exhaustive()
    }
}

/// How a webhook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum WebhookMethod {
    /// The event flattened into query parameters.
    Get,
    /// The event as a JSON body.
    Post,
}
