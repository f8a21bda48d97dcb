//! Parts of both suites: a conversation in the table, the carrier's end of a stream, agents, a bucket.

#![allow(dead_code, reason = "each suite uses its part")]

pub(crate) mod agents;
pub(crate) mod bucket;
pub(crate) mod conversation;
pub(crate) mod phone;
pub(crate) mod scripts;
pub(crate) mod task;

use std::time::Duration;

/// Maximum time that a test waits for a condition.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_mins(1);

/// A voice of 25 characters a second, somewhat faster than people speak, in bytes of audio per character.
pub(crate) const SLOW_VOICE: usize = 320;
/// A voice of 100 characters a second, for tests that do not check its audio.
pub(crate) const FAST_VOICE: usize = 80;

/// The signing secret of the tests' account.
pub(crate) const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The byte that fills the audio of a clause, by the clause's place among all that were synthesized.
pub(crate) fn tone(clause: usize) -> u8 {
    u8::try_from(clause % 100).unwrap() + 1
}

/// Joins the clauses in the order of `text`: several are synthesized at the same time.
pub(crate) fn in_order(clauses: &[String], text: &str) -> String {
    let mut clauses = clauses.to_vec();
    clauses.sort_by_key(|clause| text.find(clause.as_str()));
    clauses.join(" ")
}
