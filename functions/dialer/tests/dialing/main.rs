//! Messages of the queue, from the sample event to the requests to the carrier and the voice, and the table.

#![cfg(test)]

mod placing;
mod preparing;
mod waiting;
mod world;
