//! The transcribers and voices of each vendor that stand in for others, by language.

use super::{Service, azure, deepgram, elevenlabs, languages::is_same_language, names, row};
use crate::agents::{RimeVoice, Transcriber, Voice};

/// A transcriber of a vendor, and whether it knows the language.
pub(super) fn stand_in_transcriber(provider: &str, language: &str) -> Option<(Transcriber, bool)> {
    match provider {
        "deepgram" => {
            let (model, served) = deepgram::nearest_model("nova-3", language);
            let transcriber = Transcriber::Deepgram {
                model: model.into(),
                language: served.into(),
                keywords: vec![],
                credential_id: None,
            };
            Some((transcriber, is_same_language(served, language)))
        }
        "azure" => {
            let locale = azure_locale(language);
            let is_known = locale.is_some();
            let languages = vec![locale.unwrap_or_else(|| "en-US".to_owned())];
            Some((Transcriber::Azure { languages, credential_id: None }, is_known))
        }
        _ => None,
    }
}

/// A voice of a vendor in place of `named`, and whether it speaks the language.
pub(super) fn stand_in_voice(
    provider: &str,
    named: &Voice,
    language: &str,
    is_man: bool,
) -> Option<(Voice, bool)> {
    let pick = |woman: &'static str, man: &'static str| if is_man { man } else { woman };
    let is_english = is_same_language(language, "en");
    match provider {
        "deepgram" => {
            // A row that names the voice knows a similar one.
            let similar = row(Service::Voice, named.provider())
                .and_then(|row| row.fallback(names::voice_model(named)))
                .filter(|rule| rule.provider == "deepgram" && rule.name != "*");
            let english = similar.map_or(pick("aura-2-thalia-en", "aura-2-apollo-en"), |rule| rule.model);
            let model = deepgram::voice_in(language, english);
            let voice = Voice::Deepgram { model: model.into(), credential_id: None };
            Some((voice, is_english || model != english))
        }
        "azure" => {
            let locale = azure_row(language);
            // The default voices speak some 40 languages.
            let (_, woman, man) = locale.unwrap_or(&AZURE[0]);
            let model = pick(woman, man).to_owned();
            Some((Voice::Azure { model, pitch: 0, rate: 0, credential_id: None }, locale.is_some()))
        }
        "elevenlabs" => {
            let voice = Voice::Elevenlabs {
                voice_id: pick("sarah", "adam").into(),
                model_id: "eleven_flash_v2_5".into(),
                optimize_latency: 3,
                use_speaker_boost: false,
                similarity_boost: 0.5,
                stability: 0.5,
                credential_id: None,
            };
            Some((voice, elevenlabs::spoken_language(language).is_some()))
        }
        "rimeai" => {
            let voice = RimeVoice {
                speaker: pick("lyra", "walnut").into(),
                speed_alpha: 1.0,
                reduce_latency: false,
                credential_id: None,
            };
            Some((Voice::Rimeai(voice), is_english))
        }
        _ => None,
    }
}

/// The locale of Azure's recogniser for a language; none for a language that is not known here.
fn azure_locale(language: &str) -> Option<String> {
    azure_row(language).map(|_| azure::served_locales(&[language.to_owned()]).concat())
}

fn azure_row(language: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    AZURE.iter().find(|(known, ..)| is_same_language(known, language))
}

/// Azure: a language, a woman's and a man's voice. The first row is the default.
const AZURE: &[(&str, &str, &str)] = &[
    ("en", "en-US-AvaMultilingualNeural", "en-US-AndrewMultilingualNeural"),
    ("fr", "fr-FR-DeniseNeural", "fr-FR-HenriNeural"),
    ("es", "es-ES-ElviraNeural", "es-ES-AlvaroNeural"),
    ("de", "de-DE-KatjaNeural", "de-DE-ConradNeural"),
    ("it", "it-IT-ElsaNeural", "it-IT-DiegoNeural"),
    ("nl", "nl-NL-ColetteNeural", "nl-NL-MaartenNeural"),
    ("pt", "pt-BR-FranciscaNeural", "pt-BR-AntonioNeural"),
    ("ru", "ru-RU-SvetlanaNeural", "ru-RU-DmitryNeural"),
    ("ja", "ja-JP-NanamiNeural", "ja-JP-KeitaNeural"),
    ("cs", "cs-CZ-VlastaNeural", "cs-CZ-AntoninNeural"),
    ("da", "da-DK-ChristelNeural", "da-DK-JeppeNeural"),
    ("el", "el-GR-AthinaNeural", "el-GR-NestorasNeural"),
    ("hi", "hi-IN-SwaraNeural", "hi-IN-MadhurNeural"),
    ("id", "id-ID-GadisNeural", "id-ID-ArdiNeural"),
    ("ko", "ko-KR-SunHiNeural", "ko-KR-InJoonNeural"),
    ("no", "nb-NO-PernilleNeural", "nb-NO-FinnNeural"),
    ("pl", "pl-PL-ZofiaNeural", "pl-PL-MarekNeural"),
    ("sv", "sv-SE-SofieNeural", "sv-SE-MattiasNeural"),
    ("tr", "tr-TR-EmelNeural", "tr-TR-AhmetNeural"),
    ("uk", "uk-UA-PolinaNeural", "uk-UA-OstapNeural"),
    ("ar", "ar-EG-SalmaNeural", "ar-EG-ShakirNeural"),
    ("bg", "bg-BG-KalinaNeural", "bg-BG-BorislavNeural"),
    ("ca", "ca-ES-JoanaNeural", "ca-ES-EnricNeural"),
    ("et", "et-EE-AnuNeural", "et-EE-KertNeural"),
    ("fi", "fi-FI-SelmaNeural", "fi-FI-HarriNeural"),
    ("he", "he-IL-HilaNeural", "he-IL-AvriNeural"),
    ("hr", "hr-HR-GabrijelaNeural", "hr-HR-SreckoNeural"),
    ("hu", "hu-HU-NoemiNeural", "hu-HU-TamasNeural"),
    ("lt", "lt-LT-OnaNeural", "lt-LT-LeonasNeural"),
    ("lv", "lv-LV-EveritaNeural", "lv-LV-NilsNeural"),
    ("ms", "ms-MY-YasminNeural", "ms-MY-OsmanNeural"),
    ("ro", "ro-RO-AlinaNeural", "ro-RO-EmilNeural"),
    ("sk", "sk-SK-ViktoriaNeural", "sk-SK-LukasNeural"),
    ("th", "th-TH-PremwadeeNeural", "th-TH-NiwatNeural"),
    ("vi", "vi-VN-HoaiMyNeural", "vi-VN-NamMinhNeural"),
    ("zh", "zh-CN-XiaoxiaoNeural", "zh-CN-YunxiNeural"),
];

/// The men's voices among those that an agent may name, in lower case: a stand-in should not change the sex of the
/// agent's voice. Of Azure the name within the voice's name.
const MENS_VOICES: &[&str] = &[
    // PlayHT.
    "william",
    "arthur",
    "dylan",
    "oliver",
    // ElevenLabs.
    "adam",
    "paul",
    "drew",
    "clyde",
    "dave",
    "fin",
    "george",
    // Deepgram.
    "apollo",
    "arcas",
    "aries",
    "atlas",
    "draco",
    "hermes",
    "hyperion",
    "jupiter",
    "mars",
    "neptune",
    "odysseus",
    "orion",
    "orpheus",
    "perseus",
    "pluto",
    "saturn",
    "zeus",
    "angus",
    "helios",
    // Azure.
    "andrew",
    "brian",
    "guy",
    "davis",
    "jason",
    "tony",
    "ryan",
    "christopher",
    "eric",
    "roger",
    "steffan",
    // Rime.
    "walnut",
    "cove",
    "young_male_unmarked-1",
];

/// Whether a voice is a man's, as far as its name is known.
pub(super) fn is_mans_voice(voice: &Voice) -> bool {
    let name = names::voice_model(voice).to_lowercase();
    let of_table = || {
        let azure = AZURE.iter().any(|(_, _, man)| man.eq_ignore_ascii_case(&name));
        azure || deepgram::is_mans_voice(&name)
    };
    match voice {
        Voice::Rimeai(voice) | Voice::Rime(voice) => {
            MENS_VOICES.iter().any(|man| man.eq_ignore_ascii_case(&voice.speaker))
        }
        Voice::Azure { .. } => {
            let person = name.rsplit('-').next().unwrap_or_default();
            of_table() || MENS_VOICES.iter().any(|man| person.starts_with(man))
        }
        Voice::Deepgram { .. } => of_table() || name.split('-').any(|part| MENS_VOICES.contains(&part)),
        _ => MENS_VOICES.contains(&name.as_str()),
    }
}
