//! Does the transcriber hear what our own ears hear: one that is open but deaf looks like a silent caller.
//!
//! Speech that no words came of is heard again by another transcriber, and if that understands nothing
//! either, the caller is told so. Sounds that are no speech for long enough are left alone.

use std::time::Duration;

use super::{
    CallTime, ConversationEvent, Engine, Output, ProviderRole,
    answering::Answer,
    endpointing::SILENCE,
    filler::PATIENCE,
    floor::{FRAME, TAKES},
    playback::Utterance,
};
use switchboard_model::messages::Role;

/// So much speech without any sign of the transcriber is doubtful: shorter sounds are often no words.
pub(super) const SPEECH: Duration = Duration::from_millis(600);
/// So much, if it heard at least that speech began: some of that is laughter or music.
pub(super) const NOTICED_SPEECH: Duration = Duration::from_secs(1);
/// After the end of speech a transcriber has said something within this: they take 300 to 700 ms.
pub(super) const DEAF: Duration = Duration::from_millis(1500);
/// The next transcriber must understand something within this.
pub(super) const HEARD_AGAIN: Duration = Duration::from_secs(1);
/// A transcriber that failed has been replaced by then.
const RECONNECTED: Duration = Duration::from_secs(5);
/// Whom our own ears heard so lately is going on: a transcriber needs a longer silence to end a turn.
const GOING_ON: Duration = Duration::from_millis(150);
/// Transcribers take 300 to 700 ms after the end of speech.
const TRANSCRIBED: Duration = Duration::from_millis(700);
/// Words of it come within this, or it is none.
const LATE_WORDS: Duration = Duration::from_secs(1);
/// Sound without words for longer than this is music or an engine: nobody speaks.
const LONGEST_SPEECH: Duration = Duration::from_secs(15);
/// The transcriber may hear the beginning of speech earlier than we do.
const EARLIER: Duration = Duration::from_millis(500);

/// What our own ears heard since the transcriber understood something.
#[derive(Default)]
pub(super) struct Hearing {
    /// Frames of speech.
    frames: u32,
    /// When the first of them came.
    began_at: CallTime,
    /// When the last frame of speech came, ever.
    sound_at: Option<CallTime>,
    /// When the transcriber last heard that speech began.
    noticed_at: Option<CallTime>,
    failed_at: Option<CallTime>,
    replaced_at: Option<CallTime>,
    /// What ended before this was understood by the transcriber before.
    since: CallTime,
}

impl Hearing {
    /// When the caller was last heard by our own ears.
    pub(super) fn sound_at(&self) -> Option<CallTime> {
        self.sound_at
    }

    /// When the speech ended that words were now understood of.
    pub(super) fn spoken_until(&self, at: CallTime) -> Option<CallTime> {
        self.sound_at.filter(|sound_at| at.since(*sound_at) < SILENCE)
    }

    /// Until when the caller is taken to go on: of more than a sound words will come, after its end.
    fn goes_on_until(&self) -> Option<CallTime> {
        let wait = if self.speech() >= TAKES { TRANSCRIBED } else { GOING_ON };
        Some(self.sound_at? + wait)
    }

    /// A frame of speech.
    pub(super) fn sounds(&mut self, at: CallTime) {
        if self.sound_at.is_none_or(|sound_at| at.since(sound_at) > DEAF) {
            self.frames = 0;
        }
        if self.frames == 0 {
            self.began_at = at;
        }
        self.frames = self.frames.saturating_add(1);
        self.sound_at = Some(at);
    }

    /// Whether a frame may be of speech, after all that was heard without words of it.
    pub(super) fn may_be_speech(&self, at: CallTime) -> bool {
        at.since(self.began_at) < LONGEST_SPEECH
    }

    /// The transcriber heard that speech began.
    pub(super) fn notices(&mut self, at: CallTime) {
        self.noticed_at = Some(at);
    }

    /// The transcriber said something of what was said.
    pub(super) fn understands(&mut self) {
        self.frames = 0;
        self.failed_at = None;
        self.replaced_at = None;
    }

    /// Whether words that ended then were understood before.
    pub(super) fn is_repeated(&self, spoken_until: Option<CallTime>) -> bool {
        spoken_until.is_some_and(|until| until <= self.since)
    }

    fn speech(&self) -> Duration {
        FRAME * self.frames
    }

    fn is_noticed(&self) -> bool {
        self.noticed_at.is_some_and(|at| at + EARLIER >= self.began_at)
    }
}

/// What is to be done about speech that no words came of.
enum Unheard {
    /// Another transcriber hears it again.
    Replace,
    /// It is no use to wait: the caller is told, or what was understood before is answered.
    GiveUp,
    /// Both.
    ReplaceAndGiveUp,
}

impl Engine {
    /// When the user's turn is over. That they go on our own ears hear sooner than the transcriber, which
    /// may still be ending what they said before.
    pub(super) fn turn_due(&self) -> Option<CallTime> {
        let due = self.turn.due()?;
        let goes_on = self.hearing.goes_on_until().map(|until| until.min(due + LATE_WORDS));
        Some(due.max(goes_on.unwrap_or_default()))
    }

    /// Until when what the agent has not begun to say waits: the caller is speaking, and words that come of
    /// it are to be answered too.
    pub(super) fn gives_way(&self, at: CallTime) -> Option<CallTime> {
        let has_begun = |utterance: &Utterance| utterance.started_at.is_some();
        if self.ending.is_some() || self.playback.utterances.front().is_none_or(has_begun) {
            return None;
        }
        let until = self.hearing.goes_on_until()?.min(self.hearing.began_at + LATE_WORDS);
        Some(until).filter(|until| *until > at)
    }

    /// The transcriber broke. What the caller is saying may be understood late, or never.
    pub(super) fn transcriber_failed(&mut self, at: CallTime) {
        let hearing = &mut self.hearing;
        hearing.failed_at = Some(at);
        if hearing.sound_at.is_none_or(|sound_at| at.since(sound_at) > PATIENCE) {
            hearing.frames = 0;
        }
    }

    /// When something is to be done about speech that no words came of.
    pub(super) fn hearing_due(&self) -> Option<CallTime> {
        self.unheard().map(|(due, _)| due)
    }

    fn unheard(&self) -> Option<(CallTime, Unheard)> {
        if self.ending.is_some() || self.draining.is_some() {
            return None;
        }
        let hearing = &self.hearing;
        let has_words = self.turn.has_words();
        if let Some(replaced_at) = hearing.replaced_at {
            let since = hearing.sound_at.map_or(replaced_at, |at| at.max(replaced_at));
            return Some((since + HEARD_AGAIN, Unheard::GiveUp));
        }
        // Without ears of our own the transcriber's must do.
        let ended_at = hearing.sound_at.or(hearing.failed_at.filter(|_| self.turn.is_open()))?;
        let is_broken = hearing.failed_at.is_some_and(|failed_at| ended_at <= failed_at + RECONNECTED);
        match hearing.speech() {
            speech if is_broken => {
                let is_lately = |failed_at: CallTime| failed_at < ended_at + PATIENCE;
                let has_words = has_words && hearing.failed_at.is_some_and(is_lately);
                let is_speech = speech >= TAKES || hearing.sound_at.is_none() || has_words;
                is_speech.then(|| (ended_at + PATIENCE, Unheard::GiveUp))
            }
            speech if speech < SPEECH => None,
            _ if has_words => Some((ended_at + PATIENCE, Unheard::GiveUp)),
            _ if !hearing.is_noticed() => Some((ended_at + DEAF, Unheard::Replace)),
            speech if speech < NOTICED_SPEECH => None,
            _ => Some((ended_at + PATIENCE, Unheard::ReplaceAndGiveUp)),
        }
    }

    /// Does what is due about it.
    pub(super) fn hear_again(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let Some((_, what)) = self.unheard().filter(|(due, _)| *due <= at) else { return };
        let hearing = &mut self.hearing;
        hearing.frames = 0;
        let is_broken = hearing.failed_at.take().is_some();
        hearing.replaced_at = None;
        if matches!(what, Unheard::Replace | Unheard::ReplaceAndGiveUp) {
            hearing.since = hearing.began_at;
            out.push(Output::Event(ConversationEvent::ProviderTimedOut(ProviderRole::Transcriber)));
            out.push(Output::ReplaceTranscriber);
        }
        if matches!(what, Unheard::Replace) {
            hearing.replaced_at = Some(at);
        } else if self.turn.has_words() {
            if is_broken {
                // The next transcriber begins with what is answered now.
                hearing.since = hearing.since.max(self.turn.spoken_until());
            }
            self.turn.is_complete(at);
        } else if self.answer.is_none() {
            let spoken_until = hearing.sound_at.unwrap_or(at);
            self.forget_sound(out);
            self.answer = Some(Answer::to_user(spoken_until, at));
            self.excuse(at);
        }
    }

    /// When what the transcriber took for the beginning of speech was none, if nothing more comes.
    pub(super) fn sound_due(&self) -> Option<CallTime> {
        let began_at = self.turn.wordless_since()?;
        Some(self.hearing.sound_at.map_or(began_at, |at| at.max(began_at)) + SILENCE)
    }

    /// It was none.
    pub(super) fn forget_sound(&mut self, out: &mut Vec<Output>) {
        if self.turn.forget() {
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        }
    }
}
