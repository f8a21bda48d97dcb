//! Clips: the texts that every call of an agent says alike (greeting, hold phrases, apologies), synthesized once.
//!
//! A [`ClipSet`] has such texts and their voice. Its [`key`](ClipSet::key) names the object with the audio, so that a
//! changed greeting or voice is another set, and no object is ever out of date. The dialer and the handler of inbound
//! calls make sure that a call's sets are stored; the worker reads them.
//!
//! One object holds the audio of all texts of a set: the number of texts, the length of each clip (both 32 bits,
//! little-endian), and the clips one after the other.

use std::time::Duration;

use crate::{accounts::sha256_hex, agents::Voice};

/// Maximum size of an object, in bytes: about four minutes of audio.
pub const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Maximum age of an object that is used. The bucket deletes objects ten days later.
pub const MAX_AGE: Duration = Duration::from_hours(20 * 24);

/// The version of the objects' layout, which is part of the key.
const VERSION: u32 = 1;
/// The length of a number in an object, in bytes.
const NUMBER: usize = 4;

/// Texts of one language, and the voice that speaks them.
#[derive(Clone, PartialEq)]
pub struct ClipSet {
    /// The voice that serves: see [`resolve`](crate::catalogue::resolve).
    pub voice: Voice,
    /// The language of the texts, a BCP-47 tag: some voices have to be told.
    pub language: String,
    /// The texts. The voice receives each in one piece.
    pub texts: Vec<String>,
}

impl std::fmt::Debug for ClipSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipSet").field("texts", &self.texts.len()).finish_non_exhaustive()
    }
}

impl ClipSet {
    /// Its name among the sets of an account: 64 hexadecimal digits.
    #[must_use]
    pub fn key(&self) -> String {
        sha256_hex(serde_json::json!([VERSION, self.voice, self.language, self.texts]).to_string())
    }

    /// The number of characters of all texts.
    #[must_use]
    pub fn characters(&self) -> u64 {
        self.texts.iter().map(|text| text.chars().count() as u64).sum()
    }

    /// Encodes the audio of the texts, in their order: mu-law, 8 kHz, mono, without a header. None if the number of
    /// clips differs from the number of texts, or if the object would be larger than [`MAX_BYTES`].
    #[must_use]
    pub fn encode(&self, audio: &[impl AsRef<[u8]>]) -> Option<Vec<u8>> {
        let audio: Vec<&[u8]> = audio.iter().map(AsRef::as_ref).collect();
        let size = audio.iter().fold(NUMBER, |sum, clip| sum.saturating_add(NUMBER + clip.len()));
        if audio.len() != self.texts.len() || size > MAX_BYTES {
            return None;
        }
        let mut object = Vec::with_capacity(size);
        for number in std::iter::once(audio.len()).chain(audio.iter().map(|clip| clip.len())) {
            object.extend(u32::try_from(number).ok()?.to_le_bytes());
        }
        object.extend(audio.concat());
        Some(object)
    }

    /// Decodes the audio of the texts, in their order. None if `object` is not one of this set.
    #[must_use]
    pub fn decode<'o>(&self, object: &'o [u8]) -> Option<Vec<&'o [u8]>> {
        if object.len() > MAX_BYTES {
            return None;
        }
        let (count, mut rest) = number(object)?;
        if count != self.texts.len() {
            return None;
        }
        let mut lengths = Vec::with_capacity(count);
        for _ in 0..count {
            let (length, behind) = number(rest)?;
            lengths.push(length);
            rest = behind;
        }
        let mut audio = Vec::with_capacity(count);
        for length in lengths {
            let (clip, behind) = rest.split_at_checked(length)?;
            audio.push(clip);
            rest = behind;
        }
        rest.is_empty().then_some(audio)
    }
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<NUMBER>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(texts: usize) -> ClipSet {
        let texts = (0..texts).map(|number| format!("Text {number}.")).collect();
        ClipSet { voice: Voice::default(), language: "en".into(), texts }
    }

    #[test]
    fn the_key_depends_on_the_voice_the_language_and_the_texts() {
        let key = set(2).key();
        assert!(key.len() == 64 && key.bytes().all(|digit| digit.is_ascii_hexdigit()), "{key}");
        assert_eq!(key, set(2).key());
        let voice = Voice::Azure { model: "other".into(), pitch: 0, rate: 0, credential_id: None };
        let joined = ClipSet { texts: vec!["Text 0.Text 1.".into()], ..set(0) };
        let language = "de".into();
        for other in [set(1), set(3), joined, ClipSet { voice, ..set(2) }, ClipSet { language, ..set(2) }] {
            assert_ne!(key, other.key());
        }
    }

    #[test]
    fn an_incomplete_or_too_large_set_is_not_encoded() {
        assert_eq!(set(2).encode(&[vec![0; 10]]), None);
        assert_eq!(set(1).encode(&[vec![0; MAX_BYTES]]), None);
        let whole = set(1).encode(&[vec![0; MAX_BYTES - 2 * NUMBER]]).unwrap();
        assert_eq!(whole.len(), MAX_BYTES);
        assert!(set(1).decode(&whole).is_some());
        assert_eq!(set(1).decode(&whole[1..]), None);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(audio in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..9)) {
            let set = set(audio.len());
            let object = set.encode(&audio).unwrap();
            prop_assert_eq!(set.decode(&object).unwrap(), audio);
            for cut in 0..object.len() {
                prop_assert_eq!(set.decode(&object[..cut]), None);
            }
        }

        #[test]
        fn hostile_bytes_are_no_object_or_lose_nothing(
            texts in 0_usize..4,
            numbers in prop::collection::vec(prop_oneof![0_u32..9, any::<u32>()], 0..6),
            tail in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            bytes.extend(tail);
            let set = set(texts);
            if let Some(audio) = set.decode(&bytes) {
                prop_assert_eq!(set.encode(&audio).unwrap(), bytes);
            }
        }
    }
}
