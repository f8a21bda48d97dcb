//! The HTTP API, from the event of the gateway to the answer, with a real store and a bucket on
//! loopback sockets.

#![cfg(test)]

mod agents;
mod bodies;
mod creating;
mod credentials;
mod deleting;
mod described;
mod ending;
mod events;
mod failures;
mod idempotency;
mod isolation;
mod limits;
mod listing;
mod openapi;
mod phone_numbers;
mod recordings;
mod routes;
mod showing;
mod tokens;
mod world;
