//! Providers of all roles that follow a script.

use std::{
    collections::VecDeque,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokio::time::sleep;

use crate::{
    Error,
    audio::AudioFormat,
    language_model::{Conversation, FinishReason, Generation, GenerationEvent, LanguageModel},
    synthesizer::{CallContext, SpeechEvent, SpeechStream, Synthesizer, VoiceSession},
    transcriber::{AudioSink, Transcriber, TranscriberSession, TranscriptEvent},
};

/// A scripted provider's reaction to a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Serves,
    Refuses,
    /// It refuses this one request.
    RefusesHere,
    HasNoVoice,
    Fails,
    IsBusy,
    IsSilent,
    /// It begins, and then breaks.
    Breaks,
    /// It waits for its turn for this many seconds.
    Waits(u64),
}

/// A provider that follows a script; at its end it repeats the last step.
#[derive(Clone)]
pub(super) struct Scripted(Arc<Mutex<(VecDeque<Step>, usize)>>, pub(super) &'static str);

impl Scripted {
    pub(super) fn new(name: &'static str, steps: &[Step]) -> Self {
        Self(Arc::new(Mutex::new((steps.iter().copied().collect(), 0))), name)
    }

    pub(super) fn requests(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn step(&self) -> Step {
        let mut script = self.0.lock().unwrap();
        script.1 += 1;
        if script.0.len() > 1 { script.0.pop_front().unwrap() } else { script.0[0] }
    }

    fn error(&self, step: Step) -> Error {
        match step {
            Step::Refuses => Error::rejected(self.1, "401", "Incorrect API key sk-secret"),
            Step::RefusesHere => Error::rejected(self.1, "400", "This text is too long"),
            Step::HasNoVoice => Error::rejected(self.1, "voice_not_found", "No such voice"),
            Step::IsBusy => Error::Unavailable {
                vendor: self.1,
                reason: "error (429): busy".into(),
                retry_after: Some(Duration::from_secs(20)),
                source: None,
            },
            _ => Error::unavailable(self.1, "error (500): server_error"),
        }
    }

    fn stream<E: Send + 'static>(
        &self,
        served: Vec<E>,
        waits: fn() -> Option<E>,
    ) -> stream::BoxStream<'static, Result<E, Error>> {
        let one = self.clone();
        stream::once(async move {
            let step = one.step();
            match step {
                Step::Serves => stream::iter(served.into_iter().map(Ok)).boxed(),
                Step::Refuses | Step::RefusesHere | Step::HasNoVoice | Step::Fails | Step::IsBusy => {
                    stream::iter([Err(one.error(step))]).boxed()
                }
                Step::IsSilent => stream::pending().boxed(),
                Step::Breaks => {
                    stream::iter(served.into_iter().take(2).map(Ok).chain([Err(one.error(step))])).boxed()
                }
                Step::Waits(seconds) => {
                    let waiting = stream::iter(0..seconds).filter_map(move |_| async move {
                        sleep(Duration::from_secs(1)).await;
                        waits().map(Ok)
                    });
                    waiting.chain(stream::iter(served.into_iter().map(Ok))).boxed()
                }
            }
        })
        .flatten()
        .boxed()
    }
}

impl LanguageModel for Scripted {
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn generate(&self, conversation: &Conversation<'_>) -> Generation {
        assert_eq!(conversation.prompt, Some("You are Ada."), "each one is asked the same");
        let finished = GenerationEvent::Finished(FinishReason::Stop);
        self.stream(
            vec![GenerationEvent::Text(self.1.into()), GenerationEvent::Text("more".into()), finished],
            || None,
        )
    }
}

impl Synthesizer for Scripted {
    fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn speaks(&self, _format: AudioFormat) -> bool {
        true
    }

    fn open(&self, _call: &CallContext) -> Box<dyn VoiceSession> {
        Box::new(self.clone())
    }
}

impl VoiceSession for Scripted {
    fn request(&mut self, clause: &str) -> SpeechStream {
        let count = SpeechEvent::Characters { count: clause.len() as u64, estimated: false };
        self.stream(vec![count, SpeechEvent::Audio(Bytes::from_static(self.1.as_bytes()))], || {
            Some(SpeechEvent::Delayed)
        })
    }
}

impl Transcriber for Scripted {
    fn connect_for(
        &self,
        _format: AudioFormat,
    ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
        let one = self.clone();
        async move {
            let step = one.step();
            let transcript =
                || TranscriptEvent::Transcript { text: "Hi".into(), is_final: true, words_end: None };
            let events = match step {
                Step::Refuses | Step::RefusesHere | Step::HasNoVoice | Step::Fails | Step::IsBusy => {
                    return Err(one.error(step));
                }
                Step::IsSilent => std::future::pending().await,
                Step::Serves => vec![Ok(transcript())],
                // A session without a word.
                Step::Waits(_) => vec![],
                Step::Breaks => vec![Err(one.error(Step::Refuses))],
            };
            let (sink, _frames) = AudioSink::new(one.1);
            Ok((sink, stream::iter(events).boxed()))
        }
        .boxed()
    }
}
