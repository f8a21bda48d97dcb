//! Does the user take the floor from the agent: first by sound, then by words.
//!
//! Sound alone makes the agent stop at once, and keep what was not heard. Words decide: with any but a mere
//! "uh-huh" the user has the floor; without any it was a cough, and the agent goes on from the word it
//! stopped in.

use std::time::Duration;

use super::{CallTime, Engine, Output, backchannel, playback::Playback};

/// So much speech stops the agent: a click or a breath is shorter.
pub(super) const TAKES: Duration = Duration::from_millis(200);
/// One frame of the caller's audio.
pub(super) const FRAME: Duration = Duration::from_millis(20);
/// Frames without speech that are still within a word.
const GAP_FRAMES: u32 = 4;
/// After the last sound words must come within this: transcribers take 300 to 700 ms.
pub(super) const NO_WORDS: Duration = Duration::from_secs(1);
/// Sound without words for longer than this is no speech, however long it goes on.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// An echo of the agent's own voice comes back at least 6 dB weaker (ITU-T G.168, section 3.4); half of that
/// is kept as a margin.
const WEAKER_THAN_ECHO_DB: i16 = 3;
/// Frames after one that is louder than an echo which are taken for the caller's too, though they are not:
/// nobody is loud in every sound of a word.
const NEAR_FRAMES: u32 = 5;

/// What the caller's side sounds like, and whether the agent waits because of it.
#[derive(Default)]
pub(super) struct Floor {
    /// Frames of speech in this stretch.
    speech_frames: u32,
    /// Frames since the last one that was louder than an echo of the agent.
    weaker_frames: u32,
    /// Frames since the last one of speech.
    quiet_frames: u32,
    /// When the last frame came.
    heard_at: CallTime,
    /// This stretch of speech has stopped the agent already.
    tried: bool,
    paused: Option<Pause>,
}

#[derive(Clone, Copy)]
struct Pause {
    /// When the agent stopped.
    since: CallTime,
    /// When it goes on, if there are no words.
    until: CallTime,
}

impl Floor {
    /// Whether the agent has stopped and waits for words.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// When the agent goes on.
    pub(super) fn due(&self) -> Option<CallTime> {
        Some(self.paused?.until)
    }

    /// Ends the pause; whether there was one.
    pub(super) fn leave(&mut self) -> bool {
        self.paused.take().is_some()
    }

    /// One more frame; whether it completes enough speech to stop an agent who is audible. What was said
    /// before the agent began stops nobody.
    fn hears(&mut self, at: CallTime, is_speech: bool, is_louder: bool, is_audible: bool) -> bool {
        // Frames that are no speech may be left out.
        if at.since(self.heard_at) > FRAME * GAP_FRAMES * 2 {
            (self.speech_frames, self.tried) = (0, false);
        }
        self.heard_at = at;
        self.weaker_frames = if is_speech && is_louder { 0 } else { self.weaker_frames.saturating_add(1) };
        let is_callers = is_louder || self.speech_frames > 0 && self.weaker_frames <= NEAR_FRAMES;
        if is_speech && is_callers {
            self.speech_frames += 1;
            self.quiet_frames = 0;
            if let Some(pause) = &mut self.paused {
                pause.until = (at + NO_WORDS).min(pause.since + LONGEST_PAUSE);
            }
        } else {
            self.quiet_frames += 1;
            if self.quiet_frames > GAP_FRAMES {
                self.speech_frames = 0;
                self.tried = false;
            }
        }
        if !is_audible {
            self.speech_frames = 0;
        }
        FRAME * self.speech_frames >= TAKES && !self.tried
    }

    fn pause(&mut self, at: CallTime) {
        self.tried = true;
        self.paused = Some(Pause { since: at, until: at + NO_WORDS });
    }
}

impl Engine {
    /// A frame of the caller's audio.
    pub(super) fn hears_frame(
        &mut self,
        at: CallTime,
        is_speech: bool,
        level_db: i16,
        agent_level_db: i16,
        out: &mut Vec<Output>,
    ) {
        let is_louder = level_db >= agent_level_db.saturating_sub(WEAKER_THAN_ECHO_DB);
        if is_speech && is_louder {
            self.hearing.sounds(at);
            if self.hearing.may_be_speech(at) {
                self.quiet_since = at;
            }
        }
        let takes = self.floor.hears(at, is_speech, is_louder, self.is_audible(at));
        let may_pause = self.ending.is_none() && self.draining.is_none() && !self.floor.is_paused();
        if takes && may_pause {
            self.floor.pause(at);
            out.push(Output::Clear);
            self.playback.pause(at, out);
        }
    }

    /// Nobody said anything: the agent goes on where it stopped.
    pub(super) fn go_on_speaking(&mut self) {
        if self.floor.leave() {
            self.playback.resume();
        }
    }

    /// Whether the agent is speaking, and something of it was heard, or it has asked for patience: only
    /// then can words be a mere sign of listening.
    pub(super) fn is_listened_to(&self, at: CallTime) -> bool {
        let is_speaking = self.playback.is_audible(at) || self.floor.is_paused();
        self.answer.is_some() && is_speaking && self.playback.any_heard(at) || self.is_patient()
    }

    /// Whether `words` only say that somebody listens.
    pub(super) fn is_backchannel(&self, words: &str) -> bool {
        backchannel::is_mere(&self.settings.language, words)
    }
}

impl Playback {
    /// Stops at the word that is being said: what was not heard will be sent again.
    fn pause(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.cleared();
        self.rewind(at, out);
        // What was not taken back was played, though its mark comes back as one of the generation before.
        for piece in self.pieces_mut().filter(|piece| piece.is_sent()) {
            piece.marked_at.get_or_insert(piece.plays_until);
        }
        self.is_paused = true;
    }

    /// Goes on from there.
    fn resume(&mut self) {
        self.is_paused = false;
    }
}
