//! The HTTP API, from the gateway's event to the answer, with a table, a bucket and a carrier on loopback sockets.

#![cfg(test)]

mod agents;
mod authentication;
mod bodies;
mod console;
mod create_phone_call;
mod create_web_call;
mod credentials;
mod delete_conversation;
mod end_conversation;
mod events;
mod failures;
mod get_conversation;
mod idempotency;
mod isolation;
mod limits;
mod list_conversations;
mod openapi;
mod phone_numbers;
mod recording;
mod routes;
mod scenario;
mod schemathesis;
mod world;
