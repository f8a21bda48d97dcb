//! Deepgram: live transcription and Aura voices.

use std::time::Duration;

use super::{
    Adapter, Capabilities, Connection, FallbackRule, Languages, Model, Price, Row, Service,
    TranscriberCapabilities, VoiceCapabilities, languages::is_same_language,
};
use crate::audio::{AudioFormat, Encoding};

const CONNECTION: Connection = Connection {
    provider: "deepgram",
    keys: &["deepgram_api_key"],
    is_required: false,
    url_variable: "DEEPGRAM_API_URL",
    default_url: "https://api.deepgram.com",
    opt_out_variable: Some("DEEPGRAM_MIP_OPT_OUT"),
};

/// The audio that both services take and yield without conversion.
const FORMATS: &[AudioFormat] = &[
    AudioFormat::TELEPHONE,
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 8_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 24_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 48_000 },
];

/// The price of `nova-3`, and of a transcription model that is not listed.
const NOVA_3: Price = Price::per_minute(48);

const NOVA_3_MULTI: Price = Price::per_minute(58);

pub(super) static TRANSCRIBER: Row = Row {
    provider: "deepgram",
    service: Service::Transcriber,
    about: "Deepgram live transcription.",
    adapter: Some(Adapter {
        connection: &CONNECTION,
        capabilities: Capabilities::Transcriber(TranscriberCapabilities {
            // Three to five seconds, measured; `smart_format` alone may hold a final for three.
            settles_within: Duration::from_secs(5),
            // 300 to 700 ms, measured.
            words_within: Duration::from_millis(700),
            detects_turns: true,
            understands_turns: false,
            formats: FORMATS,
            max_key_term_tokens: Some(MAX_KEY_TERM_TOKENS),
        }),
    }),
    models: &[
        Model {
            transcriber: Some(&FLUX),
            ..Model::new("flux-general-multi*", Price::per_minute(78)).speaks(TOLD_APART)
        },
        Model {
            transcriber: Some(&FLUX),
            ..Model::new("flux-general-en*", Price::per_minute(65)).speaks(ENGLISH)
        },
        Model::new("nova-3-medical*", NOVA_3).speaks(ENGLISH),
        Model {
            language_prices: &[("multi", NOVA_3_MULTI)],
            ..Model::new("nova-3*", NOVA_3).speaks(NOVA_3_LANGUAGES)
        },
        Model::new("nova-2-general*", NOVA_2).speaks(NOVA_2_LANGUAGES),
        // The models for one trade (telephone calls, meetings, medicine).
        Model::new("nova-2-*", NOVA_2).speaks(&["en", "en-US"]),
        Model::new("nova-2*", NOVA_2).speaks(NOVA_2_LANGUAGES),
    ],
    unlisted: NOVA_3,
    fallbacks: &[],
    successor: None,
};

/// Flux models end turns by themselves, by what is said and how.
const FLUX: TranscriberCapabilities = TranscriberCapabilities {
    // A turn becomes final with its end, [`FLUX_TURN_TIMEOUT`] after its last word at the latest.
    settles_within: Duration::from_secs(5),
    // Words come four times a second; not measured.
    words_within: Duration::from_millis(700),
    detects_turns: true,
    understands_turns: true,
    formats: FORMATS,
    max_key_term_tokens: Some(MAX_KEY_TERM_TOKENS),
};

/// Silence that ends a turn of a Flux model in any case. The vendor's default is five seconds; the caller waits for no
/// more than three.
pub const FLUX_TURN_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether a model speaks Flux's own protocol.
#[must_use]
pub fn is_flux(model: &str) -> bool {
    model.starts_with("flux-general-")
}

const NOVA_2: Price = Price::per_minute(58);

const ENGLISH: &[&str] = &["en", "en-US", "en-AU", "en-GB", "en-IN", "en-NZ"];

/// The languages that `multi` tells apart, and itself.
const TOLD_APART: &[&str] = &["multi", "de", "en", "es", "fr", "hi", "it", "ja", "nl", "pt", "ru"];

/// Whether these are several languages that it can tell apart.
pub(super) fn tells_apart(languages: &[String]) -> bool {
    let first = languages.first().map_or("", String::as_str);
    let is_known = |language: &String| Languages::Listed(TOLD_APART).nearest(language).is_some();
    languages.iter().any(|language| !is_same_language(language, first)) && languages.iter().all(is_known)
}

#[rustfmt::skip]
const NOVA_3_LANGUAGES: &[&str] = &[
    "multi", "en", "en-US", "en-AU", "en-GB", "en-IN", "en-NZ", "de", "de-CH", "es", "es-419", "fr", "fr-CA", "it", "nl",
    "nl-BE", "pt", "pt-BR", "pt-PT", "hi", "ja", "ko", "ko-KR", "sv", "sv-SE", "da", "da-DK", "zh", "zh-CN", "zh-TW",
    "th", "th-TH",
];

#[rustfmt::skip]
const NOVA_2_LANGUAGES: &[&str] = &[
    "multi", "en", "en-US", "en-AU", "en-GB", "en-IN", "en-NZ", "bg", "ca", "cs", "da", "da-DK", "de", "de-CH", "el", "es",
    "es-419", "et", "fi", "fr", "fr-CA", "hi", "hu", "id", "it", "ja", "ko", "ko-KR", "lt", "lv", "ms", "nl", "nl-BE", "no",
    "pl", "pt", "pt-BR", "pt-PT", "ro", "ru", "sk", "sv", "sv-SE", "th", "th-TH", "tr", "uk", "vi", "zh", "zh-CN",
    "zh-HK", "zh-TW",
];

pub(super) static VOICE: Row = Row {
    provider: "deepgram",
    service: Service::Voice,
    about: "Deepgram Aura.",
    adapter: Some(Adapter {
        connection: &CONNECTION,
        capabilities: Capabilities::Voice(VoiceCapabilities { formats: FORMATS, word_times: false }),
    }),
    models: &[
        Model::new("aura-2*", Price::per_thousand_characters(30)),
        Model::new("aura-*", Price::per_thousand_characters(15)),
    ],
    unlisted: UNLISTED_VOICE,
    fallbacks: &[],
    successor: None,
};

/// The price of a voice that is not listed.
pub(super) const UNLISTED_VOICE: Price = Price::per_thousand_characters(30);

/// A fallback to an Aura voice; conversations in other languages get the one of [`voice_in`] instead.
pub(super) const fn by_aura(name: &'static str, model: &'static str) -> FallbackRule {
    FallbackRule { name, provider: "deepgram", model }
}

/// Aura-2 voices by language: a woman's and a man's. A voice speaks its own language and reads others with its accent.
const VOICES: &[(&str, &str, &str)] = &[
    ("de", "aura-2-viktoria-de", "aura-2-julius-de"),
    ("es", "aura-2-celeste-es", "aura-2-nestor-es"),
    ("fr", "aura-2-agathe-fr", "aura-2-hector-fr"),
    ("it", "aura-2-livia-it", "aura-2-elio-it"),
    ("ja", "aura-2-izanami-ja", "aura-2-ebisu-ja"),
    ("nl", "aura-2-rhea-nl", "aura-2-sander-nl"),
];

/// The men's voices among the fallbacks.
const MENS_VOICES: &[&str] =
    &["aura-2-apollo-en", "aura-2-arcas-en", "aura-2-draco-en", "aura-2-orpheus-en", "aura-2-zeus-en"];

/// The voice that stands for an English one in a conversation in `language`; the English one itself where there is no
/// other.
pub(super) fn voice_in<'a>(language: &str, english: &'a str) -> &'a str {
    let found = VOICES.iter().find(|(of, ..)| is_same_language(of, language));
    found.map_or(english, |(_, woman, man)| if MENS_VOICES.contains(&english) { man } else { woman })
}

/// Whether a voice of the tables above, in lower case, is a man's.
pub(super) fn is_mans_voice(voice: &str) -> bool {
    MENS_VOICES.contains(&voice) || VOICES.iter().any(|(_, _, man)| *man == voice)
}

/// The model and language that a session asks for. A model that does not know the language is replaced by the nearest
/// one that does; a language by its primary subtag, or else by `multi`. A call never fails for its language.
#[must_use]
pub fn nearest_model<'a>(model: &'a str, language: &'a str) -> (&'a str, &'a str) {
    // The vendor calls no model just `flux`.
    let model = if model.starts_with("flux") && !is_flux(model) { "flux-general-en" } else { model };
    let general = match model {
        _ if is_flux(model) => "flux-general-multi",
        _ if model.starts_with("nova-2") => "nova-2",
        _ => "nova-3",
    };
    [model, general, "nova-3", "nova-2"]
        .into_iter()
        .find_map(|model| {
            let languages = TRANSCRIBER.model(model).map_or(Languages::Any, |model| model.languages);
            languages.nearest(language).map(|language| (model, language))
        })
        .unwrap_or(("nova-3", "multi"))
}

/// Maximum tokens of all key terms of a session; more are refused at the handshake.
const MAX_KEY_TERM_TOKENS: u32 = 500;
/// Maximum number of keywords of models before nova-3, as advised.
const MAX_KEYWORDS: usize = 100;

/// As many of the first key terms as a session of `model` takes.
#[must_use]
pub fn key_terms<'a>(model: &str, terms: &'a [String]) -> &'a [String] {
    if !takes_key_terms(model) {
        return &terms[..terms.len().min(MAX_KEYWORDS)];
    }
    let mut tokens = 0;
    let fitting = terms.iter().take_while(|term| {
        tokens += key_term_tokens(term);
        tokens <= MAX_KEY_TERM_TOKENS
    });
    &terms[..fitting.count()]
}

/// Whether a model takes key terms; older ones take keywords with weights instead.
#[must_use]
pub fn takes_key_terms(model: &str) -> bool {
    model.starts_with("nova-3") || model.starts_with("flux")
}

/// At least as many tokens as the vendor counts: it does not publish how it counts, and a token of a name is seldom
/// shorter than three bytes.
fn key_term_tokens(term: &str) -> u32 {
    term.split_whitespace().map(|word| u32::try_from(word.len().div_ceil(3)).unwrap_or(u32::MAX)).sum()
}

/// Silence after speech, in milliseconds, that ends a turn. Shorter pauses are within a sentence; for several languages
/// at once the vendor advises less.
#[must_use]
pub fn endpointing_ms(language: &str) -> u32 {
    if language == "multi" { 100 } else { 300 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unservable_model_is_replaced_by_its_nearest_kin() {
        assert_eq!(nearest_model("nova-2-meeting", "fr"), ("nova-2", "fr"));
        assert_eq!(nearest_model("nova-2-meeting", "en-US"), ("nova-2-meeting", "en-US"));
        assert_eq!(nearest_model("nova-2-general", "fr"), ("nova-2-general", "fr"));
        assert_eq!(nearest_model("nova-3-medical", "de"), ("nova-3", "de"));
        assert_eq!(nearest_model("flux-general-en", "en-GB"), ("flux-general-en", "en-GB"));
        assert_eq!(nearest_model("flux-general-en", "fr-FR"), ("flux-general-multi", "fr"));
        assert_eq!(nearest_model("flux-general-multi", "multi"), ("flux-general-multi", "multi"));
        assert_eq!(nearest_model("flux-general-multi", "sv"), ("nova-3", "sv"));
        assert_eq!(nearest_model("flux-general-multi", "tr-TR"), ("nova-2", "tr"), "nova-3 does not know it");
        assert_eq!(nearest_model("nova-3", "nb-NO").1, "no", "as the vendor writes it");
        assert_eq!(nearest_model("flux", "en"), ("flux-general-en", "en"));
    }

    #[test]
    fn key_terms_are_cut_at_what_the_vendor_takes() {
        let terms = |count: usize| (0..count).map(|index| format!("Term {index:04}")).collect::<Vec<_>>();
        assert_eq!(key_terms("nova-3", &terms(20)).len(), 20);
        // Two tokens for each word.
        assert_eq!(key_terms("nova-3", &terms(400)).len(), 125);
        assert_eq!(key_terms("nova-3", &["x".repeat(2_000)]), [""; 0]);
        assert_eq!(key_terms("nova-2", &terms(400)).len(), 100);
    }

    #[test]
    fn a_locale_that_the_vendor_refuses_becomes_its_language() {
        for (asked, taken) in [
            ("fr-FR", "fr"),
            ("de-DE", "de"),
            ("es-ES", "es"),
            ("en-CA", "en"),
            ("hi-IN", "hi"),
            ("en-us", "en-US"),
            ("pt-BR", "pt-BR"),
            ("zh-HK", "zh"),
            ("multi", "multi"),
            ("sw", "multi"),
            ("", "multi"),
        ] {
            assert_eq!(nearest_model("nova-3", asked), ("nova-3", taken), "{asked}");
        }
        assert_eq!(nearest_model("nova-2-phonecall", "en-GB"), ("nova-2-phonecall", "en"));
        assert_eq!(nearest_model("nova-2", "pl-PL"), ("nova-2", "pl"));
        assert_eq!(nearest_model("nova-2", "sw"), ("nova-3", "multi"));
        assert_eq!(nearest_model("whisper-large", "fr-FR"), ("whisper-large", "fr-FR"), "not listed");
    }
}
