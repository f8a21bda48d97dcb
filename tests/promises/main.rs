//! What Switchboard promises: one module per promise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architecture;
mod callers_who_do_not_answer;
mod every_call_ends;
mod first_call;
mod front_door;
mod nothing_is_left_behind;
mod official_clients;
mod outliving_a_worker;
