#![doc = include_str!("../README.md")]

mod accept_inbound;
mod apply_status;
mod backend;
mod callback_urls;
mod clip_sets;
mod end;
mod hang_up;
mod prepare_clips;
mod provider_clients;
mod rescue_stream;
mod resume;
mod sweep_input;
mod verify_stream;

pub use self::{
    accept_inbound::{InboundContext, InboundError, InboundOutcome, accept_inbound},
    apply_status::{StatusOutcome, apply_status, status_transition},
    backend::Backend,
    callback_urls::{CallbackUrls, ConversationUrls, NumberUrls, media_url, number_urls},
    clip_sets::clip_sets,
    end::{EndOutcome, end},
    hang_up::{HangUpError, hang_up},
    prepare_clips::{ClipPreparation, prepare_clips},
    provider_clients::{ProviderKeysError, connect_providers},
    rescue_stream::{RescueError, RescueOutcome, StrandedCall, rescue_stream},
    resume::{ResumeOutcome, resume, resume_transition},
    sweep_input::{SweepInput, sweep_input},
    verify_stream::verify_stream,
};
