use std::time::Duration;

use futures_util::StreamExt;
use switchboard_model::{
    agents::{LanguageModel, ModelSettings, RimeVoice, Transcriber, Voice},
    audio::AudioFormat,
    catalogue::{self, Service},
};
use switchboard_providers::{Error, language_model::Conversation, synthesizer::CallContext};
use tokio::time::timeout;

use crate::support::{Nowhere, nowhere};

/// Whether a request was made at all, and the provider it was made to.
fn is_adapter(error: &Error) -> bool {
    !matches!(error, Error::Rejected { code, .. } if code == "no_adapter")
}

fn has_adapter(service: Service, provider: &str) -> bool {
    catalogue::row(service, provider).expect("every provider has a row").adapter.is_some()
}

#[tokio::test]
async fn every_catalogued_adapter_exists_and_no_other() {
    let Nowhere { providers, .. } = &nowhere();
    let settings = ModelSettings::default();
    for model in [LanguageModel::Openai(settings.clone()), LanguageModel::Google(settings)] {
        let mut events =
            providers.language_model(&model).generate(&Conversation { prompt: None, messages: &[] });
        let error = events.next().await.unwrap().unwrap_err();
        assert_eq!(is_adapter(&error), has_adapter(Service::LanguageModel, model.provider()), "{error}");
    }
    for transcriber in
        [Transcriber::default(), Transcriber::Azure { languages: vec!["en-US".into()], credential_id: None }]
    {
        let connected = timeout(Duration::from_secs(10), providers.transcriber(&transcriber).connect());
        let error = connected.await.unwrap().err().expect("the address is unreachable");
        assert_eq!(is_adapter(&error), has_adapter(Service::Transcriber, transcriber.provider()), "{error}");
    }
    for voice in voices() {
        let context = CallContext { format: AudioFormat::TELEPHONE, language: "en".into() };
        let mut session = providers.synthesizer(&voice).open(&context);
        let error = session.synthesize("Hello.").next().await.unwrap().unwrap_err();
        assert_eq!(is_adapter(&error), has_adapter(Service::Voice, voice.provider()), "{error}");
    }
}

fn voices() -> [Voice; 6] {
    let rime =
        RimeVoice { speaker: "lyra".into(), speed_alpha: 1.0, reduce_latency: false, credential_id: None };
    [
        Voice::default(),
        Voice::Azure { model: "x".into(), pitch: 0, rate: 0, credential_id: None },
        Voice::Rime(rime.clone()),
        Voice::Rimeai(rime),
        Voice::Playht {
            model: "susan".into(),
            speed: 1.0,
            temperature: None,
            text_guidance: None,
            style_guidance: None,
            credential_id: None,
        },
        Voice::Elevenlabs {
            voice_id: "rachel".into(),
            model_id: "eleven_turbo_v2".into(),
            optimize_latency: 3,
            use_speaker_boost: false,
            similarity_boost: 0.5,
            stability: 0.5,
            credential_id: None,
        },
    ]
}
