//! A carrier's reports about a call.
//!
//! A callback is read in two steps: [`super::Carrier::verify`] checks the signature of a [`CallbackRequest`] and
//! returns a [`VerifiedCallback`], which is the only thing that reports are read from. Reports come late, twice,
//! out of order or never: order them by [`StatusReport::sequence_number`].

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use switchboard_model::{carriers::CarrierCallId, phone_numbers::E164, time::Timestamp};

use super::calls::CallStatus;

/// A request that claims to come from a carrier.
#[derive(Clone)]
pub struct CallbackRequest {
    /// The URL that the carrier was given, from the configured public address, with path and query as they
    /// came. Never built from the request's `Host`.
    pub url: String,
    /// The request's headers; the signature is among them.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A carrier's request whose signature was checked.
#[derive(Clone)]
pub struct VerifiedCallback {
    body: Bytes,
}

impl VerifiedCallback {
    /// For the adapter that has checked the signature.
    pub(crate) fn new(request: &CallbackRequest) -> Self {
        Self { body: request.body.clone() }
    }

    /// The content that the carrier signed, for its adapter to read.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// A verified callback lacks a member that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the callback has no usable {0}")]
pub struct UnusableCallback(pub &'static str);

/// A call reached a new status.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// The call.
    pub call: CarrierCallId,
    /// Its new status.
    pub status: CallStatus,
    /// Counts a call's reports from 0; not sent by every kind of report.
    pub sequence_number: Option<u64>,
    /// From the answer to the end; sent with the end.
    pub duration: Option<Duration>,
    /// When the carrier saw the change, to the second.
    pub timestamp: Option<Timestamp>,
    /// The verdict of answering machine detection (`human`, `machine_start`, ...), if it ran.
    pub answered_by: Option<String>,
    /// The far network's SIP status, such as 486 for busy, 603 for declined.
    pub sip_code: Option<u16>,
    /// The carrier's error code when the call failed.
    pub error_code: Option<u32>,
}

/// A call to one of our numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct IncomingCall {
    /// The call.
    pub call: CarrierCallId,
    /// The caller's number; [`ANONYMOUS`] if it is withheld.
    pub from_number: E164,
}

/// Stands for a number that is withheld: "ANONYMOUS" on a keypad.
pub const ANONYMOUS: &str = "+266696687";

/// A media stream began, ended or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// The stream's call.
    pub call: CarrierCallId,
    /// The carrier's id of the stream.
    pub stream_id: Option<String>,
    /// The change of the stream.
    pub event: StreamEvent,
    /// The carrier's error code, if its text begins with one.
    pub error_code: Option<u32>,
}

/// A change of a media stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEvent {
    /// Its websocket is open.
    Started,
    /// It was closed, by its server or since the call ended or went on elsewhere.
    Stopped,
    /// It could not be opened, or broke.
    Error,
    /// An event that this version does not know.
    Unknown,
}

/// The result of answering machine detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectionReport {
    /// The call.
    pub call: CarrierCallId,
    /// The carrier's word: `human`, `machine_start`, `fax`, `unknown`, or one that this version does not know.
    pub answered_by: String,
}

impl fmt::Debug for CallbackRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackRequest([redacted])")
    }
}

impl fmt::Debug for VerifiedCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedCallback([redacted])")
    }
}

impl fmt::Debug for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusReport")
            .field("call", &self.call.id())
            .field("status", &self.status)
            .field("sequence_number", &self.sequence_number)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IncomingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingCall").field("call", &self.call.id()).finish_non_exhaustive()
    }
}
