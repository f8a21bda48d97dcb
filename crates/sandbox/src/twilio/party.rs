//! The person on a call: their acts, the recognition of what they hear, and the record of both.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::call_record::{self, Call};
use crate::{
    audio::{FRAME_BYTES, SILENCE},
    callers::{Action, LineEffects, Part, Person, Utterance},
    canned,
    speech::Speech,
};

/// Time limit for the recognition of the last words after the end of a call.
const SETTLE_TIMEOUT: Duration = Duration::from_mins(2);

/// The outcome of 20 ms besides audio.
#[derive(Default)]
pub(super) struct Step {
    /// Keys that the person pressed.
    pub(super) keys: Vec<char>,
    pub(super) hung_up: bool,
}

/// A person on a call.
pub(super) struct Party {
    person: Person,
    effects: LineEffects,
    /// Replaces the person in a load test.
    canned: Option<canned::Caller>,
    speech: Speech,
    call: Arc<Call>,
    answered: Instant,
    /// Recognition runs concurrently with the audio; the person limits the number of tasks.
    recognitions: JoinSet<(Utterance, anyhow::Result<String>)>,
    /// The time of the last sound of either side.
    last_sound: Option<Instant>,
    /// The same at a change of streams, until the first sound on the new stream.
    silent_since: Option<Instant>,
}

impl Party {
    pub(super) fn new(part: Part, speech: Speech, call: Arc<Call>, answered: Instant) -> Self {
        Self {
            effects: LineEffects::new(part.echo, part.noise_db),
            person: Person::new(part),
            canned: speech.load().cloned().map(canned::Caller::new),
            speech,
            call,
            answered,
            recognitions: JoinSet::new(),
            last_sound: None,
            silent_since: None,
        }
    }

    /// A stream is connected, perhaps not the first one.
    pub(super) fn connected(&mut self) {
        self.silent_since = self.silent_since.or(self.last_sound);
        if let Some(caller) = &mut self.canned {
            caller.connected();
        }
    }

    /// Audio of the agent has arrived.
    pub(super) fn arrived(&mut self, mulaw: &[u8]) {
        if let Some(caller) = &mut self.canned {
            caller.arrived(mulaw);
        }
    }

    /// A mark has arrived.
    pub(super) fn marked(&mut self) {
        if let Some(caller) = &mut self.canned {
            caller.marked();
        }
    }

    /// A `clear` has arrived.
    pub(super) fn cleared(&mut self) {
        if let Some(caller) = &mut self.canned {
            caller.cleared();
        }
    }

    /// Advances by 20 ms.
    pub(super) fn step(
        &mut self,
        now: Instant,
        heard: &[u8; FRAME_BYTES],
        said: &mut [u8; FRAME_BYTES],
    ) -> Step {
        if let Some(caller) = &mut self.canned {
            caller.step(now, said);
            return Step::default();
        }
        let mut step = Step::default();
        let since = now.saturating_duration_since(self.answered);
        for action in self.person.step(since, heard, said) {
            match action {
                Action::Recognise(utterance) => self.recognise(utterance),
                Action::Do { what, text, start, end } => {
                    self.call.record_said(call_record::Done {
                        at_ms: ms(start),
                        until_ms: ms(end),
                        what,
                        text,
                    });
                }
                Action::Press(key) => step.keys.push(key),
                Action::HangUp => {
                    self.call.state().hung_up_ms = Some(ms(since));
                    step.hung_up = true;
                }
            }
        }
        let sound = |frame: &[u8]| frame.iter().any(|&byte| byte != SILENCE);
        if sound(heard) || sound(said) {
            self.last_sound = Some(now);
            if let Some(since) = self.silent_since.take() {
                let silence = ms(now.saturating_duration_since(since));
                let longest = &mut self.call.state().media.longest_silence_ms;
                *longest = silence.max(*longest);
            }
        }
        self.effects.step(heard, said);
        step
    }

    /// Waits for a recognised utterance, and passes it to the person. Never returns while nothing is being recognised.
    /// Cancel-safe.
    pub(super) async fn recognised(&mut self) {
        match self.recognitions.join_next().await {
            Some(Ok(result)) => {
                let text = self.record(result);
                self.person.recognised(text.as_deref());
            }
            Some(Err(error)) => {
                tracing::error!(%error, "recognition failed");
                self.person.recognised(None);
            }
            None => std::future::pending().await,
        }
    }

    /// Ends the call: recognises and records the last words.
    pub(super) async fn settle(mut self) {
        if let Some(utterance) = self.person.leave(self.answered.elapsed()) {
            self.recognise(utterance);
        }
        let rest = async {
            while let Some(result) = self.recognitions.join_next().await {
                if let Ok(result) = result {
                    self.record(result);
                }
            }
        };
        if timeout(SETTLE_TIMEOUT, rest).await.is_err() {
            tracing::warn!("last words of a call not recognised within {SETTLE_TIMEOUT:?}");
        }
    }

    fn recognise(&mut self, utterance: Utterance) {
        let speech = self.speech.clone();
        self.recognitions.spawn(async move {
            let text = speech.transcribe(&utterance.audio).await;
            (utterance, text)
        });
    }

    fn record(&self, (utterance, text): (Utterance, anyhow::Result<String>)) -> Option<String> {
        match text {
            Ok(text) => {
                if !text.trim().is_empty() {
                    let (at_ms, until_ms) = (ms(utterance.start), ms(utterance.end));
                    self.call.record_heard(call_record::Speech { at_ms, until_ms, text: text.clone() });
                }
                Some(text)
            }
            Err(error) => {
                tracing::warn!(%error, "utterance not recognised");
                None
            }
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
