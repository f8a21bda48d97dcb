//! How long the conversation has lasted, across workers.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    call_time::CallTime,
    output::{ConversationEvent, Output},
};

/// Maximum number of seconds that are reported at once. After a worker slept for longer, earlier ones are left out.
const SECONDS_AT_ONCE: u64 = 60;

/// The conversation's clock. It runs from the first media on.
#[derive(Debug, Default)]
pub(crate) struct CallClock {
    started_at: Option<CallTime>,
    /// How long the conversation had lasted when media began to flow here.
    elapsed: Duration,
    /// Whole seconds that were reported, or left out.
    seconds: u64,
}

impl CallClock {
    /// Starts the clock; false if it runs already.
    pub(crate) fn start(&mut self, at: CallTime) -> bool {
        self.started_at.replace(self.started_at.unwrap_or(at)).is_none()
    }

    /// Goes on from what another worker's clock showed at [`CallTime`] zero.
    pub(crate) fn resume(&mut self, at: CallTime, elapsed: Duration) {
        self.elapsed = elapsed.saturating_add(at.since(CallTime(0)));
        self.seconds = self.elapsed.as_secs();
    }

    pub(crate) fn is_running(&self) -> bool {
        self.started_at.is_some()
    }

    /// When the conversation has lasted this long; none before the clock runs.
    pub(crate) fn reaches(&self, duration: Duration) -> Option<CallTime> {
        Some(self.started_at? + duration.saturating_sub(self.elapsed))
    }

    /// When the next whole second is to be reported.
    pub(crate) fn next_second(&self) -> Option<CallTime> {
        self.reaches(Duration::from_secs(self.seconds.saturating_add(1)))
    }

    /// Reports the whole seconds that have passed; none of them is reported again.
    pub(crate) fn report(&mut self, at: CallTime, out: &mut Vec<Output>) {
        for seconds in self.passed_seconds(at).into_iter().flatten() {
            out.push(Output::Event(ConversationEvent::Duration { seconds }));
        }
    }

    fn passed_seconds(&mut self, at: CallTime) -> Option<RangeInclusive<u64>> {
        let passed = self.elapsed.saturating_add(at.since(self.started_at?)).as_secs();
        let first = (self.seconds + 1).max(passed.saturating_sub(SECONDS_AT_ONCE));
        if passed <= self.seconds {
            return None;
        }
        self.seconds = passed;
        Some(first..=passed)
    }
}
