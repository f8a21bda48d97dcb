//! The person on the line of one call: their part, their ears, and the record of both.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::call_record::{self, Call};
use crate::{
    audio::{FRAME_BYTES, SILENCE},
    callers::{Action, Part, Person, Room, Utterance},
    canned,
    speech::Speech,
};

/// How long the last words may take to be recognised once the call is over: as long as recognition may.
const SETTLE_TIMEOUT: Duration = Duration::from_mins(2);

/// What came of 20 ms, beside sound.
#[derive(Default)]
pub(super) struct Step {
    /// Pressed by the person.
    pub(super) keys: Vec<char>,
    pub(super) hung_up: bool,
}

/// A person who has picked up.
pub(super) struct Party {
    person: Person,
    room: Room,
    /// In place of the person, if the call is part of a load.
    canned: Option<canned::Caller>,
    speech: Speech,
    call: Arc<Call>,
    answered: Instant,
    /// Recognition runs beside the audio. The person bounds how much of it.
    hearing: JoinSet<(Utterance, anyhow::Result<String>)>,
    /// When somebody was last heard on the line, either side.
    last_sound: Option<Instant>,
    /// The same as it was when the stream changed, until somebody is heard on the new one.
    silent_since: Option<Instant>,
}

impl Party {
    pub(super) fn new(part: Part, speech: Speech, call: Arc<Call>, answered: Instant) -> Self {
        Self {
            room: Room::new(part.echo, part.noise_db),
            person: Person::new(part),
            canned: speech.load().cloned().map(canned::Caller::new),
            speech,
            call,
            answered,
            hearing: JoinSet::new(),
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

    /// Audio of the agent is here, to be played.
    pub(super) fn arrived(&mut self, mulaw: &[u8]) {
        if let Some(caller) = &mut self.canned {
            caller.arrived(mulaw);
        }
    }

    /// A mark behind that audio is here.
    pub(super) fn marked(&mut self) {
        if let Some(caller) = &mut self.canned {
            caller.marked();
        }
    }

    /// What has not been played is thrown away.
    pub(super) fn cleared(&mut self) {
        if let Some(caller) = &mut self.canned {
            caller.cleared();
        }
    }

    /// Lives through 20 ms.
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
        self.room.step(heard, said);
        step
    }

    /// Waits until something has been recognised, and tells the person. Never returns while nothing is
    /// being recognised. Cancel-safe.
    pub(super) async fn recognised(&mut self) {
        match self.hearing.join_next().await {
            Some(Ok(result)) => {
                let text = self.record(result);
                self.person.understood(text.as_deref());
            }
            Some(Err(error)) => {
                tracing::error!(%error, "recognition failed");
                self.person.understood(None);
            }
            None => std::future::pending().await,
        }
    }

    /// The call is over: recognises the last words and records them.
    pub(super) async fn settle(mut self) {
        if let Some(utterance) = self.person.leave(self.answered.elapsed()) {
            self.recognise(utterance);
        }
        let rest = async {
            while let Some(result) = self.hearing.join_next().await {
                if let Ok(result) = result {
                    self.record(result);
                }
            }
        };
        if timeout(SETTLE_TIMEOUT, rest).await.is_err() {
            tracing::warn!("the last words of a call were not recognised in {SETTLE_TIMEOUT:?}");
        }
    }

    fn recognise(&mut self, utterance: Utterance) {
        let speech = self.speech.clone();
        self.hearing.spawn(async move {
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
                tracing::warn!(%error, "the simulated caller could not recognise what it heard");
                None
            }
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
