//! The framing of Azure's speech protocol over a websocket: a message is a block of headers and a body.
//!
//! A text message has its headers before an empty line; a binary one has the length of its headers in two bytes. Pure.

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};

use crate::audio::{AudioFormat, Encoding};

/// Maximum size of the headers that are read: a server sends some 150 bytes.
const MAX_HEADERS: usize = 4 * 1024;

/// A text message of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received<'a> {
    /// The kind of message, in lower case.
    pub(super) path: String,
    /// The turn that it belongs to.
    pub(super) request_id: &'a str,
    pub(super) body: &'a str,
}

/// Reads a text message; none if it is not one of the protocol.
pub(super) fn read(text: &str) -> Option<Received<'_>> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    if head.len() > MAX_HEADERS {
        return None;
    }
    let header = |name: &str| {
        head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    Some(Received {
        path: header("Path")?.to_ascii_lowercase(),
        request_id: header("X-RequestId").unwrap_or_default(),
        body,
    })
}

/// The headers that every message of ours has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers<'a> {
    pub(super) path: &'static str,
    /// Of the turn; 32 hexadecimal digits.
    pub(super) request_id: &'a str,
    /// ISO 8601, UTC.
    pub(super) timestamp: &'a str,
    pub(super) content_type: Option<&'static str>,
}

impl Headers<'_> {
    fn write(&self) -> String {
        let mut head = String::with_capacity(192);
        // Writing to a string cannot fail.
        let _ = write!(
            head,
            "Path: {}\r\nX-RequestId: {}\r\nX-Timestamp: {}\r\n",
            self.path, self.request_id, self.timestamp
        );
        if let Some(content_type) = self.content_type {
            let _ = write!(head, "Content-Type: {content_type}\r\n");
        }
        head
    }
}

/// A text message.
pub(super) fn text(headers: Headers<'_>, body: &str) -> String {
    format!("{}\r\n{body}", headers.write())
}

/// A binary message.
pub(super) fn binary(headers: Headers<'_>, body: &[u8]) -> Bytes {
    let head = headers.write();
    let mut message = BytesMut::with_capacity(2 + head.len() + body.len());
    message.put_u16(u16::try_from(head.len()).expect("our headers have some 150 bytes"));
    message.put_slice(head.as_bytes());
    message.put_slice(body);
    message.freeze()
}

/// The header of a WAV file without end.
pub(super) fn wav_header(format: AudioFormat) -> [u8; 44] {
    let AudioFormat { encoding, sample_rate } = format;
    let (tag, bytes_per_sample) = match encoding {
        Encoding::Pcm16 => (1, 2),
        Encoding::MuLaw => (7, 1),
    };
    let mut header = [0; 44];
    let mut out = &mut header[..];
    out.put_slice(b"RIFF\0\0\0\0WAVEfmt ");
    out.put_u32_le(16);
    // The encoding, one channel, samples and bytes in a second, bytes and bits of a sample.
    out.put_u16_le(tag);
    out.put_u16_le(1);
    out.put_u32_le(sample_rate);
    out.put_u32_le(sample_rate * u32::from(bytes_per_sample));
    out.put_u16_le(bytes_per_sample);
    out.put_u16_le(8 * bytes_per_sample);
    out.put_slice(b"data\0\0\0\0");
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADERS: Headers<'_> = Headers {
        path: "audio",
        request_id: "280ea3a98c654776ad28fb149d2b5bc5",
        timestamp: "2026-11-30T19:34:40.257Z",
        content_type: Some("audio/x-wav"),
    };

    #[test]
    fn a_binary_message_has_the_length_of_its_headers() {
        let message = binary(HEADERS, &wav_header(AudioFormat::TELEPHONE));
        let length = usize::from(u16::from_be_bytes([message[0], message[1]]));
        let head = std::str::from_utf8(&message[2..2 + length]).unwrap();
        assert_eq!(
            head,
            "Path: audio\r\nX-RequestId: 280ea3a98c654776ad28fb149d2b5bc5\r\n\
             X-Timestamp: 2026-11-30T19:34:40.257Z\r\nContent-Type: audio/x-wav\r\n"
        );
        // The header that the vendor's own client sends.
        let expected = b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x07\x00\x01\x00@\x1f\x00\x00@\x1f\x00\x00\x01\x00\x08\x00data\x00\x00\x00\x00";
        assert_eq!(&message[2 + length..], expected);
    }

    #[test]
    fn wideband_audio_has_the_header_that_the_vendors_client_sends() {
        let expected = b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\x3e\x00\x00\x00\x7d\x00\x00\x02\x00\x10\x00data\x00\x00\x00\x00";
        assert_eq!(&wav_header(AudioFormat::WIDEBAND), expected);
    }

    #[test]
    fn names_of_headers_are_read_in_any_case() {
        let message = "x-requestid:abc\r\nContent-Type:application/json; charset=utf-8\r\nPATH: Speech.Phrase\r\n\r\n{\"a\":1}";
        assert_eq!(
            read(message),
            Some(Received { path: "speech.phrase".into(), request_id: "abc", body: "{\"a\":1}" })
        );
        for malformed in ["", "Path:x", "Path:x\r\n{}", "X-RequestId:a\r\n\r\n{}"] {
            assert_eq!(read(malformed), None, "{malformed:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(body in "[ -~]{0,40}") {
            let message = text(Headers { path: "speech.context", ..HEADERS }, &body);
            let read = read(&message).unwrap();
            prop_assert_eq!((read.path.as_str(), read.request_id, read.body), ("speech.context", HEADERS.request_id, body.as_str()));
        }

        #[test]
        fn hostile_messages_never_panic(text in "(Path|X-RequestId|:|\r\n|\u{e9}| |x){0,30}") {
            let _ = read(&text);
        }
    }
}
