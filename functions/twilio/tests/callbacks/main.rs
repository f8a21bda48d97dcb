//! The carrier's callbacks, from the sample events to the stored conversation.

#![cfg(test)]

mod inbound;
mod lives;
mod reports;
mod resuming;
mod world;
