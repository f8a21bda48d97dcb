//! The phase of a call, and the transitions between phases.

use switchboard_model::conversations::EndedReason;

use crate::call_time::CallTime;

/// The phase of a call on this worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Media does not flow yet.
    #[default]
    Waiting,
    /// Both sides may speak.
    Live,
    /// The conversation ends as soon as the agent has nothing more to say.
    Closing {
        /// Why it ends.
        reason: EndedReason,
        /// It ends then, even if words are left to say.
        by: CallTime,
    },
    /// Another worker takes the call over as soon as nothing is audible.
    Draining {
        /// The call is handed over then, even if the agent is audible.
        after: CallTime,
    },
    /// The conversation is over, or another worker's.
    Ended,
}

impl Phase {
    /// Media flows.
    pub(crate) fn start(&mut self) {
        if *self == Self::Waiting {
            *self = Self::Live;
        }
    }

    /// Closes the conversation; true if it was not closing before. A second closing keeps the first reason, and
    /// the earlier time.
    pub(crate) fn close(&mut self, reason: EndedReason, by: CallTime) -> bool {
        match self {
            Self::Closing { by: earlier, .. } => *earlier = by.min(*earlier),
            Self::Ended => {}
            Self::Waiting | Self::Live | Self::Draining { .. } => {
                *self = Self::Closing { reason, by };
                return true;
            }
        }
        false
    }

    /// Prepares the call for another worker. A conversation that is closing ends here.
    pub(crate) fn drain(&mut self, after: CallTime) {
        if self.is_open() {
            *self = Self::Draining { after };
        }
    }

    /// Ends the call on this worker, and returns the reason: a conversation that was closing keeps its own.
    pub(crate) fn end(&mut self, reason: EndedReason) -> EndedReason {
        match std::mem::replace(self, Self::Ended) {
            Self::Closing { reason, .. } => reason,
            Self::Waiting | Self::Live | Self::Draining { .. } | Self::Ended => reason,
        }
    }

    /// Whether the conversation goes on here: it is neither closing nor draining nor over.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Live)
    }

    pub(crate) fn is_closing(self) -> bool {
        matches!(self, Self::Closing { .. })
    }

    pub(crate) fn is_ended(self) -> bool {
        self == Self::Ended
    }

    /// When the phase ends by itself.
    pub(crate) fn due(self) -> Option<CallTime> {
        match self {
            Self::Closing { by: due, .. } | Self::Draining { after: due } => Some(due),
            Self::Waiting | Self::Live | Self::Ended => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: CallTime = CallTime(1_000);
    const LATER: CallTime = CallTime(2_000);

    #[test]
    fn a_second_closing_keeps_the_first_reason_and_the_earlier_time() {
        let mut phase = Phase::Live;
        assert!(phase.close(EndedReason::Unknown, LATER));
        assert!(!phase.close(EndedReason::AgentEnded, AT));
        assert_eq!(phase, Phase::Closing { reason: EndedReason::Unknown, by: AT });
        assert_eq!(phase.end(EndedReason::UserEnded), EndedReason::Unknown);
        assert_eq!(phase.end(EndedReason::UserEnded), EndedReason::UserEnded);
    }

    #[test]
    fn a_closing_call_is_not_drained_but_a_draining_call_closes() {
        let mut phase = Phase::Waiting;
        phase.drain(AT);
        phase.drain(LATER);
        assert_eq!(phase, Phase::Draining { after: AT }, "the first time stands");
        phase.start();
        assert_eq!(phase, Phase::Draining { after: AT });
        assert!(phase.close(EndedReason::AgentEnded, AT));
        phase.drain(LATER);
        assert!(phase.is_closing());
    }
}
