//! Placing calls, and what a carrier knows of them.

use std::{fmt, time::Duration};

use switchboard_model::time::Timestamp;

use super::documents::CallDocument;
use crate::Error;

/// A call to place.
#[derive(Clone, Copy)]
pub struct PlaceCall<'a> {
    /// The number to call, E.164.
    pub to: &'a str,
    /// The caller's number, E.164; must belong to the account.
    pub from: &'a str,
    /// The document that the carrier runs once the call is answered.
    pub document: &'a CallDocument,
    /// Where every change of status is reported.
    pub status_callback: &'a str,
    /// Where the carrier reports whether a person answered, while the call goes on. None: no answering machine
    /// detection, which costs extra.
    pub detection_callback: Option<&'a str>,
    /// How long the call may ring; whole seconds, at most 600. The carrier may take 5 s more.
    pub ring_timeout: Duration,
    /// How long the call may last from the answer, in whole seconds. None: the carrier's own limit.
    pub time_limit: Option<Duration>,
}

impl fmt::Debug for PlaceCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaceCall([redacted])")
    }
}

/// Why a carrier did not confirm an order: a call to place, a number to buy. Each variant says whether the order
/// was taken.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Certainly not taken, and the same order would not be taken later.
    #[error("the carrier refused the order ({code}): {message}")]
    Refused {
        /// The carrier's own code; the HTTP status if there was none.
        code: u32,
        /// The carrier's explanation, with digits masked.
        message: String,
    },
    /// Certainly not taken: the carrier does not accept the account's credentials.
    #[error("the carrier does not accept the account's credentials")]
    Unauthorized(#[source] Error),
    /// Certainly not taken, but the same order may be taken later: the carrier was not reached or takes no more
    /// requests for now.
    #[error("the carrier did not take the order for now")]
    NotNow(#[source] Error),
    /// Perhaps taken: the answer was lost or cannot be understood. Repeating the order might have it executed
    /// twice.
    #[error("it is unknown whether the carrier took the order")]
    Uncertain(#[source] Error),
}

/// A call as its carrier knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrierCall {
    /// The call's current status.
    pub status: CallStatus,
    /// From the answer to the end; none before the end.
    pub duration: Option<Duration>,
    /// When the call was answered.
    pub answered_at: Option<Timestamp>,
    /// When the call ended.
    pub ended_at: Option<Timestamp>,
    /// The verdict of answering machine detection (`human`, `machine_start`, ...), if it ran.
    pub answered_by: Option<String>,
}

/// The progress of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallStatus {
    /// Waiting at the carrier to be dialled.
    Queued,
    /// Being dialled (reported by callbacks only).
    Initiated,
    /// Ringing at the other side.
    Ringing,
    /// Answered, by a person or a machine.
    InProgress,
    /// Over, after an answer.
    Completed,
    /// Over: the line was busy, or the other side declined.
    Busy,
    /// Over: the carrier could not connect the call.
    Failed,
    /// Over: not answered.
    NoAnswer,
    /// Over: withdrawn before an answer.
    Canceled,
    /// A status that this version does not know.
    Unknown,
}

impl CallStatus {
    /// Whether the call is over for good.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Busy | Self::Failed | Self::NoAnswer | Self::Canceled)
    }
}
