//! What a consumer of a queue decides about a message.
//!
//! A consumer maps each error to one of these explicitly. It knows nothing of SQS; the functions translate: every
//! message that is not settled is reported as failed, and the queue shows it again after its visibility time-out.

/// What becomes of a message of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum JobOutcome {
    /// The work is done, or was done before. The message is deleted.
    Done,
    /// The message can never succeed, however often it is repeated. It is deleted.
    Drop,
    /// The failure may pass. The queue shows the message again, and moves it to its dead-letter queue after the
    /// configured number of receptions.
    Retry,
}

impl JobOutcome {
    /// Whether the message is deleted from the queue.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Done | Self::Drop => true,
            Self::Retry => false,
        }
    }
}
