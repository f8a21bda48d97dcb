//! The carrier's callbacks, from the sample events to the stored conversation.

#![cfg(test)]

mod detecting;
mod inbound;
mod lives;
mod preparing;
mod refusals;
mod reports;
mod resuming;
mod world;
