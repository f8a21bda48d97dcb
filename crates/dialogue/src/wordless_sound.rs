//! Sound of the caller of which no words came: was it speech that the transcriber missed, or a cough, a child, music?

use crate::call_time::CallTime;

/// Speech by voice activity detection, of which no words came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissedSpeech {
    /// The transcriber failed, or has never delivered words: these were words.
    Words { spoken_until: CallTime },
    /// The transcriber works, so this was only sound. `is_first`: the first one since the last words.
    Sound { spoken_until: CallTime, is_first: bool },
}

/// The signs by which the two are told apart.
#[derive(Debug)]
pub(crate) struct WordlessSound {
    /// See [`EngineSettings::weighs_sounds`](crate::EngineSettings::weighs_sounds).
    is_weighed: bool,
    /// Words of the user were recognised in this call, so the transcriber can hear them.
    was_recognised: bool,
    /// Since the last words the agent has asked the user to say it again.
    has_asked: bool,
}

impl WordlessSound {
    /// `was_recognised`: words of the user were recognised by an earlier worker.
    pub(crate) fn new(is_weighed: bool, was_recognised: bool) -> Self {
        Self { is_weighed, was_recognised, has_asked: false }
    }

    pub(crate) fn is_weighed(&self) -> bool {
        self.is_weighed
    }

    /// Words were recognised.
    pub(crate) fn recognised(&mut self) {
        (self.was_recognised, self.has_asked) = (true, false);
    }

    /// Whether sound counts for nothing until words come: the agent has asked once.
    pub(crate) fn is_ignored(&self) -> bool {
        self.has_asked
    }

    /// No words came of the sound until `spoken_until`. `had_failed`: the transcriber failed meanwhile.
    pub(crate) fn missed(&mut self, spoken_until: CallTime, had_failed: bool) -> MissedSpeech {
        if had_failed || !self.was_recognised || !self.is_weighed {
            return MissedSpeech::Words { spoken_until };
        }
        let is_first = !std::mem::replace(&mut self.has_asked, true);
        MissedSpeech::Sound { spoken_until, is_first }
    }
}
