//! Server-sent events, as streamed HTTP responses use them: bytes in, `data` texts out.
//!
//! Pure, and made for untrusted bytes: every split into chunks gives the same events, and the memory is bounded.

/// The longest event, in bytes; the vendors' have some 300.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// Splits a stream of bytes into events. Names, ids and comments are dropped.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    data: Option<String>,
    after_carriage_return: bool,
}

/// An event is longer than [`MAX_EVENT_BYTES`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is too long")]
pub(crate) struct TooLong;

impl Decoder {
    /// Takes the next bytes and appends the `data` of every event they complete to `events`.
    pub(crate) fn push(&mut self, bytes: &[u8], events: &mut Vec<String>) -> Result<(), TooLong> {
        for &byte in bytes {
            // A line ends with CR, LF or both; the LF of a pair is no line of its own.
            let paired = std::mem::replace(&mut self.after_carriage_return, byte == b'\r') && byte == b'\n';
            match byte {
                b'\n' if paired => {}
                b'\r' | b'\n' => self.end_line(events)?,
                _ if self.line.len() == MAX_EVENT_BYTES => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// Ends the stream. Some servers send no empty line after their last event.
    pub(crate) fn finish(&mut self, events: &mut Vec<String>) -> Result<(), TooLong> {
        if !self.line.is_empty() {
            self.end_line(events)?;
        }
        self.end_line(events)
    }

    fn end_line(&mut self, events: &mut Vec<String>) -> Result<(), TooLong> {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        if line.is_empty() {
            events.extend(self.data.take());
        } else if let Some(value) = line.strip_prefix("data").and_then(field_value) {
            match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) if data.len() + value.len() >= MAX_EVENT_BYTES => return Err(TooLong),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            }
        }
        self.line.clear();
        Ok(())
    }
}

/// The value after a field's name: empty, or behind a colon and at most one space.
fn field_value(rest: &str) -> Option<&str> {
    if rest.is_empty() {
        return Some("");
    }
    let value = rest.strip_prefix(':')?;
    Some(value.strip_prefix(' ').unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        for chunk in chunks {
            decoder.push(chunk, &mut events).unwrap();
        }
        decoder.finish(&mut events).unwrap();
        events
    }

    #[test]
    fn every_legal_event_is_read() {
        let stream = "\u{feff}data: one\n\n: keep-alive\n\ndata:two\r\n\r\nevent: x\rid: 7\rdata: three\r\r\
                      data: four\ndata: more\n\ndatabase: no\n\ndata\n\ndata:  last";
        assert_eq!(decode([stream.as_bytes()]), ["one", "two", "three", "four\nmore", "", " last"]);
    }

    #[test]
    fn an_endless_line_or_event_is_refused() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(&vec![b'x'; MAX_EVENT_BYTES + 1], &mut vec![]), Err(TooLong));
        let mut decoder = Decoder::default();
        let line = format!("data: {}\n", "x".repeat(1000));
        let refused = (0..2000).any(|_| decoder.push(line.as_bytes(), &mut vec![]).is_err());
        assert!(refused);
    }

    proptest! {
        #[test]
        fn every_split_into_chunks_gives_the_same_events(
            stream in "(data: ?|: |\r|\n|\r\n|\n\n|[a-zé{}]{0,9}){0,40}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(decode(chunks), decode([bytes]));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            decode([bytes.as_slice()]);
        }
    }
}
