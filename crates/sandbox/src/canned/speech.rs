//! Canned speech: transcripts and audio without an engine.

use std::sync::LazyLock;

use crate::audio;

/// "Wait a moment.", spoken: 1.4 s of mu-law.
pub(super) const SPEECH: &[u8] = include_bytes!("speech.ulaw");
/// The agent's voice is this many times quieter than the callers, so that no frame of theirs is taken for its echo.
const QUIETER: i16 = 16;
/// The first bytes of a response. Every byte of a label survives the codec.
const MAGIC: [u8; 7] = [0x21, 0xA7, 0x32, 0xB6, 0x43, 0xC5, 0x54];
/// Bytes of a label: the magic bytes, the sentence, eight digits of the number.
const LABEL: usize = MAGIC.len() + 9;

/// One of the two sentences of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sentence {
    First,
    Last,
}

impl Sentence {
    /// The beginning of the sentence, which is unique.
    fn opening(self) -> &'static str {
        match self {
            Self::First => "The first half",
            Self::Last => "The last half",
        }
    }

    /// The text of the sentence.
    pub(super) fn about(self, number: u32) -> String {
        format!("{} is about number {number} of all of them.", self.opening())
    }
}

/// The number in a question or a response.
pub(super) fn number(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once(" number ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The audio of a text at 8 kHz, labelled if it is a sentence of a response; and the number of a first sentence.
pub(super) fn sound(text: &str) -> (Vec<i16>, Option<u32>) {
    static QUIET: LazyLock<Vec<i16>> =
        LazyLock::new(|| SPEECH.iter().map(|&byte| audio::decode(byte) / QUIETER).collect());
    let mut samples = QUIET.clone();
    let sentence = [Sentence::First, Sentence::Last].into_iter().find(|s| text.starts_with(s.opening()));
    let (Some(sentence), Some(number)) = (sentence, number(text)) else { return (samples, None) };
    samples.splice(..LABEL, label(sentence, number).map(audio::decode));
    (samples, (sentence == Sentence::First).then_some(number))
}

fn label(sentence: Sentence, number: u32) -> [u8; LABEL] {
    let mut label = [0x20; LABEL];
    label[..MAGIC.len()].copy_from_slice(&MAGIC);
    label[MAGIC.len()] += u8::from(sentence == Sentence::First);
    for (digit, byte) in label[MAGIC.len() + 1..].iter_mut().enumerate() {
        *byte += (number >> (28 - 4 * digit)).to_le_bytes()[0] & 0x0F;
    }
    label
}

/// The label at the beginning of a sentence of a response.
pub(super) fn read_label(mulaw: &[u8]) -> Option<(Sentence, u32)> {
    let label = mulaw.get(..LABEL)?.strip_prefix(&MAGIC)?;
    let sentence = if label[0] == 0x21 { Sentence::First } else { Sentence::Last };
    let number = label[1..].iter().fold(0, |number, byte| (number << 4) | u32::from(byte & 0x0F));
    Some((sentence, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mulaw(text: &str) -> Vec<u8> {
        sound(text).0.into_iter().map(audio::encode).collect()
    }

    #[test]
    fn a_label_passes_the_codec_and_is_read_where_its_sentence_begins() {
        for (sentence, asked) in [(Sentence::First, 1000), (Sentence::Last, 0xFEDC_BA98)] {
            let mulaw = mulaw(&sentence.about(asked));
            assert_eq!(mulaw.len(), SPEECH.len());
            assert_eq!(read_label(&mulaw), Some((sentence, asked)));
            assert_eq!(read_label(&mulaw[1..]), None);
            assert_eq!(read_label(&mulaw[..LABEL - 1]), None);
        }
    }

    #[test]
    fn other_texts_have_no_label() {
        assert_eq!(read_label(&mulaw("Hello, how can I help?")), None);
        assert_eq!(number("What number"), None);
    }
}
