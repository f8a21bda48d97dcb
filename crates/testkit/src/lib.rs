#![doc = include_str!("../README.md")]

pub mod bucket;
pub mod queue;
pub mod server;
