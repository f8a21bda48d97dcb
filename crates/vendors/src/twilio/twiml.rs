//! TwiML: what the carrier is to do with a call.

use std::{fmt, io};

use quick_xml::{Writer, writer::ElementWriter};

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

/// Connects the call's audio to the websocket at `url`, until that closes it; then the call ends.
/// A query in `url` would be dropped by the carrier: use `parameters`, which arrive with the stream's
/// start; name and value of each may be 500 characters together.
#[must_use]
pub fn connect_stream(url: &str, parameters: &[(&str, &str)]) -> String {
    response(|writer| {
        writer.create_element("Connect").write_inner_content(|writer| {
            let stream = writer.create_element("Stream").with_attribute(("url", url));
            write_parameters(stream, parameters)
        })?;
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
    fn a_stream_is_connected_with_its_parameters_escaped() {
        assert_eq!(
            connect_stream("wss://media.example.com/media", &[("token", "a\"<&>b"), ("id", "cnv_1")]),
            "<Response><Connect><Stream url=\"wss://media.example.com/media\">\
             <Parameter name=\"token\" value=\"a&quot;&lt;&amp;&gt;b\"/><Parameter name=\"id\" value=\"cnv_1\"/>\
             </Stream></Connect></Response>"
        );
        assert_eq!(
            connect_stream("wss://m.example", &[]),
            "<Response><Connect><Stream url=\"wss://m.example\"/></Connect></Response>"
        );
    }

    #[test]
    fn calls_are_ended_and_turned_away() {
        assert_eq!(hangup(), "<Response><Hangup/></Response>");
        assert_eq!(reject(RejectReason::Busy), "<Response><Reject reason=\"busy\"/></Response>");
    }
}
