//! The behaviour of calls, on paused time and without a socket. The same worker on real sockets is in `tests/sockets`.

#![cfg(test)]

mod admission;
mod barge_in;
mod clips;
mod conversation;
mod ending;
mod fallback;
mod frames;
mod handover;
mod heard_words;
mod hooks;
mod isolation;
mod logging;
mod provider_faults;
mod providers;
mod quality;
mod response_times;
mod slow_carrier;
mod stand_ins;
#[path = "../support/mod.rs"]
mod support;
mod table_faults;
mod tool_calls;
mod transcriber;
mod web_calls;
mod webhooks;
mod world;
mod write_units;

/// The names that every test needs.
mod prelude {
    pub(crate) use crate::{
        support::{
            FAST_VOICE, SLOW_VOICE,
            agents::{greeting, quiet},
            in_order,
            phone::{CONNECTED, Closing, Frame, MEDIA, Phone, START, STOP},
            scripts::{Response, VoiceFault},
            tone,
        },
        world::{RunningWorker, TableFault, World, now},
    };
}
