//! What every call of an agent says the same, spoken once and kept: its greeting, and the engine's own phrases.
//!
//! A [`ClipSet`] names such texts and the voice that speaks them; its [`key`](ClipSet::key) is where their audio
//! is kept, so a changed greeting or voice is another set, and nothing is ever out of date. Whoever begins a call
//! makes sure that its [sets](ClipSet::of) are there; whoever talks reads them.
//!
//! One object holds the audio of all texts of a set: their number, the length of each (both 32 bits,
//! little-endian), and the audio, one after the other.

use std::time::Duration;

use crate::{
    accounts::sha256_hex,
    agents::{AgentConfig, Voice},
    dialogue, substitutions,
};

/// The most that one object holds, in bytes: four minutes.
pub const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Objects are deleted ten days after this: so long they may be used without being made again.
pub const MAX_AGE: Duration = Duration::from_hours(20 * 24);

/// Of a long greeting, what is kept: a minute, while which the voice speaks the rest.
const GREETING_CHARACTERS: usize = 1_000;
/// Grows when an object is laid out differently.
const VERSION: u32 = 1;
/// Of a number in an object, in bytes.
const NUMBER: usize = 4;

/// Texts, and the voice that speaks them.
#[derive(Clone, PartialEq)]
pub struct ClipSet {
    /// The voice as it is served: see [`substitutions::serving`].
    pub voice: Voice,
    /// Each as it is handed to the voice, in one piece.
    pub texts: Vec<String>,
}

impl std::fmt::Debug for ClipSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipSet").field("texts", &self.texts.len()).finish_non_exhaustive()
    }
}

impl ClipSet {
    /// The sets that a call of `agent` uses: its greeting, if it has one, and the phrases of its language.
    #[must_use]
    pub fn of(agent: &AgentConfig) -> Vec<Self> {
        let serving = substitutions::serving(agent);
        let mut greeting = dialogue::clauses(agent.initial_message.as_deref().unwrap_or_default());
        let mut characters = 0;
        greeting.retain(|clause| {
            characters += clause.chars().count();
            characters <= GREETING_CHARACTERS
        });
        let phrases = dialogue::phrases(serving.transcriber.language());
        let sets = [greeting, phrases].map(|texts| Self { voice: serving.voice.clone(), texts });
        sets.into_iter().filter(|set| !set.texts.is_empty()).collect()
    }

    /// Its name among the sets of an account: 64 hexadecimal digits.
    #[must_use]
    pub fn key(&self) -> String {
        sha256_hex(serde_json::json!([VERSION, self.voice, self.texts]).to_string())
    }

    /// The characters of all texts.
    #[must_use]
    pub fn characters(&self) -> u64 {
        self.texts.iter().map(|text| text.chars().count() as u64).sum()
    }

    /// One object of the audio of each text, in their order: mu-law, 8 kHz, mono, without any header. None:
    /// another number of them than there are texts, or too much.
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

    /// The audio of each text in an object, in their order; none if it is not an object of this set.
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
    use crate::agents::Transcriber;

    fn set(texts: usize) -> ClipSet {
        let texts = (0..texts).map(|number| format!("Text {number}.")).collect();
        ClipSet { voice: Voice::default(), texts }
    }

    #[test]
    fn a_set_is_kept_under_its_voice_and_its_texts() {
        let key = set(2).key();
        assert!(key.len() == 64 && key.bytes().all(|digit| digit.is_ascii_hexdigit()), "{key}");
        assert_eq!(key, set(2).key());
        let voice = Voice::Deepgram { model: "aura-2-zeus-en".into(), credential_id: None };
        let joined = ClipSet { texts: vec!["Text 0.Text 1.".into()], ..set(0) };
        for other in [set(1), set(3), joined, ClipSet { voice, ..set(2) }] {
            assert_ne!(key, other.key());
        }
    }

    #[test]
    fn a_call_uses_its_greeting_and_the_phrases_of_its_language() {
        let silent = AgentConfig::default();
        let greeter = AgentConfig { initial_message: Some("Hello! How are you?".into()), ..silent.clone() };
        let sets = ClipSet::of(&greeter);
        assert_eq!(sets[0].texts.concat().replace(' ', ""), "Hello!Howareyou?");
        assert_eq!(sets[1..], ClipSet::of(&silent), "the phrases are the same for all");
        let azure = Transcriber::Azure { languages: vec!["de-DE".into()], credential_id: None };
        let german = AgentConfig { transcriber: azure, ..silent };
        assert_ne!(ClipSet::of(&german), sets[1..]);
    }

    #[test]
    fn a_voice_that_is_served_by_another_is_kept_as_the_other() {
        let asked = |model: &str| Voice::Elevenlabs {
            voice_id: model.into(),
            model_id: "eleven_turbo_v2".into(),
            optimize_latency: 3,
            use_speaker_boost: false,
            similarity_boost: 0.5,
            stability: 0.5,
            credential_id: None,
        };
        let agent = |voice| AgentConfig { voice, ..AgentConfig::default() };
        let served = Voice::Deepgram { model: "aura-2-zeus-en".into(), credential_id: None };
        assert_eq!(ClipSet::of(&agent(asked("adam"))), ClipSet::of(&agent(served)));
        assert_ne!(ClipSet::of(&agent(asked("adam"))), ClipSet::of(&agent(asked("rachel"))));
    }

    #[test]
    fn of_an_endless_greeting_the_beginning_is_kept() {
        let greeting = "This is one of very many sentences, each of them like the other ones. ".repeat(60);
        let agent = AgentConfig { initial_message: Some(greeting.clone()), ..AgentConfig::default() };
        let kept = &ClipSet::of(&agent)[0];
        assert!((1..=GREETING_CHARACTERS as u64).contains(&kept.characters()), "{}", kept.characters());
        assert_eq!(kept.texts, dialogue::clauses(&greeting)[..kept.texts.len()]);
    }

    #[test]
    fn a_set_that_is_too_large_or_not_whole_is_no_object() {
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
