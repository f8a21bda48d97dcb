//! Messages of the queue, from the sample event to what the carrier, the voice and the table see.

#![cfg(test)]

mod placing;
mod preparing;
mod world;
