#![doc = include_str!("../README.md")]

pub mod bucket;
pub mod log_lines;
pub mod queue;
pub mod server;
