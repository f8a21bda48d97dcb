//! When the agent says its hold phrase: the caller has waited for a while and will not hear a reply yet, because the
//! model, a function or the synthesizer is slow.
//!
//! A hold phrase comes before everything that is still to be said, once per turn. It is no reply: a turn in which
//! nothing else was heard has none.

use std::time::Duration;

use crate::{
    call_time::CallTime,
    timing::{LONGEST_HESITATION, MAX_CALLER_WAIT},
};

/// Latest time after the end of the caller's speech: if the synthesizer is ready, the caller hears something within
/// three seconds.
const LATEST_AFTER_SPEECH: Duration = Duration::from_millis(2800);
/// After a more recent request than this the synthesizer may still deliver the reply in time.
const ABOUT_TO_SPEAK: Duration = Duration::from_millis(500);
/// The caller must have been silent for this long: a hold phrase does not interrupt.
const CALLER_SILENT: Duration = Duration::from_millis(300);

/// Everything that the time of a hold phrase depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    /// When the caller had said the last word of their turn.
    pub(super) spoken_until: CallTime,
    /// When their turn was over.
    pub(super) decided_at: CallTime,
    /// When everything that was sent will have been played.
    pub(super) plays_until: CallTime,
    /// When the oldest clause without any audio was requested.
    pub(super) requested_at: Option<CallTime>,
    /// When the caller was last heard.
    pub(super) caller_at: Option<CallTime>,
}

impl Wait {
    /// When the hold phrase is due.
    pub(super) fn is_too_long_at(self) -> CallTime {
        let latest = self.spoken_until + LATEST_AFTER_SPEECH;
        let due = (self.decided_at + MAX_CALLER_WAIT).min(latest).max(self.decided_at);
        let due = due.max(self.plays_until + MAX_CALLER_WAIT);
        let synthesizer = self.requested_at.map(|requested_at| (requested_at + ABOUT_TO_SPEAK).min(latest));
        let due = due.max(synthesizer.unwrap_or_default());
        let caller = self.caller_at.map(|at| (at + CALLER_SILENT).min(due + LONGEST_HESITATION));
        due.max(caller.unwrap_or_default())
    }
}

/// The state of playback, as far as the hold phrase depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaybackState {
    /// There is nothing to say.
    pub(crate) is_idle: bool,
    /// Something of the oldest utterance was sent, or could be.
    pub(crate) has_begun: bool,
    /// When everything that was sent will have been played.
    pub(crate) plays_until: CallTime,
    /// When the oldest clause without any audio was requested.
    pub(crate) requested_at: Option<CallTime>,
}
