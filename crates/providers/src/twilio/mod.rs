//! The carrier: Twilio Programmable Voice.
//!
//! [`Calls`] places and ends calls over REST, [`numbers`] buys numbers; [`twiml`] says what a call is to do; [`signature`] proves
//! that a request comes from the carrier; [`callbacks`] reads what it reports; [`media_stream`] is the
//! websocket that carries a call's audio.

pub mod callbacks;
pub mod media_stream;
pub mod numbers;
mod rest;
pub mod signature;
pub mod twiml;

use std::{fmt, str::FromStr};

pub use numbers::Numbers;
pub use rest::{CallState, Calls, CreateCall, CreateError};

/// The carrier's id of a call: `CA` and 32 letters or digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallSid(String);

/// Not an id of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a call's id")]
pub struct InvalidCallSid;

impl CallSid {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CallSid {
    type Err = InvalidCallSid;

    fn from_str(text: &str) -> Result<Self, InvalidCallSid> {
        // It becomes part of a path, so nothing else may pass.
        let digits = text.strip_prefix("CA").ok_or(InvalidCallSid)?;
        let valid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidCallSid) }
    }
}

impl fmt::Display for CallSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallStatus {
    /// Waits for its turn at the carrier.
    Queued,
    /// Is being dialled (reported by callbacks only).
    Initiated,
    /// The other side's phone rings.
    Ringing,
    /// Somebody or something answered.
    InProgress,
    /// Over, after an answer.
    Completed,
    /// Over: the line was busy, or the other side declined.
    Busy,
    /// Over: it could not be connected.
    Failed,
    /// Over: nobody answered.
    NoAnswer,
    /// Over: we withdrew it before an answer.
    Canceled,
    /// A status this version does not know.
    Unknown,
}

impl CallStatus {
    /// Reads the carrier's name of a status.
    #[must_use]
    pub fn read(name: &str) -> Self {
        match name {
            "queued" => Self::Queued,
            "initiated" => Self::Initiated,
            "ringing" => Self::Ringing,
            "in-progress" => Self::InProgress,
            "completed" => Self::Completed,
            "busy" => Self::Busy,
            "failed" => Self::Failed,
            "no-answer" => Self::NoAnswer,
            "canceled" => Self::Canceled,
            _ => Self::Unknown,
        }
    }

    /// Whether the call is over for good.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Busy | Self::Failed | Self::NoAnswer | Self::Canceled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_calls_id_passes_as_one() {
        let sid = format!("CA{}", "0123456789abcdef".repeat(2));
        assert_eq!(sid.parse::<CallSid>().unwrap().as_str(), sid);
        for wrong in
            ["", "CA", "CA1/../../x", &sid[1..], &format!("{sid}0"), &format!("PN{}", "0".repeat(32))]
        {
            assert_eq!(wrong.parse::<CallSid>(), Err(InvalidCallSid), "{wrong}");
        }
    }
}
