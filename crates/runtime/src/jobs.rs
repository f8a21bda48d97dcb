//! The decision of a queue's consumer about a message.
//!
//! A consumer maps each error to one of these explicitly. It knows nothing of SQS; the functions translate: every
//! message that is not settled is reported as failed, and the queue shows it again after its visibility time-out.

use crate::emf::{Metrics, Unit};

/// The outcome of one message of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum JobOutcome {
    /// The work is done, or was done before. The message is deleted.
    Done,
    /// The message is not one of this queue, and can never succeed. The queue moves it to its dead-letter queue, as after
    /// failures: a person has to look at it.
    Poison,
    /// The failure may pass. The queue shows the message again, and moves it to its dead-letter queue after the
    /// configured number of receptions.
    Retry,
}

impl JobOutcome {
    /// Whether the message is deleted from the queue.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Done => true,
            Self::Poison | Self::Retry => false,
        }
    }
}

/// The metric of messages and records that can never succeed. The alarms of `template.yaml` watch the dead-letter queues;
/// this one says why a message is there.
#[must_use]
pub fn poison(count: usize) -> Metrics {
    Metrics::new().value("PoisonMessages", Unit::Count, count as u64)
}

#[cfg(test)]
mod tests {
    use switchboard_model::time::Timestamp;

    use super::*;

    #[test]
    fn only_finished_work_is_deleted() {
        let outcomes = [JobOutcome::Done, JobOutcome::Poison, JobOutcome::Retry];
        assert_eq!(outcomes.map(JobOutcome::is_settled), [true, false, false]);
    }

    #[test]
    fn poison_is_a_metric() {
        let lines = poison(2).lines(Timestamp::from_millis(0));
        let [line] = &lines[..] else { panic!("one line: {lines:?}") };
        assert_eq!(line["PoisonMessages"], 2);
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Namespace"], "Switchboard");
    }
}
