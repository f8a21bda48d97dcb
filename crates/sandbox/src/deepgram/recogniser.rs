//! Live recognition for servers with another protocol than `/v1/listen`: audio in, words out.
//!
//! It runs a session of `/v1/listen` and reads its messages, so that all transcribers hear the same.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

pub(crate) use super::options::Encoding;
use super::{
    options::ListenOptions,
    session::{Output, Session},
};
use crate::speech::Speech;

/// A word, with its times in the stream in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Word {
    /// As written, with punctuation.
    pub(crate) text: String,
    pub(crate) start: f64,
    pub(crate) end: f64,
}

/// Something that was heard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RecogniserEvent {
    /// Speech began, this long after the beginning of the stream.
    Started(Duration),
    /// The words so far. `is_pause`: silence has begun, and they may be the last ones.
    Interim { words: Vec<Word>, is_pause: bool },
    /// The speech goes on after a pause.
    Resumed,
    /// The words of a piece of speech, maybe none. `is_end`: a silence has ended it.
    Final { words: Vec<Word>, is_end: bool },
    /// The stream is closed, and all words were delivered.
    Closed,
}

/// The text of some words.
pub(crate) fn text(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// The recognition of one stream.
pub(crate) struct Recogniser {
    session: Session,
    speech: Speech,
    decodes: JoinSet<anyhow::Result<String>>,
}

impl Recogniser {
    /// `silence` ends a piece of speech.
    pub(crate) fn new(speech: Speech, encoding: Encoding, silence: Duration) -> Self {
        let options = ListenOptions {
            encoding,
            interim_results: true,
            endpointing: Some(silence),
            utterance_end: None,
            vad_events: true,
            punctuate: true,
        };
        Self { session: Session::new(options, String::new(), false), speech, decodes: JoinSet::new() }
    }

    /// Sets the encoding of a stream whose audio is still to come.
    pub(crate) fn set_encoding(&mut self, encoding: Encoding) {
        self.session.set_encoding(encoding);
    }

    /// Duration of the audio so far.
    pub(crate) fn position(&self) -> Duration {
        self.session.position()
    }

    pub(crate) fn audio(&mut self, bytes: &[u8]) -> Vec<RecogniserEvent> {
        self.step(|session, out| session.audio(bytes, out))
    }

    /// Ends the present piece of speech.
    pub(crate) fn finalize(&mut self) -> Vec<RecogniserEvent> {
        self.step(Session::finalize)
    }

    /// No more audio comes. [`RecogniserEvent::Closed`] follows the last words.
    pub(crate) fn close(&mut self) -> Vec<RecogniserEvent> {
        self.step(Session::close)
    }

    /// Waits for the engine; none if it failed. Never returns while it has nothing to recognise. Cancel-safe.
    pub(crate) async fn recognised(&mut self) -> Option<Vec<RecogniserEvent>> {
        match self.decodes.join_next().await {
            None => std::future::pending().await,
            Some(Ok(Ok(text))) => Some(self.step(|session, out| session.decoded(text, out))),
            Some(_) => None,
        }
    }

    fn step(&mut self, step: impl FnOnce(&mut Session, &mut Vec<Output>)) -> Vec<RecogniserEvent> {
        let (was_ahead, mut out) = (self.session.is_ahead(), vec![]);
        step(&mut self.session, &mut out);
        let is_ahead = self.session.is_ahead();
        let mut heard = vec![];
        for output in out {
            match output {
                Output::Send(message) => {
                    if let Some(load) = self.speech.load() {
                        load.record_transcript(&message);
                    }
                    heard.extend(read(&message, is_ahead));
                }
                Output::Decode(audio) => {
                    let speech = self.speech.clone();
                    self.decodes.spawn(async move { speech.transcribe(&audio).await });
                }
                Output::Close => heard.push(RecogniserEvent::Closed),
            }
        }
        let is_final = heard.iter().any(|heard| matches!(heard, RecogniserEvent::Final { .. }));
        if was_ahead && !is_ahead && !is_final {
            heard.insert(0, RecogniserEvent::Resumed);
        }
        heard
    }
}

fn read(message: &Value, is_pause: bool) -> Option<RecogniserEvent> {
    match message["type"].as_str()? {
        "SpeechStarted" => {
            Some(RecogniserEvent::Started(Duration::try_from_secs_f64(message["timestamp"].as_f64()?).ok()?))
        }
        "Results" => {
            let words = message["channel"]["alternatives"][0]["words"].as_array()?;
            let word = |word: &Value| {
                let text = word["punctuated_word"].as_str()?.to_owned();
                Some(Word { text, start: word["start"].as_f64()?, end: word["end"].as_f64()? })
            };
            let words = words.iter().filter_map(word).collect();
            let is_end = message["speech_final"].as_bool()?;
            let is_final = message["is_final"].as_bool()?;
            Some(if is_final {
                RecogniserEvent::Final { words, is_end }
            } else {
                RecogniserEvent::Interim { words, is_pause }
            })
        }
        _ => None,
    }
}
