//! The parameters of a request. Unknown ones are refused here, so that a misspelling is noticed.

use std::time::Duration;

use super::{
    api::Refusal,
    library::{self, MODELS},
};
use crate::audio;

/// The format of the audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) is_mulaw: bool,
    pub(super) rate: u32,
}

impl Format {
    fn parse(name: &str) -> Result<Self, Refusal> {
        let linear = |rate| Ok(Self { is_mulaw: false, rate });
        match name {
            "ulaw_8000" => Ok(Self { is_mulaw: true, rate: 8_000 }),
            "pcm_8000" => linear(8_000),
            "pcm_16000" => linear(16_000),
            "pcm_24000" => linear(24_000),
            _ => Err(Refusal::parameter(
                "output_format",
                "output_format must be ulaw_8000, pcm_8000, pcm_16000 or pcm_24000; the sandbox has no other",
            )),
        }
    }

    pub(super) fn bytes(self, samples: &[i16]) -> Vec<u8> {
        if self.is_mulaw {
            samples.iter().map(|&sample| audio::encode(sample)).collect()
        } else {
            samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
        }
    }
}

/// The options of a websocket.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SocketOptions {
    pub(super) format: Format,
    /// Text is spoken as it arrives, instead of when enough of it has.
    pub(super) auto_mode: bool,
    /// Each message with audio has the times of its characters, instead of the first one of each part of the text.
    pub(super) sync_alignment: bool,
    pub(super) inactivity_timeout: Duration,
}

const DEFAULT_MODEL: &str = "eleven_multilingual_v2";

impl SocketOptions {
    /// The defaults.
    pub(super) fn none() -> Self {
        Self {
            format: Format { is_mulaw: false, rate: 16_000 },
            auto_mode: false,
            sync_alignment: false,
            inactivity_timeout: Duration::from_secs(20),
        }
    }

    pub(super) fn parse(voice: &str, query: &[(String, String)]) -> Result<Self, Refusal> {
        let mut options = Self::none();
        let (mut model, mut language, mut format) = (DEFAULT_MODEL, None, "mp3_44100_128");
        for (name, value) in query {
            match name.as_str() {
                "model_id" => model = value,
                "language_code" => language = Some(value.as_str()),
                "output_format" => format = value,
                "auto_mode" => options.auto_mode = boolean(name, value)?,
                "sync_alignment" => options.sync_alignment = boolean(name, value)?,
                "enable_logging" | "enable_ssml_parsing" => drop(boolean(name, value)?),
                "apply_text_normalization" => one_of(name, value, &["auto", "on", "off"])?,
                "optimize_streaming_latency" => one_of(name, value, &["0", "1", "2", "3", "4"])?,
                "inactivity_timeout" => {
                    let seconds = value.parse().ok().filter(|seconds| (1..=180).contains(seconds));
                    let wrong = || Refusal::parameter(name, "inactivity_timeout must be from 1 to 180");
                    options.inactivity_timeout = Duration::from_secs(seconds.ok_or_else(wrong)?);
                }
                "seed" if value.parse::<u32>().is_ok() => {}
                _ => {
                    return Err(Refusal::parameter(name, format!("{name} is no parameter of this endpoint")));
                }
            }
        }
        check(voice, model, language)?;
        Ok(Self { format: Format::parse(format)?, ..options })
    }
}

/// Whether voice, model and language exist and fit.
pub(super) fn check(voice: &str, model: &str, language: Option<&str>) -> Result<(), Refusal> {
    if !library::has_voice(voice) {
        return Err(Refusal::voice_not_found(voice));
    }
    if !MODELS.contains(&model) {
        return Err(Refusal::model_not_found(model));
    }
    match language {
        Some(language) if !library::takes_language(model, language) => {
            Err(Refusal::unsupported_language(model, language))
        }
        _ => Ok(()),
    }
}

/// The query of a synthesis over HTTP.
pub(super) fn http_format(query: &[(String, String)]) -> Result<Format, Refusal> {
    let mut format = "mp3_44100_128";
    for (name, value) in query {
        match name.as_str() {
            "output_format" => format = value,
            "enable_logging" => drop(boolean(name, value)?),
            "optimize_streaming_latency" => one_of(name, value, &["0", "1", "2", "3", "4"])?,
            _ => return Err(Refusal::parameter(name, format!("{name} is no parameter of this endpoint"))),
        }
    }
    Format::parse(format)
}

fn boolean(name: &str, value: &str) -> Result<bool, Refusal> {
    // `True` is what a client in Python writes by mistake.
    value.parse().map_err(|_| Refusal::parameter(name, format!("{name} must be true or false")))
}

fn one_of(name: &str, value: &str, allowed: &[&str]) -> Result<(), Refusal> {
    let wrong = || Refusal::parameter(name, format!("{name} must be one of {allowed:?}"));
    allowed.contains(&value).then_some(()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOICE: &str = "sandboxVoiceAda00001";

    fn parse(voice: &str, query: &str) -> Result<SocketOptions, String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<(String, String)> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        SocketOptions::parse(voice, &pairs).map_err(|refusal| refusal.code.to_owned())
    }

    #[test]
    fn known_options_are_read() {
        let options = parse(
            VOICE,
            "model_id=eleven_flash_v2_5&output_format=ulaw_8000&language_code=de&auto_mode=true\
             &sync_alignment=true&inactivity_timeout=180",
        );
        let expected = SocketOptions {
            format: Format { is_mulaw: true, rate: 8_000 },
            auto_mode: true,
            sync_alignment: true,
            inactivity_timeout: Duration::from_mins(3),
        };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn what_the_vendor_does_not_know_is_refused_with_its_code() {
        for (voice, query, code) in [
            ("21m00Tcm4TlvDq8ikWAM", "output_format=ulaw_8000", "voice_not_found"),
            ("rachel", "output_format=ulaw_8000", "voice_not_found"),
            (VOICE, "output_format=ulaw_8000&model_id=eleven_v3", "model_not_found"),
            (VOICE, "output_format=ulaw_8000&model_id=eleven_monolingual_v1", "model_not_found"),
            (
                VOICE,
                "output_format=ulaw_8000&model_id=eleven_flash_v2&language_code=en",
                "unsupported_language",
            ),
            (
                VOICE,
                "output_format=ulaw_8000&model_id=eleven_flash_v2_5&language_code=de-DE",
                "unsupported_language",
            ),
            (VOICE, "output_format=mp3", "invalid_parameters"),
            (VOICE, "output_format=ulaw_8000&auto_mode=True", "invalid_parameters"),
            (VOICE, "output_format=ulaw_8000&inactivity_timeout=181", "invalid_parameters"),
            (VOICE, "output_format=ulaw_8000&optimize_latency=3", "invalid_parameters"),
        ] {
            assert_eq!(parse(voice, query), Err(code.to_owned()), "{voice} {query}");
        }
    }
}
