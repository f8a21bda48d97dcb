//! Delays before something is tried again, with jitter drawn at random.
//!
//! The formulas are pure and in [`switchboard_model::backoff`]; this module draws the randomness.

pub use switchboard_model::backoff::{Jitter, exponential, proportional};

/// A new random jitter.
#[must_use]
pub fn jitter() -> Jitter {
    Jitter::new(u32::from_ne_bytes(crate::random()))
}
