//! Audio formats, as the catalogue and the recordings name them.

pub use switchboard_model::audio::{AudioFormat, Encoding};
