//! What Switchboard promises: one module per promise.

mod architecture;
mod callers_who_do_not_answer;
mod first_call;
mod front_door;
mod nothing_is_left_behind;
mod official_clients;
