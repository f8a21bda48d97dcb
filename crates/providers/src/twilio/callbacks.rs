//! What the carrier reports of a call, as forms.
//!
//! Reports come late, twice, out of order or never: order them by [`StatusCallback::sequence_number`].

use std::{borrow::Cow, fmt, time::Duration};

use switchboard_model::{phone_numbers::E164, time::Timestamp};

use super::{CallSid, CallStatus};

/// The decoded parameters of a form.
pub type Form<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The carrier sends some 30; more is not a callback.
const MAX_PARAMETERS: usize = 200;

/// Decodes `application/x-www-form-urlencoded`; what lies beyond 200 parameters is dropped (and
/// the signature then does not match).
#[must_use]
pub fn parse_form(body: &[u8]) -> Form<'_> {
    form_urlencoded::parse(body).take(MAX_PARAMETERS).collect()
}

/// A call reached a new status.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusCallback {
    /// Which call.
    pub call_sid: CallSid,
    /// Its status.
    pub status: CallStatus,
    /// Counts a call's reports from 0; not sent by every kind of report.
    pub sequence_number: Option<u64>,
    /// From the answer to the end; sent with the end.
    pub duration: Option<Duration>,
    /// When the carrier saw it, to the second.
    pub timestamp: Option<Timestamp>,
    /// The verdict of machine detection (`human`, `machine_start`, ...), if it ran.
    pub answered_by: Option<String>,
    /// The far network's answer, such as 486 for busy, 603 for declined.
    pub sip_code: Option<u16>,
    /// The carrier's error, such as 13227, when the call failed.
    pub error_code: Option<u32>,
}

/// Somebody calls a number.
#[derive(Clone, PartialEq, Eq)]
pub struct IncomingCall {
    /// The carrier's id of the call.
    pub call_sid: CallSid,
    /// Who calls; [`ANONYMOUS`] if the caller, or the caller's network, does not say.
    pub from_number: E164,
}

impl fmt::Debug for IncomingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingCall").field("call_sid", &self.call_sid.as_str()).finish_non_exhaustive()
    }
}

/// The number that the carrier shows in place of one that is withheld: "ANONYMOUS" on a keypad.
pub const ANONYMOUS: &str = "+266696687";

/// What happened to a media stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEvent {
    /// Its websocket is open.
    Started,
    /// It was closed, by its server or since the call ended or went on elsewhere.
    Stopped,
    /// It could not be opened, or broke.
    Error,
    /// An event this version does not know.
    Unknown,
}

/// A media stream began, ended or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamCallback {
    /// Of which call.
    pub call_sid: CallSid,
    /// Which stream.
    pub stream_sid: Option<String>,
    /// What happened.
    pub event: StreamEvent,
    /// The carrier's number of the error, such as 31921, where its text begins with one.
    pub error_code: Option<u32>,
}

/// The carrier found out who answered a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectionCallback {
    /// Which call.
    pub call_sid: CallSid,
    /// The carrier's word: `human`, `machine_start`, `fax`, `unknown`, or one that this version does not know.
    pub answered_by: String,
}

/// The form is not the callback that was to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the callback has no usable {0}")]
pub struct NotAStatus(&'static str);

/// A parameter that was sent and is not empty.
fn text<'a>(form: &'a [(Cow<'_, str>, Cow<'_, str>)], name: &str) -> Option<&'a str> {
    let found = form.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
    found.filter(|value| !value.is_empty())
}

/// Which call a callback, or a question how a call is to go on, is about.
pub fn call_sid(form: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<CallSid, NotAStatus> {
    text(form, "CallSid").and_then(|sid| sid.parse().ok()).ok_or(NotAStatus("CallSid"))
}

/// The number that is called, in any callback about a call.
#[must_use]
pub fn to_number(form: &[(Cow<'_, str>, Cow<'_, str>)]) -> Option<E164> {
    text(form, "To")?.parse().ok()
}

impl IncomingCall {
    /// Reads a form.
    pub fn read(form: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<Self, NotAStatus> {
        let from = text(form, "From").and_then(|from| from.parse().ok());
        let from_number = from.or_else(|| ANONYMOUS.parse().ok()).ok_or(NotAStatus("From"))?;
        Ok(Self { call_sid: call_sid(form)?, from_number })
    }
}

impl StreamCallback {
    /// Reads a form. Optional parameters that cannot be read count as not sent.
    pub fn read(form: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<Self, NotAStatus> {
        let event = match text(form, "StreamEvent").ok_or(NotAStatus("StreamEvent"))? {
            "stream-started" => StreamEvent::Started,
            "stream-stopped" => StreamEvent::Stopped,
            "stream-error" => StreamEvent::Error,
            _ => StreamEvent::Unknown,
        };
        let number = |error: &str| {
            error.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
        };
        Ok(Self {
            call_sid: call_sid(form)?,
            stream_sid: text(form, "StreamSid").map(str::to_owned),
            event,
            error_code: text(form, "StreamError").and_then(number),
        })
    }
}

impl DetectionCallback {
    /// Reads a form.
    pub fn read(form: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<Self, NotAStatus> {
        let is_word = |text: &&str| {
            text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let answered_by = text(form, "AnsweredBy").filter(is_word).ok_or(NotAStatus("AnsweredBy"))?;
        Ok(Self { call_sid: call_sid(form)?, answered_by: answered_by.to_owned() })
    }
}

impl StatusCallback {
    /// Reads a form. Optional parameters that cannot be read count as not sent.
    pub fn read(form: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<Self, NotAStatus> {
        let text = |name| text(form, name);
        let call_sid = call_sid(form)?;
        let status = text("CallStatus").map(CallStatus::read).ok_or(NotAStatus("CallStatus"))?;
        Ok(Self {
            call_sid,
            status,
            sequence_number: text("SequenceNumber").and_then(|number| number.parse().ok()),
            duration: text("CallDuration").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs),
            timestamp: text("Timestamp").and_then(rfc2822),
            answered_by: text("AnsweredBy").map(str::to_owned),
            sip_code: text("SipResponseCode").and_then(|code| code.parse().ok()),
            error_code: text("ErrorCode").and_then(|code| code.parse().ok()),
        })
    }
}

impl fmt::Debug for StatusCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusCallback")
            .field("call_sid", &self.call_sid.as_str())
            .field("status", &self.status)
            .field("sequence_number", &self.sequence_number)
            .finish_non_exhaustive()
    }
}

pub(super) fn rfc2822(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(time.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SID: &str = "CA00000000000000000000000000000001";

    #[test]
    fn a_completed_call_is_read_whole() {
        let body = format!(
            "CallSid={SID}&AccountSid=AC1&CallStatus=completed&CallDuration=42&Duration=1&SequenceNumber=3\
             &Timestamp=Sun%2C+22+Nov+2026+09%3A30%3A00+%2B0000&AnsweredBy=human&SipResponseCode=200&From=%2B1500"
        );
        let callback = StatusCallback::read(&parse_form(body.as_bytes())).unwrap();
        assert_eq!(callback.call_sid.as_str(), SID);
        assert_eq!(callback.status, CallStatus::Completed);
        assert_eq!(callback.sequence_number, Some(3));
        assert_eq!(callback.duration, Some(Duration::from_secs(42)));
        assert_eq!(callback.timestamp.unwrap().to_string(), "2026-11-22T09:30:00.000Z");
        assert_eq!(callback.answered_by.as_deref(), Some("human"));
        assert_eq!(callback.sip_code, Some(200));
        assert_eq!(callback.error_code, None);
    }

    #[test]
    fn an_unknown_status_and_unreadable_details_do_not_lose_the_report() {
        let body =
            format!("CallSid={SID}&CallStatus=parked&SequenceNumber=x&Timestamp=soon&CallDuration=&Future=1");
        let callback = StatusCallback::read(&parse_form(body.as_bytes())).unwrap();
        assert_eq!(callback.status, CallStatus::Unknown);
        assert!(!callback.status.is_terminal());
        assert_eq!((callback.sequence_number, callback.duration, callback.timestamp), (None, None, None));
    }

    #[test]
    fn a_form_without_its_call_or_status_is_refused() {
        let read = |body: &str| StatusCallback::read(&parse_form(body.as_bytes())).unwrap_err().to_string();
        assert_eq!(read("CallStatus=busy"), "the callback has no usable CallSid");
        assert_eq!(read("CallSid=../x&CallStatus=busy"), "the callback has no usable CallSid");
        assert_eq!(read(&format!("CallSid={SID}")), "the callback has no usable CallStatus");
    }

    #[test]
    fn a_caller_who_does_not_say_who_they_are_is_anonymous() {
        let caller = |from: &str| {
            let body = format!("CallSid={SID}&To=%2B14155550199&From={from}");
            let form = parse_form(body.as_bytes());
            assert_eq!(to_number(&form).unwrap().as_str(), "+14155550199");
            IncomingCall::read(&form).unwrap().from_number.to_string()
        };
        assert_eq!(caller("%2B14155550100"), "+14155550100");
        for hidden in ["", "Anonymous", "sip%3Aada%40example.com"] {
            assert_eq!(caller(hidden), ANONYMOUS);
        }
    }

    #[test]
    fn a_broken_stream_is_read_whole() {
        let read = |body: &str| StreamCallback::read(&parse_form(format!("CallSid={SID}{body}").as_bytes()));
        let broken = read(
            "&StreamSid=MZ1&StreamEvent=stream-error&StreamError=31921+closed&Timestamp=2026-11-22T09:30:00.5Z",
        );
        let broken = broken.unwrap();
        assert_eq!((broken.event, broken.error_code), (StreamEvent::Error, Some(31921)));
        assert_eq!(broken.stream_sid.as_deref(), Some("MZ1"));
        let stopped = read("&StreamEvent=stream-stopped").unwrap();
        assert_eq!((stopped.event, stopped.error_code), (StreamEvent::Stopped, None));
        assert_eq!(stopped.stream_sid, None);
        assert_eq!(read("&StreamEvent=stream-started").unwrap().event, StreamEvent::Started);
        assert_eq!(read("&StreamEvent=stream-paused").unwrap().event, StreamEvent::Unknown);
        assert_eq!(read("").unwrap_err().to_string(), "the callback has no usable StreamEvent");
    }

    #[test]
    fn a_verdict_is_the_carriers_word_and_a_word_only() {
        let read = |body: &str| {
            let form = format!("CallSid={SID}&AccountSid=AC1&MachineDetectionDuration=2400{body}");
            DetectionCallback::read(&parse_form(form.as_bytes())).map(|read| read.answered_by)
        };
        for word in ["human", "machine_start", "fax", "unknown", "machine_of_tomorrow"] {
            assert_eq!(read(&format!("&AnsweredBy={word}")).unwrap(), word);
        }
        let long = format!("&AnsweredBy={}", "a".repeat(65));
        for none in ["", "&AnsweredBy=", "&AnsweredBy=two+words", "&AnsweredBy=%2B14155550100", &long] {
            assert_eq!(read(none).unwrap_err().to_string(), "the callback has no usable AnsweredBy");
        }
    }

    proptest! {
        #[test]
        fn hostile_forms_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = StatusCallback::read(&parse_form(&body));
            let _ = StreamCallback::read(&parse_form(&body));
            let _ = DetectionCallback::read(&parse_form(&body));
        }

        #[test]
        fn hostile_values_never_panic(value in "[-+0-9a-zA-Z, :%&=]{0,40}") {
            let body = format!("CallSid={SID}&CallStatus={value}&Timestamp={value}&CallDuration={value}&SequenceNumber={value}");
            let _ = StatusCallback::read(&parse_form(body.as_bytes()));
            let body = format!("CallSid={SID}&StreamEvent={value}&Timestamp={value}&StreamError={value}");
            let _ = StreamCallback::read(&parse_form(body.as_bytes()));
        }
    }
}
