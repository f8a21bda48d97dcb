#![doc = include_str!("../README.md")]

mod any_carrier;
mod any_language_model;
mod any_synthesizer;
mod any_transcriber;
pub mod audio;
pub mod azure;
pub mod carrier;
pub mod chain;
pub mod clips;
pub mod credentials;
pub mod deepgram;
pub mod egress;
pub mod elevenlabs;
pub mod endpoints;
mod error;
mod failures;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod google;
pub mod keys;
pub mod language_model;
pub mod openai;
pub mod playht;
mod refusal;
mod refused_parameters;
mod rekeyed;
mod response_text;
pub mod rime;
mod sse;
pub mod stand_in_report;
mod streamed_generation;
pub mod synthesizer;
pub mod transcriber;
pub mod twilio;
mod unusable;
pub mod web;
pub mod webhooks;

use std::time::Duration;

pub use switchboard_model::secrets::Secret;

pub use self::{
    any_carrier::{AnyCarrier, AnyMediaStream},
    error::Error,
    unusable::Unusable,
};

/// Everything needed to talk to the vendors; made once per process and cheap to clone.
#[derive(Debug, Clone)]
pub struct Providers {
    /// Pooled connections, from [`egress::client`].
    pub http: reqwest::Client,
    /// The vendors' addresses.
    pub endpoints: endpoints::Endpoints,
    /// The deployment's own keys.
    pub keys: keys::Keys,
}

/// Time after which a silent stream counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTimeouts {
    /// From the request to the first event; includes connecting.
    pub first: Duration,
    /// Between two events.
    pub idle: Duration,
}
