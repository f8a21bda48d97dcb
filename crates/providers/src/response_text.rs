//! The text of a customer's response: decompressed, decoded, and cut.
//!
//! Requests accept no compression, but some servers compress nevertheless; many do not say in which encoding they write.

use std::io::Read;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, header};

/// How a gzip stream begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A body as text, and whether it is longer than the text. `body` is the beginning of the response, of at most
/// `max_bytes`; a compressed one is unpacked to at most `max_bytes`. A character that was cut is left out.
pub(crate) fn response_text(headers: &HeaderMap, body: &[u8], max_bytes: usize) -> (String, bool) {
    let mut unpacked = Vec::new();
    let body = if body.starts_with(&GZIP) {
        // A stream that was cut, or is broken, is read as far as it goes.
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        let _ = MultiGzDecoder::new(body).take(limit).read_to_end(&mut unpacked);
        &*unpacked
    } else {
        body
    };
    let is_cut = body.len() >= max_bytes;
    (decoded(headers, body, is_cut), is_cut)
}

/// Decodes by the byte order mark, else by the declared encoding, else as UTF-8, else as Windows-1252.
fn decoded(headers: &HeaderMap, body: &[u8], is_cut: bool) -> String {
    let (encoding, body) = match Encoding::for_bom(body) {
        Some((encoding, length)) => (encoding, &body[length..]),
        None => (declared(headers).unwrap_or_else(|| guessed(body)), body),
    };
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length(body.len()).unwrap_or(body.len()));
    // Without the last call of a stream, half a character at the end is no error: it is left out.
    let _ = decoder.decode_to_string(body, &mut text, !is_cut);
    text
}

/// The encoding that the response declares.
fn declared(headers: &HeaderMap) -> Option<&'static Encoding> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, label) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Encoding::for_label(label.trim().trim_matches('"').as_bytes())
}

fn guessed(body: &[u8]) -> &'static Encoding {
    match std::str::from_utf8(body) {
        // Half a character at the end.
        Err(error) if error.error_len().is_some() => WINDOWS_1252,
        _ => UTF_8,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const TEXT: &str = "Jos\u{e9} il \u{1f370} \u{20ac}";
    const MAX: usize = 1_000;

    fn read(content_type: Option<&str>, body: &[u8]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        response_text(&headers, body, MAX)
    }

    fn utf16(unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(TEXT.encode_utf16()).flat_map(unit).collect()
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn text_is_read_in_the_encoding_it_is_written_in() {
        let marked = [b"\xef\xbb\xbf", TEXT.as_bytes()].concat();
        let latin = b"Expos\xe9 zu 5 \x80";
        for (content_type, body, expected) in [
            (None, TEXT.as_bytes(), TEXT),
            (None, &marked, TEXT),
            (Some("application/json; charset=utf-8"), TEXT.as_bytes(), TEXT),
            (None, &utf16(u16::to_le_bytes), TEXT),
            (Some("text/plain; charset=utf-8"), &utf16(u16::to_be_bytes), TEXT),
            (None, latin, "Expos\u{e9} zu 5 \u{20ac}"),
            (Some("text/plain; format=flowed; charset=\"ISO-8859-1\""), latin, "Expos\u{e9} zu 5 \u{20ac}"),
            (Some("text/plain; charset=shift_jis"), b"\x82\xcd\x82\xa2", "\u{306f}\u{3044}"),
            (Some("text/plain; charset=unheard-of"), TEXT.as_bytes(), TEXT),
        ] {
            assert_eq!(read(content_type, body), (expected.to_owned(), false), "{content_type:?}");
        }
    }

    #[test]
    fn a_compressed_body_is_unpacked_though_none_was_accepted() {
        assert_eq!(read(None, &gzip(TEXT.as_bytes())), (TEXT.to_owned(), false));
        assert_eq!(read(None, &gzip(&utf16(u16::to_le_bytes))), (TEXT.to_owned(), false));
        assert_eq!(read(None, &GZIP), (String::new(), false), "a broken stream is nothing");
    }

    #[test]
    fn a_small_body_that_unpacks_to_much_is_cut() {
        let bomb = gzip(&vec![b'x'; 10_000_000]);
        assert!(bomb.len() > MAX, "the beginning of the stream is enough");
        let (text, is_cut) = read(None, &bomb[..MAX]);
        assert_eq!((text.len(), is_cut), (MAX, true));
    }

    #[test]
    fn a_character_that_was_cut_is_left_out() {
        let body = "\u{20ac}".repeat(MAX).into_bytes();
        assert_eq!(read(None, &body[..MAX]), ("\u{20ac}".repeat(MAX / 3), true));
    }
}
