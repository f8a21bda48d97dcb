//! Use cases that more than one function needs, one function each.

mod clips;

pub use clips::clip_sets;
