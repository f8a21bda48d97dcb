//! Switchboard's promises, one module per promise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod accounts;
mod cleanup;
mod concurrent_ends;
mod credentials;
mod deadlines;
mod documented_commands;
mod exported_scenarios;
mod first_call;
mod http_errors;
mod inbound_calls;
mod limits;
mod load;
mod long_recordings;
mod official_clients;
mod own_servers;
mod phone_numbers;
mod random_kills;
mod ring;
mod scenarios;
mod secrets;
mod table;
mod two_tenants;
mod unanswered_calls;
mod web_calls;
mod webhooks;
mod websocket_suite;
mod worker_takeover;
