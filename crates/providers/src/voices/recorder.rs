//! Speech that is kept.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use switchboard_model::{agents::Voice, credentials::OpenCredential, egress_policy::EgressPolicy};

use super::{SpeechEvent, Synthesizer};
use crate::{Error, Providers};

/// The longest recording of a text, in bytes: two minutes.
const LONGEST: usize = 1024 * 1024;

/// Has a voice speak texts that are kept, and counts what that costs.
#[derive(Debug)]
pub struct Recorder<'a> {
    synthesizer: Synthesizer,
    characters: &'a AtomicU64,
}

impl<'a> Recorder<'a> {
    /// Of a voice as it is served, with the customer's own key if there is one. `characters` grows by what the
    /// voice is asked to speak.
    ///
    /// # Errors
    /// [`Error::Rejected`]: the voice has no adapter, or the key cannot be used.
    pub fn new(
        providers: &Providers,
        egress_policy: EgressPolicy,
        voice: &Voice,
        own: Option<&OpenCredential>,
        characters: &'a AtomicU64,
    ) -> Result<Self, Error> {
        let unusable = |error| Error::rejected(voice.provider(), "unusable_key", &format!("{error}"));
        let own =
            own.map(|own| providers.with_credential(own, egress_policy).map_err(unusable)).transpose()?;
        let synthesizer = Synthesizer::new(own.as_ref().unwrap_or(providers), voice)?;
        Ok(Self { synthesizer, characters })
    }

    /// All of a text, spoken: see [`Synthesizer::speak`]. It counts from this call on, before it is polled, and
    /// when it is dropped; not if the voice refused it.
    pub fn record(&self, text: &str) -> impl Future<Output = Result<Vec<u8>, Error>> + Send + use<'a> {
        let mut speech = self.synthesizer.speak(text);
        let (total, mut counted) = (self.characters, text.chars().count() as u64);
        total.fetch_add(counted, Ordering::Relaxed);
        async move {
            let (mut audio, mut accepted) = (Vec::new(), false);
            let ended = loop {
                match speech.next().await {
                    Some(Ok(SpeechEvent::Characters { count, .. })) => {
                        total.fetch_add(count, Ordering::Relaxed);
                        total.fetch_sub(counted, Ordering::Relaxed);
                        (counted, accepted) = (count, true);
                    }
                    Some(Ok(SpeechEvent::Audio(piece))) if audio.len() + piece.len() > LONGEST => {
                        break Err(Error::unavailable("the voice", "it went on for minutes"));
                    }
                    Some(Ok(SpeechEvent::Audio(piece))) => audio.extend_from_slice(&piece),
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                }
            };
            if !accepted {
                total.fetch_sub(counted, Ordering::Relaxed);
            }
            ended.map(|()| audio)
        }
    }
}
