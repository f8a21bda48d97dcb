//! The HTTP contract: what the API reads, what it shows, and what webhooks get.
//!
//! Requests are read here field by field, so that every wrong field is reported at once
//! ([`validation`]); [`views`] are the bodies of answers, [`payload`] those of webhooks. This crate
//! knows no route and no table.

pub mod agents;
pub mod credentials;
pub mod lists;
pub mod payload;
pub mod phone_numbers;
pub mod requests;
pub mod signature;
pub mod validation;
pub mod views;
