//! The sessions of a chain of voices: which are open, and until when.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use switchboard_model::catalogue::{Service, StandIn};

use super::{Candidate, ChainedVoice, ProviderId, ProviderOutages};
use crate::{
    Error,
    audio::AudioFormat,
    synthesizer::{CallContext, SpeechEvent, SpeechStream, Synthesizer, VoiceSession},
};

/// A voice that counts its open sessions and its connections ahead. It speaks this many clauses, and refuses the rest.
#[derive(Clone, Default)]
struct Voice {
    clauses: usize,
    open: Arc<AtomicUsize>,
    ahead: Arc<AtomicUsize>,
}

impl Voice {
    fn new(clauses: usize) -> Self {
        Self { clauses, ..Self::default() }
    }

    fn open_sessions(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn connections_ahead(&self) -> usize {
        self.ahead.load(Ordering::Relaxed)
    }
}

struct Session(Voice);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Synthesizer for Voice {
    fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
        self.ahead.fetch_add(1, Ordering::Relaxed);
        ready(()).boxed()
    }

    fn speaks(&self, _format: AudioFormat) -> bool {
        true
    }

    fn open(&self, _call: &CallContext) -> Box<dyn VoiceSession> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Box::new(Session(self.clone()))
    }
}

impl VoiceSession for Session {
    fn request(&mut self, _clause: &str) -> SpeechStream {
        let Some(left) = self.0.clauses.checked_sub(1) else {
            return stream::iter([Err(Error::rejected("acme", "402", "no credit"))]).boxed();
        };
        self.0.clauses = left;
        let audio = SpeechEvent::Audio(Bytes::from_static(b"a"));
        stream::iter([audio.clone(), audio].map(Ok)).boxed()
    }
}

fn call() -> CallContext {
    CallContext { format: AudioFormat::TELEPHONE, language: "en".to_owned() }
}

fn chain(voices: &[&Voice], outages: &ProviderOutages) -> ChainedVoice {
    let candidates = voices.iter().enumerate().map(|(place, voice)| {
        let (service, provider) = (Service::Voice, format!("voice {place}"));
        let stand_in = StandIn { service, provider: provider.clone(), model: String::new() };
        Candidate {
            provider: Arc::new((*voice).clone()) as Arc<dyn Synthesizer>,
            id: ProviderId {
                service,
                provider,
                model: String::new(),
                voice: String::new(),
                credential: None,
            },
            stand_in: (place > 0).then_some(stand_in),
        }
    });
    ChainedVoice::new(candidates.collect(), outages.clone())
}

#[tokio::test(start_paused = true)]
async fn the_best_voice_is_opened_with_the_call() {
    let (first, second, outages) = (Voice::new(0), Voice::new(9), ProviderOutages::default());
    let voices = chain(&[&first, &second], &outages);
    voices.connect_ahead(&call()).await;
    let mut session = voices.open(&call());
    assert_eq!((first.open_sessions(), second.open_sessions()), (1, 0));
    assert_eq!((first.connections_ahead(), second.connections_ahead()), (1, 0));
    assert!(session.synthesize("One.").all(async |event| event.is_ok()).await);

    let other = chain(&[&first, &second], &outages);
    other.connect_ahead(&call()).await;
    let _session = other.open(&call());
    assert_eq!(second.open_sessions(), 2, "the first one is skipped in this call");
    assert_eq!((first.connections_ahead(), second.connections_ahead()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_voice_that_failed_is_closed_after_its_last_clause() {
    let (first, second) = (Voice::new(1), Voice::new(9));
    let mut session = chain(&[&first, &second], &ProviderOutages::default()).open(&call());
    let mut one = session.synthesize("One.");
    assert!(one.next().await.is_some());
    assert!(session.synthesize("Two.").all(async |event| event.is_ok()).await);
    assert_eq!((first.open_sessions(), second.open_sessions()), (1, 1), "it is still speaking");
    assert!(one.next().await.is_some_and(|event| event.is_ok()));
    drop(one);
    assert_eq!((first.open_sessions(), second.open_sessions()), (0, 1));
}
