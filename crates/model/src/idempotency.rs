//! Idempotency keys: a repeated request is answered like the first.
//!
//! The first request with a key stores a [`Claim`] before it does anything else, and its answer in the claim at the
//! end. The new resource takes its id from the claim. If the first request dies after it created the resource and
//! before it stored the answer, the next request with the key finds the resource by that id, and creates no second
//! one.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{accounts::sha256_hex, ids::RequestId, time::Timestamp};

/// Time for which an answer is kept.
pub const KEPT: Duration = Duration::from_hours(24);
/// Time after which a request without an answer counts as dead. No request runs that long.
pub const RUNS: Duration = Duration::from_mins(1);

/// A client's name for a request: 1 to 255 visible ASCII characters. It is the client's own, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Reads the value of the header.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let is_valid = (1..=255).contains(&header.len()) && header.iter().all(u8::is_ascii_graphic);
        is_valid.then(|| String::from_utf8(header.to_vec()).ok().map(Self)).flatten()
    }

    /// SHA-256 of the path and the key, in hexadecimal. The table has this instead of the key.
    #[must_use]
    pub fn sha256(&self, path: &str) -> String {
        // A path contains no line feed, so the two cannot run into each other.
        sha256_hex(format!("{path}\n{}", self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([redacted])")
    }
}

/// The answer to the first request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its JSON.
    pub body: String,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The stored claim of a request on its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// SHA-256 of the request's body.
    pub body_sha256: String,
    /// The id of the request, from which the new resource takes its id.
    pub request: RequestId,
    /// The id of the run that holds the claim, drawn at random for each run of the request.
    pub holder: String,
    /// The time at which the run counts as dead.
    pub until: Timestamp,
    /// The answer; none while the request runs.
    pub answer: Option<Answer>,
    /// The time at which the table removes the claim, in seconds since 1970.
    pub ttl: i64,
}

/// The meaning of a stored claim for another request with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key belongs to a request with another body.
    OtherBody,
    /// The first request has this answer.
    Answered(Answer),
    /// The first request still runs.
    Running,
    /// The holder died or reported a failure. The request may run again, under the same id.
    Abandoned,
}

impl Claim {
    /// The claim of the first request with a key.
    #[must_use]
    pub fn new(request: RequestId, body_sha256: String, holder: String, now: Timestamp) -> Self {
        let ttl = now.after(KEPT).as_millis() / 1_000;
        Self { body_sha256, request, holder, until: now.after(RUNS), answer: None, ttl }
    }

    /// The verdict on a request with this body that arrives at `now`.
    #[must_use]
    pub fn verdict(&self, body_sha256: &str, now: Timestamp) -> Verdict {
        match &self.answer {
            _ if self.body_sha256 != body_sha256 => Verdict::OtherBody,
            Some(answer) => Verdict::Answered(answer.clone()),
            None if now < self.until => Verdict::Running,
            None => Verdict::Abandoned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000 + seconds * 1_000)
    }

    #[test]
    fn a_key_is_visible_ascii_of_at_most_255_characters() {
        for good in ["k", "order-4711/1", "~!\"#", &"x".repeat(255)] {
            assert!(Key::parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in ["", " ", "a b", "a\tb", "schlüssel", "\u{7f}", &"x".repeat(256)] {
            assert!(Key::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        let key = Key::parse(b"order-4711").unwrap();
        assert_eq!(format!("{key:?}"), "Key([redacted])");
        assert_ne!(key.sha256("/agents"), key.sha256("/credentials"), "each route has its own keys");
    }

    #[test]
    fn a_claim_runs_for_a_minute_unless_it_is_answered() {
        let claim = Claim::new(RequestId::new(at(0), 1), "a".into(), "me".into(), at(0));
        assert_eq!(claim.verdict("a", at(59)), Verdict::Running);
        assert_eq!(claim.verdict("a", at(60)), Verdict::Abandoned);
        for now in [at(0), at(60)] {
            assert_eq!(claim.verdict("b", now), Verdict::OtherBody);
        }
        let answer = Answer { status: 200, body: "{}".into() };
        let answered = Claim { answer: Some(answer.clone()), ..claim };
        assert_eq!(answered.verdict("a", at(0)), Verdict::Answered(answer));
        assert_eq!(answered.verdict("b", at(3_600)), Verdict::OtherBody);
        assert_eq!(answered.ttl, at(86_400).as_millis() / 1_000);
    }
}
