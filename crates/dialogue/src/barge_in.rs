//! Barge-in: does the caller interrupt the agent?
//!
//! Sound decides first, words second. [`BargeIn`] is the first half: after enough speech the agent pauses at once and
//! keeps its unheard audio. If words follow that are more than backchannel, the engine ends the agent's turn. If none
//! follow, it was a false interruption, and the agent goes on from the word it paused in. This file knows no words: see
//! `turn` and the engine's `user_says`.

use std::time::Duration;

use crate::{
    call_time::{CallTime, FRAME},
    timing::{LONGEST_HESITATION, SPEECH},
};

/// Frames without speech that can lie within a word.
const GAP_FRAMES: u32 = 4;
/// An echo of the agent's own voice comes back at least 6 dB weaker (ITU-T G.168, section 3.4); half of that
/// is kept as a margin.
const ECHO_MARGIN_DB: i16 = 3;
/// Soft frames after one that is louder than an echo still count as the caller's speech: not every sound of a word is
/// loud.
const SOFT_FRAMES: u32 = 5;

/// After so many false interruptions in a row sound alone does not pause the agent any more: it speaks on until words come.
const MAX_FALSE_ALARMS: u32 = 2;
/// A false interruption this long ago is forgotten.
const FALSE_ALARM_MEMORY: Duration = Duration::from_secs(10);

/// Whether a frame is too loud to be an echo of the agent.
pub(crate) fn is_above_echo(level_db: i16, agent_level_db: i16) -> bool {
    level_db >= agent_level_db.saturating_sub(ECHO_MARGIN_DB)
}

/// The caller's speech while the agent is audible, and whether the agent pauses because of it.
#[derive(Debug)]
pub(crate) struct BargeIn {
    /// After a pause of this length without words the agent goes on.
    words_overdue_after: Duration,
    /// Frames of speech in this stretch.
    speech_frames: u32,
    /// Frames since the last one that was louder than an echo.
    soft_frames: u32,
    /// Frames since the last one of speech.
    quiet_frames: u32,
    last_frame_at: CallTime,
    /// This stretch of speech has paused the agent already.
    has_paused: bool,
    pause: Option<Pause>,
    max_false_alarms: u32,
    /// False interruptions in a row, and when the last one ended.
    false_alarms: (u32, CallTime),
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: CallTime,
    /// When the agent goes on, if there are no words.
    until: CallTime,
}

impl BargeIn {
    pub(crate) fn new(words_overdue_after: Duration, weighs_sounds: bool) -> Self {
        Self {
            max_false_alarms: if weighs_sounds { MAX_FALSE_ALARMS } else { u32::MAX },
            words_overdue_after,
            speech_frames: 0,
            soft_frames: 0,
            quiet_frames: 0,
            last_frame_at: CallTime::default(),
            has_paused: false,
            pause: None,
            false_alarms: Default::default(),
        }
    }

    /// Whether the agent has paused and waits for words.
    pub(crate) fn is_pausing(&self) -> bool {
        self.pause.is_some()
    }

    /// When the agent goes on.
    pub(crate) fn due(&self) -> Option<CallTime> {
        Some(self.pause?.until)
    }

    /// Ends the pause; false if there was none.
    pub(crate) fn end_pause(&mut self) -> bool {
        self.pause.take().is_some()
    }

    /// Ends the pause: no words came, or mere backchannel. False if there was none.
    pub(crate) fn end_false_alarm(&mut self, at: CallTime) -> bool {
        let has_ended = self.end_pause();
        if has_ended {
            self.false_alarms = (self.recent_false_alarms(at) + 1, at);
        }
        has_ended
    }

    /// The caller said words: sound counts again.
    pub(crate) fn words_came(&mut self) {
        self.false_alarms = Default::default();
    }

    fn recent_false_alarms(&self, at: CallTime) -> u32 {
        let (count, last_at) = self.false_alarms;
        if at.since(last_at) < FALSE_ALARM_MEMORY { count } else { 0 }
    }

    /// Begins a pause.
    pub(crate) fn pause(&mut self, at: CallTime) {
        self.has_paused = true;
        self.pause = Some(Pause { since: at, until: at + self.words_overdue_after });
    }

    /// Counts a frame. True if it completes enough speech to interrupt an audible agent. Speech from before the
    /// agent became audible does not count.
    pub(crate) fn frame(
        &mut self,
        at: CallTime,
        is_speech: bool,
        is_above_echo: bool,
        is_audible: bool,
    ) -> bool {
        // Frames of silence may be left out.
        if at.since(self.last_frame_at) > FRAME * GAP_FRAMES * 2 {
            (self.speech_frames, self.has_paused) = (0, false);
        }
        self.last_frame_at = at;
        self.soft_frames = if is_speech && is_above_echo { 0 } else { self.soft_frames.saturating_add(1) };
        let is_callers = is_above_echo || self.speech_frames > 0 && self.soft_frames <= SOFT_FRAMES;
        if is_speech && is_callers {
            self.speech_frames += 1;
            self.quiet_frames = 0;
            if let Some(pause) = &mut self.pause {
                pause.until = (at + self.words_overdue_after).min(pause.since + LONGEST_HESITATION);
            }
        } else {
            self.quiet_frames += 1;
            if self.quiet_frames > GAP_FRAMES {
                self.speech_frames = 0;
                self.has_paused = false;
            }
        }
        if !is_audible {
            self.speech_frames = 0;
        }
        FRAME * self.speech_frames >= SPEECH
            && !self.has_paused
            && self.recent_false_alarms(at) < self.max_false_alarms
    }
}
