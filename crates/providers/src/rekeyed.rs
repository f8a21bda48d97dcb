//! Providers whose key may be replaced while a process runs.
//!
//! A provider that does not accept its key has the stored keys read again, at most once a minute. If they changed, every
//! client that was made from the old ones is made anew at its next use, also in calls that are live. The error of a
//! generation or a clause then says that it may be tried again; a transcriber connects again by itself.

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::BoxStream};
use switchboard_model::agents;

use crate::{
    Error, Providers,
    audio::AudioFormat,
    keys::Keys,
    language_model::{Conversation, Generation, LanguageModel},
    synthesizer::{CallContext, SharedSession, SpeechStream, Synthesizer, VoiceSession, shared, synthesize},
    transcriber::{AudioSink, Transcriber, TranscriberSession},
};

/// A client, and how it is made from the keys.
struct Rekeyed<T: ?Sized> {
    keys: Keys,
    make: Box<dyn Fn() -> Arc<T> + Send + Sync>,
    made: RwLock<(Arc<T>, u64)>,
}

impl<T: ?Sized> Rekeyed<T> {
    fn new(keys: &Keys, make: impl Fn() -> Arc<T> + Send + Sync + 'static) -> Arc<Self> {
        let version = keys.version();
        let client = RwLock::new((make(), version));
        Arc::new(Self { keys: keys.clone(), make: Box::new(make), made: client })
    }

    /// The client of the latest keys, and their version.
    fn current(&self) -> (Arc<T>, u64) {
        let version = self.keys.version();
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner).clone();
        if made.1 == version {
            return made;
        }
        let made = ((self.make)(), version);
        *self.made.write().unwrap_or_else(PoisonError::into_inner) = made.clone();
        made
    }

    /// Reads the keys again. Returns whether they are not those of `version` any more.
    async fn reread(&self, version: u64) -> bool {
        if self.keys.version() == version {
            self.keys.reread().await;
        }
        self.keys.version() != version
    }
}

impl<T: ?Sized + 'static> Rekeyed<T>
where
    Self: Send + Sync,
{
    /// The same stream. If the provider does not accept the key and there is another one, its error may be tried again.
    fn watch<E: Send + 'static>(
        self: Arc<Self>,
        version: u64,
        stream: BoxStream<'static, Result<E, Error>>,
    ) -> BoxStream<'static, Result<E, Error>> {
        let watched = stream.then(move |event| {
            let source = Arc::clone(&self);
            async move {
                match event {
                    Err(error) if error.is_unauthorized() && source.reread(version).await => {
                        Err(Error::unavailable(error.vendor(), "its key was replaced"))
                    }
                    event => event,
                }
            }
        });
        watched.boxed()
    }
}

struct RekeyedModel(Arc<Rekeyed<dyn LanguageModel>>);

impl LanguageModel for RekeyedModel {
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        self.0.current().0.connect_ahead()
    }

    fn generate(&self, conversation: &Conversation<'_>) -> Generation {
        let (model, version) = self.0.current();
        Arc::clone(&self.0).watch(version, model.generate(conversation))
    }
}

struct RekeyedVoice(Arc<Rekeyed<dyn Synthesizer>>);

impl Synthesizer for RekeyedVoice {
    fn connect_ahead(&self, call: &CallContext) -> BoxFuture<'static, ()> {
        self.0.current().0.connect_ahead(call)
    }

    fn speaks(&self, format: AudioFormat) -> bool {
        self.0.current().0.speaks(format)
    }

    fn open(&self, call: &CallContext) -> Box<dyn VoiceSession> {
        let (voice, version) = self.0.current();
        let source = Arc::clone(&self.0);
        Box::new(RekeyedSession { source, call: call.clone(), session: shared(voice.open(call)), version })
    }
}

struct RekeyedSession {
    source: Arc<Rekeyed<dyn Synthesizer>>,
    call: CallContext,
    session: SharedSession,
    version: u64,
}

impl VoiceSession for RekeyedSession {
    fn request(&mut self, clause: &str) -> SpeechStream {
        let (voice, version) = self.source.current();
        if version != self.version {
            (self.session, self.version) = (shared(voice.open(&self.call)), version);
        }
        // A clause that is being spoken when the key is replaced keeps its session.
        let speech = synthesize(&self.session, clause);
        Arc::clone(&self.source).watch(version, speech)
    }
}

struct RekeyedTranscriber(Arc<Rekeyed<dyn Transcriber>>);

impl Transcriber for RekeyedTranscriber {
    fn connect_for(
        &self,
        format: AudioFormat,
    ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
        let source = Arc::clone(&self.0);
        async move {
            let (transcriber, version) = source.current();
            let (connected, version) = match transcriber.connect_for(format).await {
                Err(error) if error.is_unauthorized() && source.reread(version).await => {
                    let (transcriber, version) = source.current();
                    (transcriber.connect_for(format).await, version)
                }
                connected => (connected, version),
            };
            // Some vendors refuse a key after the handshake.
            connected.map(|(sink, session)| (sink, source.watch(version, session)))
        }
        .boxed()
    }
}

impl Providers {
    /// The model that the agent's configuration names. A missing key and a vendor without an adapter are reported by each
    /// generation.
    #[must_use]
    pub fn language_model(&self, configuration: &agents::LanguageModel) -> Arc<dyn LanguageModel> {
        let (providers, configuration) = (self.clone(), configuration.clone());
        Arc::new(RekeyedModel(Rekeyed::new(&self.keys, move || {
            providers.keyed_language_model(&configuration)
        })))
    }

    /// The voice that the agent's configuration names. A missing key and a vendor without an adapter are reported by each
    /// clause.
    #[must_use]
    pub fn synthesizer(&self, configuration: &agents::Voice) -> Arc<dyn Synthesizer> {
        let (providers, configuration) = (self.clone(), configuration.clone());
        Arc::new(RekeyedVoice(Rekeyed::new(&self.keys, move || providers.keyed_synthesizer(&configuration))))
    }

    /// The transcriber that the agent's configuration names. A missing key and a vendor without an adapter are reported by
    /// [`Transcriber::connect`].
    #[must_use]
    pub fn transcriber(&self, configuration: &agents::Transcriber) -> Arc<dyn Transcriber> {
        let (providers, configuration) = (self.clone(), configuration.clone());
        Arc::new(RekeyedTranscriber(Rekeyed::new(&self.keys, move || {
            providers.keyed_transcriber(&configuration)
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::{future, stream};
    use serde_json::json;

    use super::*;
    use crate::{
        audio::AudioFormat,
        language_model::{FinishReason, GenerationEvent},
        synthesizer::SpeechEvent,
    };

    /// Any of the roles with one key; the vendor accepts `new` only.
    struct Vendor(String);

    impl Vendor {
        fn check<T>(&self, answer: T) -> Result<T, Error> {
            match &*self.0 {
                "new" => Ok(answer),
                _ => Err(Error::rejected("acme", "401", "it does not accept the key")),
            }
        }
    }

    impl LanguageModel for Vendor {
        fn connect_ahead(&self) -> BoxFuture<'static, ()> {
            future::ready(()).boxed()
        }

        fn generate(&self, _conversation: &Conversation<'_>) -> Generation {
            stream::iter([self.check(GenerationEvent::Finished(FinishReason::Stop))]).boxed()
        }
    }

    impl Synthesizer for Vendor {
        fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
            future::ready(()).boxed()
        }

        fn speaks(&self, _format: AudioFormat) -> bool {
            true
        }

        fn open(&self, _call: &CallContext) -> Box<dyn VoiceSession> {
            Box::new(Self(self.0.clone()))
        }
    }

    impl VoiceSession for Vendor {
        fn request(&mut self, _clause: &str) -> SpeechStream {
            stream::iter([self.check(SpeechEvent::Delayed)]).boxed()
        }
    }

    impl Transcriber for Vendor {
        fn connect_for(
            &self,
            _format: AudioFormat,
        ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
            let session = stream::empty().boxed();
            future::ready(self.check((AudioSink::new("acme").0, session))).boxed()
        }
    }

    /// Keys that read the second of these after the first, and the number of reads.
    fn keys(first: &'static str, second: &'static str) -> (Keys, Arc<AtomicUsize>) {
        let parsed = |key: &str| {
            let json =
                json!({ "twilio_account_sid": "AC1", "twilio_auth_token": "t", "openai_api_key": key });
            Keys::parse(&json.to_string()).unwrap()
        };
        let reads = Arc::<AtomicUsize>::default();
        let counted = reads.clone();
        let keys = parsed(first).with_source(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { Some(parsed(second)) })
        });
        (keys, reads)
    }

    fn vendor(keys: &Keys) -> Arc<Vendor> {
        Arc::new(Vendor(keys.get("openai_api_key").map_or_else(String::new, |key| key.reveal().to_owned())))
    }

    fn conversation() -> Conversation<'static> {
        Conversation { prompt: None, messages: &[] }
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_call_gets_the_key_that_replaced_one() {
        let (keys, reads) = keys("old", "new");
        let made = keys.clone();
        let model = RekeyedModel(Rekeyed::new(&keys, move || vendor(&made) as Arc<dyn LanguageModel>));
        let made = keys.clone();
        let voice = RekeyedVoice(Rekeyed::new(&keys, move || vendor(&made) as Arc<dyn Synthesizer>));
        let call = CallContext { format: AudioFormat::TELEPHONE, language: "en".to_owned() };
        let mut session = voice.open(&call);
        let made = keys.clone();
        let transcriber =
            RekeyedTranscriber(Rekeyed::new(&keys, move || vendor(&made) as Arc<dyn Transcriber>));

        let failed = model.generate(&conversation()).next().await.unwrap().unwrap_err();
        assert!(failed.is_retryable(), "{failed}");
        assert!(model.generate(&conversation()).next().await.unwrap().is_ok());
        assert!(
            session.request("Hello.").next().await.unwrap().is_ok(),
            "opened before the key was replaced"
        );
        assert!(transcriber.connect().await.is_ok());
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    /// A voice whose clauses end with their session.
    struct Connected(Arc<()>);

    impl Synthesizer for Connected {
        fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
            future::ready(()).boxed()
        }

        fn speaks(&self, _format: AudioFormat) -> bool {
            true
        }

        fn open(&self, _call: &CallContext) -> Box<dyn VoiceSession> {
            Box::new(Self(Arc::new(())))
        }
    }

    impl VoiceSession for Connected {
        fn request(&mut self, _clause: &str) -> SpeechStream {
            let session = Arc::downgrade(&self.0);
            let speech = stream::iter([SpeechEvent::Delayed, SpeechEvent::Queued]);
            speech.take_while(move |_| future::ready(session.strong_count() > 0)).map(Ok).boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clause_that_is_being_spoken_keeps_its_session() {
        let (keys, _) = keys("old", "new");
        let voice =
            RekeyedVoice(Rekeyed::new(&keys, || Arc::new(Connected(Arc::new(()))) as Arc<dyn Synthesizer>));
        let call = CallContext { format: AudioFormat::TELEPHONE, language: "en".to_owned() };
        let mut session = voice.open(&call);
        let mut first = session.request("One.");
        assert!(first.next().await.is_some());
        keys.reread().await;
        assert_eq!(session.request("Two.").count().await, 2);
        assert!(first.next().await.is_some(), "the rest is spoken with the old key");
    }

    #[tokio::test(start_paused = true)]
    async fn a_transcriber_connects_again_at_once() {
        let (keys, reads) = keys("old", "new");
        let made = keys.clone();
        let transcriber =
            RekeyedTranscriber(Rekeyed::new(&keys, move || vendor(&made) as Arc<dyn Transcriber>));
        assert!(transcriber.connect().await.is_ok());
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    /// It refuses the key in its sessions.
    struct LateRefusal;

    impl Transcriber for LateRefusal {
        fn connect_for(
            &self,
            _format: AudioFormat,
        ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
            let session = stream::iter([Err(Error::rejected("acme", "401", "No."))]).boxed();
            future::ready(Ok((AudioSink::new("acme").0, session))).boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_a_session_refuses_is_read_again() {
        for (second, is_retryable) in [("new", true), ("old", false)] {
            let (keys, _) = keys("old", second);
            let transcriber =
                RekeyedTranscriber(Rekeyed::new(&keys, || Arc::new(LateRefusal) as Arc<dyn Transcriber>));
            let (_sink, mut session) = transcriber.connect().await.unwrap();
            let error = session.next().await.unwrap().unwrap_err();
            assert_eq!(error.is_retryable(), is_retryable, "its owner connects again with the new key");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_stays_wrong_is_read_once_a_minute() {
        let (keys, reads) = keys("old", "old");
        let made = keys.clone();
        let model = RekeyedModel(Rekeyed::new(&keys, move || vendor(&made) as Arc<dyn LanguageModel>));
        for _ in 0..5 {
            let failed = model.generate(&conversation()).next().await.unwrap().unwrap_err();
            assert!(!failed.is_retryable(), "{failed}");
        }
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_mins(1)).await;
        let _ = model.generate(&conversation()).next().await;
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }
}
