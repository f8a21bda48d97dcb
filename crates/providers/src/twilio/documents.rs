//! TwiML: instructions for a call as XML.

use std::{io, time::Duration};

use quick_xml::{Writer, events::BytesText, writer::ElementWriter};

use super::overrides::with_retries;
use crate::carrier::documents::{CallDocument, ConnectStream, Instructions, RejectReason};

/// TwiML must be declared as XML, and may hold non-ASCII characters.
const CONTENT_TYPE: &str = "text/xml; charset=utf-8";

pub(super) fn write(instructions: &Instructions<'_>) -> CallDocument {
    let body = response(|writer| match instructions {
        Instructions::Connect(connect) => connect_stream(writer, connect),
        Instructions::Reject(reason) => {
            let reason = match reason {
                RejectReason::NotInService => "rejected",
                RejectReason::Busy => "busy",
            };
            writer.create_element("Reject").with_attribute(("reason", reason)).write_empty()?;
            Ok(())
        }
        Instructions::HangUp => {
            writer.create_element("Hangup").write_empty()?;
            Ok(())
        }
        Instructions::Pause { time, then } => pause(writer, *time, then),
    });
    CallDocument { content_type: CONTENT_TYPE, body }
}

fn connect_stream(writer: &mut Writer<Vec<u8>>, connect: &ConnectStream<'_>) -> io::Result<()> {
    if connect.after >= Duration::from_secs(1) {
        silence(writer, connect.after)?;
    }
    writer.create_element("Connect").write_inner_content(|writer| {
        let stream = writer
            .create_element("Stream")
            .with_attribute(("url", connect.url))
            .with_attribute(("statusCallback", connect.status_callback));
        write_parameters(stream, connect.parameters)
    })?;
    redirect(writer, connect.then)
}

fn pause(writer: &mut Writer<Vec<u8>>, time: Duration, then: &str) -> io::Result<()> {
    silence(writer, time)?;
    redirect(writer, then)
}

fn silence(writer: &mut Writer<Vec<u8>>, time: Duration) -> io::Result<()> {
    let seconds = time.as_secs().to_string();
    writer.create_element("Pause").with_attribute(("length", seconds.as_str())).write_empty()?;
    Ok(())
}

fn redirect(writer: &mut Writer<Vec<u8>>, url: &str) -> io::Result<()> {
    let redirect = writer.create_element("Redirect").with_attribute(("method", "POST"));
    redirect.write_text_content(BytesText::new(&with_retries(url)))?;
    Ok(())
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
    fn a_stream_document_escapes_parameters_and_urls() {
        let connect = ConnectStream {
            after: Duration::ZERO,
            url: "wss://media.example.com/media",
            parameters: &[("token", "a\"<&>b"), ("id", "cnv_1")],
            status_callback: "https://voice.example.com/stream?a=1&b=2",
            then: "https://voice.example.com/resume?a=1&b=<2>",
        };
        assert_eq!(
            write(&Instructions::Connect(connect)).body,
            "<Response><Connect><Stream url=\"wss://media.example.com/media\" \
             statusCallback=\"https://voice.example.com/stream?a=1&amp;b=2\">\
             <Parameter name=\"token\" value=\"a&quot;&lt;&amp;&gt;b\"/><Parameter name=\"id\" value=\"cnv_1\"/>\
             </Stream></Connect>\
             <Redirect method=\"POST\">https://voice.example.com/resume?a=1&amp;b=&lt;2&gt;#rc=3&amp;rt=8000&amp;rp=5xx,ct,rt</Redirect></Response>"
        );
        let bare = write(&Instructions::Connect(ConnectStream { parameters: &[], ..connect })).body;
        assert!(bare.contains("b=2\"/></Connect>"), "{bare}");
        let later = ConnectStream { after: Duration::from_secs(8), ..connect };
        let later = write(&Instructions::Connect(later)).body;
        assert!(later.starts_with("<Response><Pause length=\"8\"/><Connect>"), "{later}");
    }

    #[test]
    fn calls_are_ended_rejected_and_paused() {
        let body = |instructions| write(&instructions).body;
        assert_eq!(body(Instructions::HangUp), "<Response><Hangup/></Response>");
        let rejected = |reason| body(Instructions::Reject(reason));
        assert_eq!(rejected(RejectReason::Busy), "<Response><Reject reason=\"busy\"/></Response>");
        assert_eq!(
            rejected(RejectReason::NotInService),
            "<Response><Reject reason=\"rejected\"/></Response>"
        );
        let pause = Instructions::Pause { time: Duration::from_secs(20), then: "https://a.example/next" };
        assert_eq!(
            body(pause),
            "<Response><Pause length=\"20\"/><Redirect method=\"POST\">https://a.example/next\
             #rc=3&amp;rt=8000&amp;rp=5xx,ct,rt</Redirect></Response>"
        );
    }
}
