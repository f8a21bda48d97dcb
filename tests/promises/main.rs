//! What Switchboard promises: one module per promise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod accounts;
mod anything_may_die;
mod callers_who_do_not_answer;
mod credentials;
mod ends_at_once;
mod every_call_ends;
mod first_call;
mod front_door;
mod inbound_calls;
mod limits;
mod load;
mod long_recordings;
mod nothing_is_left_behind;
mod official_clients;
mod outliving_a_worker;
mod phone_numbers;
mod scripted_calls;
mod table;
mod webhooks;
