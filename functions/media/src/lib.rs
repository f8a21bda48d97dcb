#![doc = include_str!("../README.md")]

mod admission;
mod browser;
mod call;
mod call_providers;
mod call_timeline;
mod clips;
mod clock;
mod config;
mod conversation_key;
mod dialogue;
mod fleet;
mod fleet_counts;
mod journal;
mod journal_entries;
mod lease;
mod media_stream;
mod outgoing_audio;
mod pace;
mod ports;
mod provider_faults;
mod recorder;
mod resampling;
mod response_times;
mod samples;
mod server;
mod stored_text;
mod stream;
mod takeover;
mod teardown;
mod token_estimate;
mod tool_calls;
mod tool_check;
mod transcriber;
mod unadmitted;
mod uploader;
mod voice_activity;
mod worker;
mod worker_signals;

pub use self::{
    clock::Clock,
    config::Config,
    ports::{CarrierControl, EcsTask, ProviderSource, Task, TaskSource, VendorProviders, WebhookSender},
    server::{DRAIN_TIMEOUT, limit_frames, listen, probe, serve, without_delay},
    worker::{Worker, WorkerParts},
};
