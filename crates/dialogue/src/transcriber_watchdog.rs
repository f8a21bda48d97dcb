//! Transcriber watchdog: does the transcriber recognise the speech that voice activity detection (VAD) detects?
//!
//! A session that is open but returns nothing looks like a silent caller. Speech without words is sent to another
//! session once more; if that returns no words either, the agent apologises. Sound that goes on without words is no
//! speech. The watchdog also knows that the caller is still speaking, which the transcriber reports later. It knows no
//! words, only whether there are any.

use std::time::Duration;

use crate::{
    call_time::{CallTime, FRAME},
    settings::TranscriberProfile,
    timing::{MAX_CALLER_WAIT, SPEECH, TURN_SILENCE},
};

/// Speech this long without any transcriber output counts as missed; shorter sounds are often no words.
const MISSED_SPEECH: Duration = Duration::from_millis(600);
/// The same, if the transcriber detected at least the beginning of speech: some of that is laughter or music.
const MISSED_DETECTED_SPEECH: Duration = Duration::from_secs(1);
/// Speech counts as missed this long after its words were due at the latest.
const MISSED_SPEECH_MARGIN: Duration = Duration::from_millis(800);
/// Maximum time for opening another session after a failure.
const RECONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// A caller whose last speech is more recent than this goes on: transcribers need a longer silence to end a turn.
const GAP_IN_SPEECH: Duration = Duration::from_millis(150);
/// Sound without words for longer than this is music or an engine, not speech.
const MAX_WORDLESS_SOUND: Duration = Duration::from_secs(15);
/// A transcriber may detect the beginning of speech this much earlier than VAD does.
const EARLY_DETECTION: Duration = Duration::from_millis(500);

/// The caller's speech by VAD, since the transcriber last delivered words.
#[derive(Debug)]
pub(crate) struct TranscriberWatchdog {
    transcriber: TranscriberProfile,
    /// Frames of speech.
    frames: u32,
    /// When the first of them came.
    began_at: CallTime,
    /// When the last frame of speech of the call came.
    sound_at: Option<CallTime>,
    /// When the transcriber last detected the beginning of speech.
    detected_at: Option<CallTime>,
    failed_at: Option<CallTime>,
    replaced_at: Option<CallTime>,
    /// Words that were spoken before this were delivered by an earlier session.
    recognised_until: CallTime,
}

/// The state of the user's turn, as far as the watchdog depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TurnState {
    pub(crate) is_open: bool,
    pub(crate) has_words: bool,
    pub(crate) spoken_until: CallTime,
}

/// The watchdog's decision about speech without words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missed {
    /// Another transcriber session receives the speech again.
    pub(crate) replace_transcriber: bool,
    /// The wait is over: the agent replies to the words so far, or apologises.
    pub(crate) give_up: bool,
    /// When the speech ended.
    pub(crate) spoken_until: CallTime,
    /// The transcriber failed meanwhile.
    pub(crate) had_failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Replace,
    GiveUp,
    ReplaceAndGiveUp,
}

impl TranscriberWatchdog {
    pub(crate) fn new(transcriber: TranscriberProfile) -> Self {
        Self {
            transcriber,
            frames: 0,
            began_at: CallTime::default(),
            sound_at: None,
            detected_at: None,
            failed_at: None,
            replaced_at: None,
            recognised_until: CallTime::default(),
        }
    }

    /// When VAD last detected speech.
    pub(crate) fn sound_at(&self) -> Option<CallTime> {
        self.sound_at
    }

    /// The end of the speech whose words arrive now, if VAD detected it.
    pub(crate) fn spoken_until(&self, at: CallTime) -> Option<CallTime> {
        self.sound_at.filter(|sound_at| at.since(*sound_at) < TURN_SILENCE)
    }

    /// Until when the caller counts as speaking: after more than a sound, until its words can have arrived.
    fn goes_on_until(&self) -> Option<CallTime> {
        let wait = if self.speech() >= SPEECH { self.transcriber.words_within } else { GAP_IN_SPEECH };
        Some(self.sound_at? + wait)
    }

    /// Puts off the end of a turn while the caller goes on speaking: VAD detects that sooner than the transcriber,
    /// which may report the end of the words before.
    pub(crate) fn put_off(&self, due: CallTime) -> CallTime {
        let latest = due + self.transcriber.words_overdue_after();
        let goes_on = self.goes_on_until().map(|until| until.min(latest));
        due.max(goes_on.unwrap_or_default())
    }

    /// Until when a reply that has not begun waits for a caller who is speaking: their words belong to the same
    /// turn.
    pub(crate) fn reply_waits_until(&self) -> Option<CallTime> {
        Some(self.goes_on_until()?.min(self.began_at + self.transcriber.words_overdue_after()))
    }

    /// When a turn that has been open without words since `began_at` counts as a cough.
    pub(crate) fn cough_due(&self, began_at: CallTime) -> CallTime {
        self.sound_at.map_or(began_at, |at| at.max(began_at)) + TURN_SILENCE
    }

    /// Counts a frame of the caller's speech. False if it has gone on without words for too long to be speech.
    pub(crate) fn speech_frame(&mut self, at: CallTime) -> bool {
        let missed_after = self.missed_after();
        if self.sound_at.is_none_or(|sound_at| at.since(sound_at) > missed_after) {
            self.frames = 0;
        }
        if self.frames == 0 {
            self.began_at = at;
        }
        self.frames = self.frames.saturating_add(1);
        self.sound_at = Some(at);
        at.since(self.began_at) < MAX_WORDLESS_SOUND
    }

    /// The transcriber detected the beginning of speech.
    pub(crate) fn speech_detected(&mut self, at: CallTime) {
        self.detected_at = Some(at);
    }

    /// The transcriber delivered words, or the end of a turn.
    pub(crate) fn recognised(&mut self) {
        self.frames = 0;
        self.failed_at = None;
        self.replaced_at = None;
    }

    /// Whether words with this time were delivered before: the next session receives the last seconds again.
    pub(crate) fn is_repeated(&self, spoken_until: Option<CallTime>) -> bool {
        spoken_until.is_some_and(|until| until <= self.recognised_until)
    }

    /// The transcriber failed. Words of the current speech may come late, or never.
    pub(crate) fn transcriber_failed(&mut self, at: CallTime) {
        self.failed_at = Some(at);
        if self.sound_at.is_none_or(|sound_at| at.since(sound_at) > MAX_CALLER_WAIT) {
            self.frames = 0;
        }
    }

    /// When [`act`](Self::act) is due.
    pub(crate) fn due(&self, turn: TurnState) -> Option<CallTime> {
        self.verdict(turn).map(|(due, _)| due)
    }

    /// Decides about speech without words; none if nothing is due.
    pub(crate) fn act(&mut self, at: CallTime, turn: TurnState) -> Option<Missed> {
        let (_, action) = self.verdict(turn).filter(|(due, _)| *due <= at)?;
        self.frames = 0;
        let had_failed = self.failed_at.take().is_some();
        self.replaced_at = None;
        let replace_transcriber = matches!(action, Action::Replace | Action::ReplaceAndGiveUp);
        let give_up = matches!(action, Action::GiveUp | Action::ReplaceAndGiveUp);
        if replace_transcriber {
            self.recognised_until = self.began_at;
        }
        if !give_up {
            self.replaced_at = Some(at);
        } else if turn.has_words && had_failed {
            // The next session repeats the words that the agent replies to now.
            self.recognised_until = self.recognised_until.max(turn.spoken_until);
        }
        Some(Missed { replace_transcriber, give_up, spoken_until: self.sound_at.unwrap_or(at), had_failed })
    }

    fn verdict(&self, turn: TurnState) -> Option<(CallTime, Action)> {
        if let Some(replaced_at) = self.replaced_at {
            let since = self.sound_at.map_or(replaced_at, |at| at.max(replaced_at));
            return Some((since + self.transcriber.words_overdue_after(), Action::GiveUp));
        }
        // If VAD detected nothing, the transcriber's report counts.
        let ended_at = self.sound_at.or(self.failed_at.filter(|_| turn.is_open))?;
        let is_broken = self.failed_at.is_some_and(|failed_at| ended_at <= failed_at + RECONNECTED_WITHIN);
        match self.speech() {
            speech if is_broken => {
                let is_recent = |failed_at: CallTime| failed_at < ended_at + MAX_CALLER_WAIT;
                let has_words = turn.has_words && self.failed_at.is_some_and(is_recent);
                let is_speech = speech >= SPEECH || self.sound_at.is_none() || has_words;
                is_speech.then(|| (ended_at + MAX_CALLER_WAIT, Action::GiveUp))
            }
            speech if speech < MISSED_SPEECH => None,
            _ if turn.has_words => Some((ended_at + MAX_CALLER_WAIT, Action::GiveUp)),
            _ if !self.is_detected() => Some((ended_at + self.missed_after(), Action::Replace)),
            speech if speech < MISSED_DETECTED_SPEECH => None,
            _ => Some((ended_at + MAX_CALLER_WAIT, Action::ReplaceAndGiveUp)),
        }
    }

    fn speech(&self) -> Duration {
        FRAME * self.frames
    }

    fn is_detected(&self) -> bool {
        self.detected_at.is_some_and(|at| at + EARLY_DETECTION >= self.began_at)
    }

    fn missed_after(&self) -> Duration {
        self.transcriber.words_within + MISSED_SPEECH_MARGIN
    }
}
