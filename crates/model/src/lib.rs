//! The domain model: a conversation, its states and its transitions.
//!
//! Everything here is a function of its arguments. Time and randomness are parameters; there is no
//! IO, no async runtime, no AWS and no vendor's wire format. The code that moves bytes lives in the
//! crates that depend on this one.
//!
//! Start with [`conversations`] (the life of a call), then [`agents`] (how it is configured).

pub mod accounts;
pub mod agents;
pub mod audio;
pub mod backoff;
pub mod carriers;
pub mod catalogue;
pub mod clips;
pub mod conversations;
pub mod costs;
pub mod credentials;
pub mod deliveries;
pub mod egress_policy;
pub mod event_names;
pub mod events;
pub mod hooks;
pub mod idempotency;
pub mod ids;
pub mod limits;
pub mod lists;
pub mod messages;
pub mod phone_numbers;
pub mod recording;
pub mod secrets;
pub mod sweep;
pub mod time;
pub mod webhooks;
