//! The worker on real sockets: handshake, admission, the vendors' protocols, webhooks, takeover, and the process. The
//! behaviour of calls is in `tests/calls`, on paused time.

#![cfg(test)]

mod admission;
mod conversation;
mod credentials;
mod framing;
mod matrix;
mod process;
mod receiver;
mod slow_carrier;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod vendor_faults;
mod vendors;
mod webhooks;
mod world;

/// The names that every test needs.
mod prelude {
    pub(crate) use crate::{
        support::{
            FAST_VOICE, SLOW_VOICE, TEST_TIMEOUT,
            agents::{greeting, quiet},
            in_order,
            phone::{Closing, Frame, Phone, STOP},
            scripts::{Response, VoiceFault},
        },
        world::{World, now},
    };
}
