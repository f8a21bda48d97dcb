//! The target of a connection: its URL, its key, and the settings of its contexts.

use http::{HeaderValue, header};
use reqwest::Url;
use switchboard_model::{
    agents,
    catalogue::elevenlabs::{language_code, served_model, voice_id},
};
use tokio_tungstenite::tungstenite::{client::IntoClientRequest, handshake::client::Request};

use super::{VENDOR, messages::VoiceSettings};
use crate::{
    Error, Secret,
    audio::{AudioFormat, Encoding},
    egress,
    synthesizer::CallContext,
};

/// The header with the key.
const KEY: &str = "xi-api-key";

/// Seconds without a message after which the vendor closes; its maximum. The default is 20.
const INACTIVITY_TIMEOUT: &str = "180";

/// A voice of an agent, with its settings.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    pub(super) id: String,
    pub(super) model: String,
    /// 0: best quality. 1 to 4: speech is generated without waiting for more text; 4: numbers are read as written.
    pub(super) optimize_latency: u8,
    pub(super) settings: VoiceSettings,
}

impl Voice {
    /// None if the configuration is of another vendor.
    pub(super) fn of(configuration: &agents::Voice) -> Option<Self> {
        let agents::Voice::Elevenlabs {
            voice_id,
            model_id,
            optimize_latency,
            use_speaker_boost,
            similarity_boost,
            stability,
            credential_id: _,
        } = configuration
        else {
            return None;
        };
        let settings = VoiceSettings {
            stability: *stability,
            similarity_boost: *similarity_boost,
            use_speaker_boost: Some(*use_speaker_boost),
        };
        Some(Self {
            id: voice_id.clone(),
            model: model_id.clone(),
            optimize_latency: *optimize_latency,
            settings,
        })
    }
}

/// The connections of one call.
#[derive(Debug, Clone)]
pub(super) struct Target {
    base: Url,
    key: Secret,
    voice: Voice,
    pub(super) format: AudioFormat,
    language: String,
    /// The parameters that the vendor refused.
    without: Vec<&'static str>,
}

impl Target {
    pub(super) fn new(base: Url, key: Secret, voice: Voice, call: &CallContext) -> Self {
        Self { base, key, voice, format: call.format, language: call.language.clone(), without: vec![] }
    }

    /// Leaves a parameter out from now on; false if it was not there.
    pub(super) fn leave_out(&mut self, parameter: &'static str) -> bool {
        let is_new = !self.without.contains(&parameter);
        if is_new {
            self.without.push(parameter);
        }
        is_new
    }

    fn has(&self, parameter: &str) -> bool {
        !self.without.contains(&parameter)
    }

    pub(super) fn settings(&self) -> VoiceSettings {
        let settings = self.voice.settings;
        let boost = settings.use_speaker_boost.filter(|_| self.has("use_speaker_boost"));
        VoiceSettings { use_speaker_boost: boost, ..settings }
    }

    pub(super) fn url(&self) -> Url {
        let mut url = self.base.clone();
        let scheme = if url.scheme() == "http" { "ws" } else { "wss" };
        url.set_scheme(scheme).expect("http and ws are of one kind, so the scheme can be changed");
        let voice = voice_id(&self.voice.id);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "text-to-speech", voice, "multi-stream-input"]);
        }
        let model = served_model(&self.voice.model, &self.language);
        let language = language_code(model, &self.language);
        let level = self.voice.optimize_latency;
        let pairs = [
            ("model_id", Some(model)),
            ("output_format", Some(output_format(self.format))),
            ("language_code", language),
            ("auto_mode", (level > 0).then_some("true")),
            ("apply_text_normalization", (level >= 4).then_some("off")),
            ("sync_alignment", Some("true")),
            ("inactivity_timeout", Some(INACTIVITY_TIMEOUT)),
        ];
        let pairs = pairs.into_iter().filter(|(name, _)| self.has(name));
        url.query_pairs_mut().extend_pairs(pairs.filter_map(|(name, value)| Some((name, value?))));
        url
    }

    pub(super) fn request(&self) -> Result<Request, Error> {
        let mut request = self
            .url()
            .as_str()
            .into_client_request()
            .map_err(|error| Error::rejected(VENDOR, "bad_request", &error.to_string()))?;
        let mut key = HeaderValue::try_from(self.key.reveal()).map_err(|_| {
            Error::rejected(VENDOR, "bad_key", "the key holds characters that no header can carry")
        })?;
        key.set_sensitive(true);
        request.headers_mut().insert(KEY, key);
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(egress::USER_AGENT));
        Ok(request)
    }
}

/// The vendor's name of a format. The catalogue lists those that it has.
fn output_format(format: AudioFormat) -> &'static str {
    match (format.encoding, format.sample_rate) {
        (Encoding::MuLaw, _) => "ulaw_8000",
        (Encoding::Pcm16, 8_000) => "pcm_8000",
        (Encoding::Pcm16, 24_000) => "pcm_24000",
        (Encoding::Pcm16, _) => "pcm_16000",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(voice: &str, model: &str, level: u8, language: &str) -> Target {
        let configuration = agents::Voice::Elevenlabs {
            voice_id: voice.into(),
            model_id: model.into(),
            optimize_latency: level,
            use_speaker_boost: true,
            similarity_boost: 0.75,
            stability: 0.25,
            credential_id: None,
        };
        let call = CallContext { format: AudioFormat::TELEPHONE, language: language.into() };
        let base = Url::parse("https://api.elevenlabs.io/").unwrap();
        Target::new(base, Secret::new("xi-1"), Voice::of(&configuration).unwrap(), &call)
    }

    #[test]
    fn the_url_has_the_voices_id_and_the_served_model() {
        assert_eq!(
            target("sarah", "eleven_turbo_v2", 3, "de-DE").url().as_str(),
            "wss://api.elevenlabs.io/v1/text-to-speech/EXAVITQu4vr4xnSDxMaL/multi-stream-input\
             ?model_id=eleven_flash_v2_5&output_format=ulaw_8000&language_code=de&auto_mode=true\
             &sync_alignment=true&inactivity_timeout=180"
        );
    }

    #[test]
    fn each_level_of_latency_has_its_parameters() {
        let query =
            |level| target("x", "eleven_multilingual_v2", level, "en").url().query().unwrap().to_owned();
        assert!(!query(0).contains("auto_mode") && !query(0).contains("language_code"));
        assert!(query(1).contains("auto_mode=true") && !query(3).contains("apply_text_normalization"));
        assert!(query(4).contains("auto_mode=true&apply_text_normalization=off"));
    }

    #[test]
    fn a_browser_gets_linear_audio() {
        let mut target = target("x", "eleven_flash_v2_5", 3, "en");
        target.format = AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 };
        assert!(target.url().query().unwrap().contains("output_format=pcm_16000"));
    }

    #[test]
    fn what_the_vendor_refused_is_left_out() {
        let mut target = target("x", "eleven_flash_v2_5", 3, "en");
        assert_eq!(target.settings().use_speaker_boost, Some(true));
        for parameter in ["language_code", "use_speaker_boost"] {
            assert!(target.leave_out(parameter));
            assert!(!target.leave_out(parameter), "once");
        }
        assert!(!target.url().as_str().contains("language_code"));
        assert_eq!(target.settings().use_speaker_boost, None);
    }

    #[test]
    fn a_voice_id_is_one_segment_of_the_path() {
        let url = target("../secret?x=1", "eleven_flash_v2_5", 3, "en").url();
        assert_eq!(url.path(), "/v1/text-to-speech/..%2Fsecret%3Fx=1/multi-stream-input");
    }

    #[test]
    fn the_key_is_in_the_header_only() {
        let request = target("x", "eleven_flash_v2_5", 3, "en").request().unwrap();
        assert_eq!(request.headers()[KEY], "xi-1");
        assert!(!request.uri().to_string().contains("xi-1"));
        assert!(!format!("{request:?}").contains("xi-1"));
    }
}
