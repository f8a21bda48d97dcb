//! The framing of the speech protocol: headers and a body in a text or a binary message. Pure.

use crate::deepgram::recogniser::Encoding;

/// A message of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) path: &'a str,
    pub(super) request_id: &'a str,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// Reads a text message; the error says what is wrong with it.
pub(super) fn text(message: &str) -> Result<Message<'_>, &'static str> {
    let (head, body) =
        message.split_once("\r\n\r\n").ok_or("a text message needs an empty line before its body")?;
    with(head, body.as_bytes())
}

/// Reads a binary message, which begins with the length of its headers.
pub(super) fn binary(message: &[u8]) -> Result<Message<'_>, &'static str> {
    let (length, rest) =
        message.split_first_chunk().ok_or("a binary message needs the length of its headers")?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (head, body) = rest.split_at_checked(length).ok_or("the headers are longer than the message")?;
    let head = std::str::from_utf8(head).map_err(|_| "the headers are no text")?;
    with(head, body)
}

fn with<'a>(head: &'a str, body: &'a [u8]) -> Result<Message<'a>, &'static str> {
    let header = |name: &str| {
        head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let path = header("Path").ok_or("a message needs a Path")?;
    let timestamp = header("X-Timestamp").ok_or("a message needs an X-Timestamp")?;
    if timestamp.parse::<jiff::Timestamp>().is_err() || !timestamp.ends_with('Z') {
        return Err("X-Timestamp must be a time in UTC");
    }
    let request_id = header("X-RequestId").unwrap_or_default();
    // Only the configuration of the connection belongs to no turn.
    if path != "speech.config" && !is_id(request_id) {
        return Err("X-RequestId must be 32 hexadecimal digits");
    }
    Ok(Message { path, request_id, content_type: header("Content-Type"), body })
}

/// Whether this is an id as the vendor wants it: 32 hexadecimal digits without dashes.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reads the header of the audio: 8 kHz mu-law or 16 kHz linear, one channel.
pub(super) fn read_wav(header: &[u8]) -> Result<Encoding, &'static str> {
    if header.len() < 44 || &header[..4] != b"RIFF" || &header[8..16] != b"WAVEfmt " {
        return Err("the audio of a turn must begin with a RIFF header");
    }
    // The format, one channel, samples and bytes in a second, bytes and bits in a sample.
    match header[20..36] {
        [7, 0, 1, 0, 0x40, 0x1F, 0, 0, 0x40, 0x1F, 0, 0, 1, 0, 8, 0] => Ok(Encoding::Mulaw),
        [1, 0, 1, 0, 0x80, 0x3E, 0, 0, 0, 0x7D, 0, 0, 2, 0, 16, 0] => Ok(Encoding::Wideband),
        _ => Err("this server takes 8 kHz mu-law and 16 kHz PCM with one channel only"),
    }
}

/// A text message of the server.
pub(super) fn answer(path: &str, request_id: &str, body: &serde_json::Value) -> String {
    format!(
        "X-RequestId:{request_id}\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "280ea3a98c654776ad28fb149d2b5bc5";
    const TIME: &str = "X-Timestamp:2026-11-30T19:34:40.257Z";

    #[test]
    fn a_message_is_read_in_both_forms() {
        // The header that the vendor's own client sends.
        let head = format!(
            "{TIME}\r\nPath:audio\r\nContent-Type:audio/x-wav\r\nX-RequestId:{ID}\r\nX-StreamId:1\r\n"
        );
        let message =
            [&u16::try_from(head.len()).unwrap().to_be_bytes(), head.as_bytes(), b"\xff\xff"].concat();
        let expected =
            Message { path: "audio", request_id: ID, content_type: Some("audio/x-wav"), body: b"\xff\xff" };
        assert_eq!(binary(&message), Ok(expected));
        let context = format!("{TIME}\r\nPath:speech.context\r\nX-RequestId:{ID}\r\n\r\n{{}}");
        assert_eq!(text(&context).unwrap().body, b"{}");
    }

    #[test]
    fn malformed_messages_are_refused() {
        for wrong in [
            "Path:speech.context".to_owned(),
            format!("{TIME}\r\n\r\n{{}}"),
            format!("Path:speech.context\r\nX-RequestId:{ID}\r\n\r\n{{}}"),
            format!("X-Timestamp:today\r\nPath:speech.context\r\nX-RequestId:{ID}\r\n\r\n{{}}"),
            format!(
                "{TIME}\r\nPath:speech.context\r\nX-RequestId:280ea3a9-8c65-4776-ad28-fb149d2b5bc5\r\n\r\n{{}}"
            ),
        ] {
            assert!(text(&wrong).is_err(), "{wrong}");
        }
        for wrong in [&b""[..], b"\0", b"\xff\xffPath:audio"] {
            assert!(binary(wrong).is_err());
        }
    }

    #[test]
    fn audio_needs_its_header() {
        let header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x07\0\x01\0@\x1f\0\0@\x1f\0\0\x01\0\x08\0data\0\0\0\0";
        assert_eq!(read_wav(header), Ok(Encoding::Mulaw));
        let wideband =
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0";
        assert_eq!(read_wav(wideband), Ok(Encoding::Wideband));
        let mut pcm = *header;
        pcm[20] = 1;
        assert!(
            read_wav(&pcm).is_err() && read_wav(&header[..20]).is_err() && read_wav(&[0xFF; 800]).is_err()
        );
    }
}
