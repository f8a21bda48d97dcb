//! The HTTP API, from the event of the gateway to the answer, with a real store and a bucket on
//! loopback sockets.

#![cfg(test)]

mod bodies;
mod creating;
mod ending;
mod events;
mod failures;
mod isolation;
mod recordings;
mod routes;
mod showing;
mod tokens;
mod world;
