//! "One moment, please.": said once when the caller has waited for a while and is not going to hear
//! anything yet, whichever provider is to blame.
//!
//! It comes before whatever is still to be said, and it is no answer: a turn in which nothing else was
//! heard has no answer yet.

use std::time::Duration;

use super::{
    CallTime, Engine,
    answering::Answer,
    floor::LONGEST_PAUSE,
    history::UtteranceId,
    piece::{Piece, Stage},
    playback::{Playback, Text, Utterance},
};

/// So long the caller waits for the answer, or for more of it: people begin to wonder after two seconds.
pub(super) const PATIENCE: Duration = Duration::from_millis(2300);
/// So long after the end of their speech, if that comes first: with a voice that is ready they hear
/// something within three seconds.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(2800);
/// A voice that was asked so lately may bring the answer itself.
const ABOUT_TO_SPEAK: Duration = Duration::from_millis(500);
/// Nobody is interrupted by it: the caller has been silent for so long.
const SILENT: Duration = Duration::from_millis(300);

impl Engine {
    /// When the caller is to be asked for patience; none while there is no need for it.
    pub(super) fn filler_due(&self) -> Option<CallTime> {
        let answer = self.answer.as_ref().filter(|answer| answer.is_to_user())?;
        let is_wanted = answer.is_unwritten() || !self.playback.is_idle();
        let was_asked = self.filled_at.is_some_and(|at| at >= answer.spoken_until());
        let is_over = self.ending.is_some() || self.draining.is_some();
        if !is_wanted || was_asked || is_over || self.floor.is_paused() || self.playback.has_begun() {
            return None;
        }
        let latest = answer.spoken_until() + LONGEST_WAIT;
        let due = (answer.decided_at() + PATIENCE).min(latest).max(answer.decided_at());
        let due = due.max(self.playback.plays_until + PATIENCE);
        let voice = self.playback.asked_at().map(|asked_at| (asked_at + ABOUT_TO_SPEAK).min(latest));
        let due = due.max(voice.unwrap_or_default());
        let caller = self.hearing.sound_at().map(|at| (at + SILENT).min(due + LONGEST_PAUSE));
        Some(due.max(caller.unwrap_or_default()))
    }

    /// Asks the caller for patience, before what is still to be said.
    pub(super) fn fill(&mut self, at: CallTime) {
        let moment = self.phrases().moment;
        let (filler, next) = self.playback.put_first(moment);
        self.history.agent_fills(filler, next, moment);
        self.filled_at = Some(at);
    }

    /// Whether the caller was asked for patience, and has not got an answer yet.
    pub(super) fn is_patient(&self) -> bool {
        self.answer.as_ref().is_some_and(Answer::is_patient)
    }
}

impl Playback {
    /// An utterance before all others, of which nothing was said; and the one behind it. It is asked for
    /// once only.
    pub(super) fn put_first(&mut self, text: &str) -> (UtteranceId, Option<UtteranceId>) {
        let next = self.utterances.front().map(|utterance| utterance.id);
        let id = self.next_id();
        let piece = Piece { failed_once: true, ..Piece::new(text.to_owned()) };
        let filler = Utterance {
            id,
            is_filler: true,
            text: Text::Complete,
            pieces: vec![piece],
            ..Utterance::default()
        };
        self.utterances.push_front(filler);
        (id, next)
    }

    /// Whether something of the oldest utterance was sent, or could be.
    pub(super) fn has_begun(&self) -> bool {
        self.utterances.front().is_some_and(Utterance::has_audio)
    }

    /// Whether what is said now only asks for patience.
    pub(super) fn is_filling(&self) -> bool {
        self.utterances.front().is_some_and(|utterance| utterance.is_filler)
    }

    /// When the voice was asked for what it works on without having begun.
    pub(super) fn asked_at(&self) -> Option<CallTime> {
        let silent = |piece: &&Piece| matches!(piece.stage, Stage::AtVoice(_)) && piece.received == 0;
        self.pieces().find(silent).map(|piece| piece.asked_at)
    }

    /// Nobody need be asked for patience when the answer is there, or when the voice fails.
    pub(super) fn drop_filler(&mut self) {
        let Some(filler) = self.utterances.front_mut().filter(|utterance| utterance.is_filler) else {
            return;
        };
        for piece in filler.pieces.iter_mut().filter(|piece| piece.received == 0) {
            piece.stage = Stage::Dropped;
        }
    }
}
