//! Instructions for a call, in words that every carrier understands.

use std::{fmt, time::Duration};

/// The next step of a call.
#[derive(Clone, Copy)]
pub enum Instructions<'a> {
    /// Connects the call's audio to a websocket until the server closes it.
    Connect(ConnectStream<'a>),
    /// Turns an inbound call away, neither answered nor paid for.
    Reject(RejectReason),
    /// Ends the call.
    HangUp,
    /// Keeps the call silent for a time in whole seconds, then asks at `then` how it goes on.
    Pause {
        /// How long.
        time: Duration,
        /// Where the carrier asks afterwards.
        then: &'a str,
    },
}

/// A media stream and what follows it.
#[derive(Clone, Copy)]
pub struct ConnectStream<'a> {
    /// Silence before it, in whole seconds.
    pub after: Duration,
    /// The websocket's URL, without a query: carriers drop it.
    pub url: &'a str,
    /// Names and values that arrive with the stream's start; at most 500 characters per pair.
    pub parameters: &'a [(&'a str, &'a str)],
    /// Where the stream's beginning, end and failure are reported.
    pub status_callback: &'a str,
    /// Where the carrier asks how the call goes on once the websocket is closed.
    pub then: &'a str,
}

/// The sound that the caller hears when the carrier rejects a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// The announcement that the number is not in service.
    NotInService,
    /// The busy tone.
    Busy,
}

/// Instructions in a carrier's own language.
#[derive(Clone, PartialEq, Eq)]
pub struct CallDocument {
    /// The HTTP `content-type` to answer a carrier with.
    pub content_type: &'static str,
    /// The document. It may hold a stream's one-use token.
    pub body: String,
}

impl fmt::Debug for Instructions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect(_) => "Connect([redacted])",
            Self::Reject(_) => "Reject",
            Self::HangUp => "HangUp",
            Self::Pause { .. } => "Pause",
        })
    }
}

impl fmt::Debug for ConnectStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectStream([redacted])")
    }
}

impl fmt::Debug for CallDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallDocument([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_redacted_in_debug_output() {
        let connect = ConnectStream {
            after: Duration::ZERO,
            url: "",
            parameters: &[("token", "secret")],
            status_callback: "",
            then: "",
        };
        let document = CallDocument { content_type: "text/xml", body: "secret".to_owned() };
        let shown = format!("{connect:?} {:?} {document:?}", Instructions::Connect(connect));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
