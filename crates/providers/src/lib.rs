//! Everything this project knows of its vendors' wire protocols.
//!
//! A vendor fills a role, and each vendor is one file in its role's folder:
//!
//! - [`twilio`]: the carrier. Placing calls, TwiML, signatures, callbacks, media stream frames.
//! - [`transcribers`]: speech to text, a socket that takes audio and yields what was heard.
//! - [`language_models`]: what to say, one streamed answer per question.
//! - [`voices`]: text to speech, one stream of audio per sentence.
//!
//! Customers' endpoints are nobody's vendor, but are called under the same roof: [`webhooks`].
//!
//! Sessions are streams one polls: nothing runs in the background, so dropping a stream cancels the
//! work, and a vendor that is slow or silent shows as an [`Error`] after a time-out. Audio is always
//! telephone audio: mu-law, 8 kHz, mono, one byte per sample.
//!
//! This crate knows nothing of conversations, storage or retries: it reports whether trying again can
//! help, and leaves the decision to its caller. Start with [`Providers`], which every role takes.

pub mod credentials;
pub mod egress;
pub mod endpoints;
mod error;
pub mod keys;
pub mod language_models;
mod sse;
pub mod transcribers;
pub mod twilio;
pub mod voices;
pub mod webhooks;

use std::time::Duration;

pub use error::Error;
pub use switchboard_model::secrets::Secret;

/// What it takes to talk to the vendors; made once per process and cheap to clone.
#[derive(Debug, Clone)]
pub struct Providers {
    /// Pooled connections, from [`egress::client`].
    pub http: reqwest::Client,
    /// Where each vendor is.
    pub endpoints: endpoints::Endpoints,
    /// The deployment's own keys.
    pub keys: keys::Keys,
}

/// How long a stream may stay silent before it counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From asking to the first piece of the answer; includes connecting.
    pub first: Duration,
    /// Between two pieces.
    pub idle: Duration,
}
