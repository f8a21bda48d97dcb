//! The media worker: holds the realtime side of calls, one task per call.
//!
//! The carrier opens a websocket per call at `/media` and sends the caller's audio; the worker sends
//! the agent's. Start at [`serve`], then `call.rs`: the loop of one call. What is said and when is
//! decided by [`switchboard_dialogue`]; the files here move bytes between it and the sockets.
//!
//! A call outlives its worker: one that stops hands its calls over, one that dies leaves a lease that
//! says what it was saying, and the carrier connects the call to another.
//!
//! - `server.rs`, `stream.rs`: the websocket server, and one stream from its first message to its last
//! - `admission.rs`, `takeover.rs`, `teardown.rs`: the beginning and the end of a stream
//! - `call_providers.rs`: the providers of a call, and with whose keys they are used
//! - `media_stream.rs`: the carrier's side of the socket
//! - `clips.rs`: audio that was synthesized before the call
//! - `transcriber.rs`: the transcriber, kept connected
//! - `tool_calls.rs`: functions that the model calls
//! - `voice_activity.rs`: voice activity detection on the caller's audio
//! - `token_estimate.rs`: tokens that the model's vendor did not count
//! - `provider_faults.rs`, `response_times.rs`: which providers failed, and how long the caller waited
//! - `journal.rs`, `journal_entries.rs`: the messages, events and usage that are stored
//! - `lease.rs`, `worker_signals.rs`: who owns the call, and what others ask of its owner
//! - `recorder.rs`, `uploader.rs`: the recording

mod admission;
mod call;
mod call_providers;
mod clips;
mod config;
mod conversation_key;
mod dialogue;
mod journal;
mod journal_entries;
mod lease;
mod media_stream;
mod outgoing_audio;
mod provider_faults;
mod recorder;
mod response_times;
mod server;
mod stream;
mod takeover;
mod teardown;
mod token_estimate;
mod tool_calls;
mod transcriber;
mod uploader;
mod voice_activity;
mod worker;
mod worker_signals;

pub use self::{
    config::Config,
    server::{DRAIN, serve},
    worker::Worker,
};
