#![doc = include_str!("../README.md")]

pub mod backoff;
mod clock;
pub mod config;
pub mod emf;
mod environment;
pub mod jobs;
pub mod logging;
pub mod percentiles;
pub mod process;
mod randomness;
pub mod spans;

pub use self::{
    clock::now,
    environment::{ConfigError, Vars},
    randomness::{random, random_hex, random_u128},
};
