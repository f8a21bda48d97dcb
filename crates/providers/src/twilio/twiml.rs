//! TwiML: what the carrier is to do with a call.

use std::{fmt, io};

use quick_xml::{Writer, events::BytesText, writer::ElementWriter};

/// Why a call is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// The caller hears that the number does not exist.
    Rejected,
    /// The caller hears the busy tone.
    Busy,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rejected => "rejected",
            Self::Busy => "busy",
        })
    }
}

/// A media stream, and what comes after it.
#[derive(Clone, Copy)]
pub struct ConnectStream<'a> {
    /// The websocket. A query would be dropped by the carrier: use `parameters`.
    pub url: &'a str,
    /// They arrive with the stream's start; name and value of each may be 500 characters together.
    pub parameters: &'a [(&'a str, &'a str)],
    /// Where the stream's beginning, end and failure are reported.
    pub status_callback: &'a str,
    /// Where the carrier asks what to do with the call once the websocket is closed.
    pub then: &'a str,
}

impl fmt::Debug for ConnectStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectStream([redacted])")
    }
}

/// Connects the call's audio to a websocket until that is closed by its server; then asks how to go on.
#[must_use]
pub fn connect_stream(connect: &ConnectStream<'_>) -> String {
    response(|writer| {
        writer.create_element("Connect").write_inner_content(|writer| {
            let stream = writer
                .create_element("Stream")
                .with_attribute(("url", connect.url))
                .with_attribute(("statusCallback", connect.status_callback));
            write_parameters(stream, connect.parameters)
        })?;
        writer
            .create_element("Redirect")
            .with_attribute(("method", "POST"))
            .write_text_content(BytesText::new(connect.then))?;
        Ok(())
    })
}

/// Ends the call.
#[must_use]
pub fn hangup() -> String {
    response(|writer| {
        writer.create_element("Hangup").write_empty()?;
        Ok(())
    })
}

/// Turns an inbound call away; it is neither answered nor paid for.
#[must_use]
pub fn reject(reason: RejectReason) -> String {
    response(|writer| {
        let reason = reason.to_string();
        writer.create_element("Reject").with_attribute(("reason", reason.as_str())).write_empty()?;
        Ok(())
    })
}

fn write_parameters(stream: ElementWriter<'_, Vec<u8>>, parameters: &[(&str, &str)]) -> io::Result<()> {
    if parameters.is_empty() {
        stream.write_empty()?;
        return Ok(());
    }
    stream.write_inner_content(|writer| {
        for (name, value) in parameters {
            let parameter = writer.create_element("Parameter");
            parameter.with_attribute(("name", *name)).with_attribute(("value", *value)).write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn response(write: impl FnOnce(&mut Writer<Vec<u8>>) -> io::Result<()>) -> String {
    let mut writer = Writer::new(Vec::new());
    writer.create_element("Response").write_inner_content(write).expect("writing into memory does not fail");
    String::from_utf8(writer.into_inner()).expect("only text was written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_connected_with_its_parameters_and_what_comes_after_it_escaped() {
        let connect = ConnectStream {
            url: "wss://media.example.com/media",
            parameters: &[("token", "a\"<&>b"), ("id", "cnv_1")],
            status_callback: "https://voice.example.com/stream?a=1&b=2",
            then: "https://voice.example.com/resume?a=1&b=<2>",
        };
        assert_eq!(
            connect_stream(&connect),
            "<Response><Connect><Stream url=\"wss://media.example.com/media\" \
             statusCallback=\"https://voice.example.com/stream?a=1&amp;b=2\">\
             <Parameter name=\"token\" value=\"a&quot;&lt;&amp;&gt;b\"/><Parameter name=\"id\" value=\"cnv_1\"/>\
             </Stream></Connect>\
             <Redirect method=\"POST\">https://voice.example.com/resume?a=1&amp;b=&lt;2&gt;</Redirect></Response>"
        );
        let bare = connect_stream(&ConnectStream { parameters: &[], ..connect });
        assert!(bare.contains("b=2\"/></Connect>"), "{bare}");
        assert_eq!(format!("{connect:?}"), "ConnectStream([redacted])", "the token is a secret");
    }

    #[test]
    fn calls_are_ended_and_turned_away() {
        assert_eq!(hangup(), "<Response><Hangup/></Response>");
        assert_eq!(reject(RejectReason::Busy), "<Response><Reject reason=\"busy\"/></Response>");
    }
}
