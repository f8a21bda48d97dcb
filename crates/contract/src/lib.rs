#![doc = include_str!("../README.md")]

pub mod agents;
pub mod conversations;
pub mod credentials;
pub mod declaration;
pub mod errors;
pub mod events;
pub mod lists;
pub mod phone_numbers;
pub mod references;
pub mod scenarios;
pub mod service;
pub mod signature;
pub mod validation;
pub mod web_calls;
