//! Callbacks: forms that report on calls and streams.

use std::{borrow::Cow, time::Duration};

use switchboard_model::phone_numbers::E164;

use super::values::{call_id, call_status, rfc2822};
use crate::carrier::{
    CarrierCallId,
    callbacks::{
        ANONYMOUS, DetectionReport, IncomingCall, StatusReport, StreamEvent, StreamReport, UnusableCallback,
    },
};

/// The decoded parameters of a form.
pub(super) type Form<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A callback has some 30 parameters.
const MAX_PARAMETERS: usize = 200;

/// The longest verdict of answering machine detection that is believed, in bytes.
const MAX_VERDICT_BYTES: usize = 64;

/// Decodes `application/x-www-form-urlencoded`. Parameters beyond 200 are dropped, and the signature then does not
/// match.
pub(super) fn parse_form(body: &[u8]) -> Form<'_> {
    form_urlencoded::parse(body).take(MAX_PARAMETERS).collect()
}

/// A parameter that was sent and is not empty.
fn text<'a>(form: &'a Form<'_>, name: &str) -> Option<&'a str> {
    let found = form.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
    found.filter(|value| !value.is_empty())
}

pub(super) fn call(body: &[u8]) -> Result<CarrierCallId, UnusableCallback> {
    call_of(&parse_form(body))
}

fn call_of(form: &Form<'_>) -> Result<CarrierCallId, UnusableCallback> {
    text(form, "CallSid").and_then(|sid| call_id(sid).ok()).ok_or(UnusableCallback("CallSid"))
}

/// The number that is called, in any callback about a call.
pub(super) fn called_number(body: &[u8]) -> Option<E164> {
    text(&parse_form(body), "To")?.parse().ok()
}

pub(super) fn incoming_call(body: &[u8]) -> Result<IncomingCall, UnusableCallback> {
    let form = parse_form(body);
    let from = text(&form, "From").and_then(|from| from.parse().ok());
    let from_number = from.or_else(|| ANONYMOUS.parse().ok()).ok_or(UnusableCallback("From"))?;
    Ok(IncomingCall { call: call_of(&form)?, from_number })
}

pub(super) fn stream_report(body: &[u8]) -> Result<StreamReport, UnusableCallback> {
    let form = parse_form(body);
    let event = match text(&form, "StreamEvent").ok_or(UnusableCallback("StreamEvent"))? {
        "stream-started" => StreamEvent::Started,
        "stream-stopped" => StreamEvent::Stopped,
        "stream-error" => StreamEvent::Error,
        _ => StreamEvent::Unknown,
    };
    let number = |error: &str| {
        error.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
    };
    Ok(StreamReport {
        call: call_of(&form)?,
        stream_id: text(&form, "StreamSid").map(str::to_owned),
        event,
        error_code: text(&form, "StreamError").and_then(number),
    })
}

pub(super) fn detection_report(body: &[u8]) -> Result<DetectionReport, UnusableCallback> {
    let form = parse_form(body);
    let is_word = |text: &&str| {
        text.len() <= MAX_VERDICT_BYTES && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let answered_by = text(&form, "AnsweredBy").filter(is_word).ok_or(UnusableCallback("AnsweredBy"))?;
    Ok(DetectionReport { call: call_of(&form)?, answered_by: answered_by.to_owned() })
}

pub(super) fn status_report(body: &[u8]) -> Result<StatusReport, UnusableCallback> {
    let form = parse_form(body);
    let text = |name| text(&form, name);
    let call = call_of(&form)?;
    let status = text("CallStatus").map(call_status).ok_or(UnusableCallback("CallStatus"))?;
    Ok(StatusReport {
        call,
        status,
        sequence_number: text("SequenceNumber").and_then(|number| number.parse().ok()),
        duration: text("CallDuration").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs),
        timestamp: text("Timestamp").and_then(rfc2822),
        answered_by: text("AnsweredBy").map(str::to_owned),
        sip_code: text("SipResponseCode").and_then(|code| code.parse().ok()),
        error_code: text("ErrorCode").and_then(|code| code.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::carrier::calls::CallStatus;

    const SID: &str = "CA00000000000000000000000000000001";

    #[test]
    fn every_member_of_a_status_report_is_read() {
        let body = format!(
            "CallSid={SID}&AccountSid=AC1&CallStatus=completed&CallDuration=42&Duration=1&SequenceNumber=3\
             &Timestamp=Sun%2C+22+Nov+2026+09%3A30%3A00+%2B0000&AnsweredBy=human&SipResponseCode=200&From=%2B1500"
        );
        let callback = status_report(body.as_bytes()).unwrap();
        assert_eq!(callback.call.id(), SID);
        assert_eq!(callback.status, CallStatus::Completed);
        assert_eq!(callback.sequence_number, Some(3));
        assert_eq!(callback.duration, Some(Duration::from_secs(42)));
        assert_eq!(callback.timestamp.unwrap().to_string(), "2026-11-22T09:30:00.000Z");
        assert_eq!(callback.answered_by.as_deref(), Some("human"));
        assert_eq!(callback.sip_code, Some(200));
        assert_eq!(callback.error_code, None);
    }

    #[test]
    fn unknown_statuses_and_unreadable_members_are_tolerated() {
        let body =
            format!("CallSid={SID}&CallStatus=parked&SequenceNumber=x&Timestamp=soon&CallDuration=&Future=1");
        let callback = status_report(body.as_bytes()).unwrap();
        assert_eq!(callback.status, CallStatus::Unknown);
        assert!(!callback.status.is_terminal());
        assert_eq!((callback.sequence_number, callback.duration, callback.timestamp), (None, None, None));
    }

    #[test]
    fn a_form_without_call_or_status_is_unusable() {
        let read = |body: &str| status_report(body.as_bytes()).unwrap_err().to_string();
        assert_eq!(read("CallStatus=busy"), "the callback has no usable CallSid");
        assert_eq!(read("CallSid=../x&CallStatus=busy"), "the callback has no usable CallSid");
        assert_eq!(read(&format!("CallSid={SID}")), "the callback has no usable CallStatus");
    }

    #[test]
    fn a_withheld_number_is_anonymous() {
        let caller = |from: &str| {
            let body = format!("CallSid={SID}&To=%2B14155550199&From={from}");
            assert_eq!(called_number(body.as_bytes()).unwrap().as_str(), "+14155550199");
            incoming_call(body.as_bytes()).unwrap().from_number.to_string()
        };
        assert_eq!(caller("%2B14155550100"), "+14155550100");
        for hidden in ["", "Anonymous", "sip%3Aada%40example.com"] {
            assert_eq!(caller(hidden), ANONYMOUS);
        }
    }

    #[test]
    fn every_member_of_a_stream_report_is_read() {
        let read = |body: &str| stream_report(format!("CallSid={SID}{body}").as_bytes());
        let broken = read(
            "&StreamSid=MZ1&StreamEvent=stream-error&StreamError=31921+closed&Timestamp=2026-11-22T09:30:00.5Z",
        );
        let broken = broken.unwrap();
        assert_eq!((broken.event, broken.error_code), (StreamEvent::Error, Some(31921)));
        assert_eq!(broken.stream_id.as_deref(), Some("MZ1"));
        let stopped = read("&StreamEvent=stream-stopped").unwrap();
        assert_eq!((stopped.event, stopped.error_code), (StreamEvent::Stopped, None));
        assert_eq!(stopped.stream_id, None);
        assert_eq!(read("&StreamEvent=stream-started").unwrap().event, StreamEvent::Started);
        assert_eq!(read("&StreamEvent=stream-paused").unwrap().event, StreamEvent::Unknown);
        assert_eq!(read("").unwrap_err().to_string(), "the callback has no usable StreamEvent");
    }

    #[test]
    fn a_detection_verdict_is_a_single_word() {
        let read = |body: &str| {
            let form = format!("CallSid={SID}&AccountSid=AC1&MachineDetectionDuration=2400{body}");
            detection_report(form.as_bytes()).map(|read| read.answered_by)
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
            let _ = status_report(&body);
            let _ = stream_report(&body);
            let _ = detection_report(&body);
        }

        #[test]
        fn hostile_values_never_panic(value in "[-+0-9a-zA-Z, :%&=]{0,40}") {
            let body = format!("CallSid={SID}&CallStatus={value}&Timestamp={value}&CallDuration={value}&SequenceNumber={value}");
            let _ = status_report(body.as_bytes());
            let body = format!("CallSid={SID}&StreamEvent={value}&Timestamp={value}&StreamError={value}");
            let _ = stream_report(body.as_bytes());
        }
    }
}
