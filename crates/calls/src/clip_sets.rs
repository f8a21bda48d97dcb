//! The clips of an agent: what its calls say the same each time.

use switchboard_model::{
    agents::{AgentConfig, Voice},
    clips::ClipSet,
};

/// Maximum length of the part of a greeting that is synthesized ahead, in characters. It lasts about a minute, in which
/// the voice session synthesizes the rest.
const GREETING_CHARACTERS: usize = 1_000;

/// The clip sets of a call of `agent` that begins with `voice`: its disclosure and greeting, if it has them, and the hold
/// phrases of its language.
#[must_use]
pub fn clip_sets(agent: &AgentConfig, voice: &Voice) -> Vec<ClipSet> {
    let first_words = [&agent.disclosure, &agent.initial_message].into_iter().flatten();
    let mut greeting: Vec<String> =
        first_words.flat_map(|text| switchboard_dialogue::clauses(text)).collect();
    let mut characters = 0;
    greeting.retain(|clause| {
        characters += clause.chars().count();
        characters <= GREETING_CHARACTERS
    });
    let language = agent.transcriber.language();
    let phrases = switchboard_dialogue::phrases(language);
    let set = |texts| ClipSet { voice: voice.clone(), language: language.to_owned(), texts };
    let sets = [greeting, phrases].map(set);
    sets.into_iter().filter(|set| !set.texts.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use switchboard_model::{agents::Transcriber, catalogue, time::Timestamp};

    use super::*;

    /// 30 November 2026.
    fn today() -> Timestamp {
        Timestamp::from_millis(1_795_996_800_000)
    }

    /// Those of a deployment with all keys.
    fn clip_sets_at(agent: &AgentConfig, at: Timestamp) -> Vec<ClipSet> {
        super::clip_sets(agent, &catalogue::first_voice(agent, at.date(), &|_| true).0)
    }

    fn clip_sets(agent: &AgentConfig) -> Vec<ClipSet> {
        clip_sets_at(agent, today())
    }

    #[test]
    fn a_call_has_its_greeting_and_its_languages_hold_phrases() {
        let silent = AgentConfig::default();
        let greeter = AgentConfig { initial_message: Some("Hello! How are you?".into()), ..silent.clone() };
        let sets = clip_sets(&greeter);
        assert_eq!(sets[0].texts.concat().replace(' ', ""), "Hello!Howareyou?");
        assert_eq!(sets[1..], clip_sets(&silent), "the phrases are the same for all");
        let discloser = AgentConfig { disclosure: Some("I record.".into()), ..greeter };
        assert_eq!(clip_sets(&discloser)[0].texts, ["I record.", "Hello! How are you?"]);
        let azure = Transcriber::Azure { languages: vec!["de-DE".into()], credential_id: None };
        let german = AgentConfig { transcriber: azure, ..silent };
        assert_ne!(clip_sets(&german), sets[1..]);
    }

    #[test]
    fn a_voice_with_a_fallback_shares_the_fallbacks_clips() {
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
        // Both are served by the same voice of the fallback, one of them from the end of the year on.
        let next_year = today().after(std::time::Duration::from_hours(40 * 24));
        let adam = clip_sets_at(&agent(asked("adam")), next_year);
        assert_eq!(adam, clip_sets_at(&agent(asked("clyde")), next_year));
        assert_ne!(adam, clip_sets_at(&agent(asked("rachel")), next_year));
        assert_ne!(adam, clip_sets(&agent(asked("adam"))), "its own voice, while it has one");
    }

    #[test]
    fn only_the_beginning_of_a_long_greeting_is_a_clip() {
        let greeting = "This is one of very many sentences, each of them like the other ones. ".repeat(60);
        let agent = AgentConfig { initial_message: Some(greeting.clone()), ..AgentConfig::default() };
        let kept = &clip_sets(&agent)[0];
        assert!((1..=GREETING_CHARACTERS as u64).contains(&kept.characters()), "{}", kept.characters());
        assert_eq!(kept.texts, switchboard_dialogue::clauses(&greeting)[..kept.texts.len()]);
    }
}
