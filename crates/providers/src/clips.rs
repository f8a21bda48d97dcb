//! Clips: speech that is synthesized ahead of a call and stored.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::StreamExt;
use switchboard_model::{clips::ClipSet, credentials::OpenCredential, egress_policy::EgressPolicy};

use crate::{
    Error, Providers,
    audio::AudioFormat,
    synthesizer::{CallContext, SpeechEvent, Synthesizer},
};

/// The longest clip, in bytes: two minutes.
const MAX_CLIP_BYTES: usize = 1024 * 1024;

/// Synthesizes clips with one voice, and counts the characters.
pub struct ClipSynthesizer<'a> {
    voice: Arc<dyn Synthesizer>,
    context: CallContext,
    characters: &'a AtomicU64,
}

impl<'a> ClipSynthesizer<'a> {
    /// For the voice and the language of a set, with the customer's own key if there is one. `characters` grows by the
    /// characters the voice is asked to speak.
    ///
    /// # Errors
    /// [`Error::Rejected`]: the customer's key cannot be used.
    pub fn new(
        providers: &Providers,
        egress_policy: EgressPolicy,
        set: &ClipSet,
        own: Option<&OpenCredential>,
        characters: &'a AtomicU64,
    ) -> Result<Self, Error> {
        let unusable = |error| Error::rejected(set.voice.provider(), "unusable_key", &format!("{error}"));
        let own =
            own.map(|own| providers.with_credential(own, egress_policy).map_err(unusable)).transpose()?;
        let voice = own.as_ref().unwrap_or(providers).synthesizer(&set.voice);
        let context = CallContext { format: AudioFormat::TELEPHONE, language: set.language.clone() };
        Ok(Self { voice, context, characters })
    }

    /// Synthesizes a text: see [`VoiceSession::synthesize`](crate::synthesizer::VoiceSession::synthesize). Its
    /// characters count from this call on, before the future is polled and when it is dropped, but not if the vendor
    /// refused the text.
    pub fn synthesize(&self, text: &str) -> impl Future<Output = Result<Vec<u8>, Error>> + Send + use<'a> {
        let mut session = self.voice.open(&self.context);
        let mut speech = session.synthesize(text);
        let (total, mut counted) = (self.characters, text.chars().count() as u64);
        total.fetch_add(counted, Ordering::Relaxed);
        async move {
            let (mut clip, mut accepted) = (Vec::new(), false);
            let ended = loop {
                match speech.next().await {
                    Some(Ok(SpeechEvent::Characters { count, .. })) => {
                        total.fetch_add(count, Ordering::Relaxed);
                        total.fetch_sub(counted, Ordering::Relaxed);
                        (counted, accepted) = (count, true);
                    }
                    Some(Ok(SpeechEvent::Audio(audio))) if clip.len() + audio.len() > MAX_CLIP_BYTES => {
                        break Err(Error::unavailable("the voice", "it went on for minutes"));
                    }
                    Some(Ok(SpeechEvent::Audio(audio))) => clip.extend_from_slice(&audio),
                    Some(Ok(
                        SpeechEvent::Words(_)
                        | SpeechEvent::Delayed
                        | SpeechEvent::Queued
                        | SpeechEvent::Fallback(_),
                    )) => {}
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                }
            };
            if !accepted {
                total.fetch_sub(counted, Ordering::Relaxed);
            }
            drop(session);
            ended.map(|()| clip)
        }
    }
}
