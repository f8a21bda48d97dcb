//! Deliveries: each is one event for one webhook, with its attempts and its schedule.
//!
//! `functions/webhook_delivery` passes each message of the queue to [`step`], which decides what to do with it. After
//! an attempt, [`Delivery::after`] schedules the next one. [`Host`] has the in-flight slots and the circuit breaker.

mod answers;
mod first_attempts;
mod hosts;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    answers::{MAX_ANSWER_BYTES, kept},
    first_attempts::{are_first_attempts_due, first_attempts_due_after},
    hosts::{
        Admission, BREAKER_FAILURES, BREAKER_OPEN, HELD_AT_MOST, Health, Host, IN_FLIGHT, LARGEST_WINDOW,
        MAX_IN_FLIGHT, SMALLEST_WINDOW, Window, held_for, host_of,
    },
};
use crate::{
    backoff::Jitter,
    ids::{ConversationId, EventId},
    time::Timestamp,
};

/// Delays between attempts: ten attempts in about a day.
pub const SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(3),
    Duration::from_hours(6),
    Duration::from_hours(12),
];

/// Jitter lengthens or shortens a delay by up to a fifth, so that events that failed together do not come back
/// together.
const JITTER_SHARE: u32 = 5;

/// Maximum delay of a message of the queue (SQS). A longer delay is in the index of due items.
pub const MAX_QUEUED: Duration = Duration::from_mins(15);

/// Maximum number of attempts that are kept of a delivery, since a customer can request redeliveries without end.
pub const MAX_ATTEMPTS_KEPT: usize = 50;

/// One event on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The event.
    pub event_id: EventId,
    /// The event's sequence in the conversation.
    pub sequence: u64,
    /// The webhook's position in the agent's list, from 0.
    pub webhook: usize,
    /// Its status.
    pub status: DeliveryStatus,
    /// The number of the next attempt, from 1. It grows with every change, also when no attempt follows: a message or a
    /// write for another number is out of date.
    pub attempt: u32,
    /// The number of the schedule's first attempt: 1, or a later one after a redelivery.
    pub first_attempt: u32,
    /// The time of the next attempt; none if no attempt follows.
    pub next_attempt_at: Option<Timestamp>,
    /// The attempts, oldest first; at most the last [`MAX_ATTEMPTS_KEPT`].
    pub attempts: Vec<Attempt>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It will be tried, or tried again.
    Pending,
    /// The receiver took it: it answered with 2xx.
    Delivered,
    /// The one attempt of an event that is answered at once failed: a later answer would be of no use.
    Failed,
    /// Every attempt of the schedule failed.
    Exhausted,
    /// The receiver said that it is gone (410): the conversation sends it nothing more.
    Stopped,
}

/// One request to a receiver, and what came of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// The receiver's answer; null if there was none.
    pub status: Option<u16>,
    /// From its beginning to the end of the answer, in milliseconds.
    pub latency_ms: u64,
    /// The first KiB of the answer's body, or what went wrong in words. Secrets of the account are
    /// replaced by `[redacted]`.
    pub answer: Option<String>,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("at", &self.at)
            .field("status", &self.status)
            .field("latency_ms", &self.latency_ms)
            .finish_non_exhaustive()
    }
}

impl Attempt {
    /// The time of its end.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        self.at.after(Duration::from_millis(self.latency_ms))
    }

    /// Whether the receiver accepted the event.
    #[must_use]
    pub fn delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// The next step for a message of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Make an attempt.
    Try(Delivery),
    /// Send a message for the delivery's next attempt again, since the first one may be lost.
    SendAgain(Delivery),
    /// Do nothing: the message is out of date, or its delivery was given up.
    Drop,
}

/// Decides what to do with a message for the attempt `number`. `known` is the stored delivery. A delivery is not stored
/// before its first attempt; until then it is `fresh`.
pub fn step(known: Option<Delivery>, fresh: Delivery, number: u32, now: Timestamp) -> Step {
    let delivery = match known {
        Some(known) => known,
        None if number == fresh.attempt => return Step::Try(fresh),
        None => return Step::Drop,
    };
    let is_last = number.checked_add(1) == Some(delivery.attempt);
    match delivery.status {
        DeliveryStatus::Pending if number == delivery.attempt => Step::Try(delivery),
        DeliveryStatus::Pending if is_last && delivery.queue_delay(now).is_some() => {
            Step::SendAgain(delivery)
        }
        _ => Step::Drop,
    }
}

impl Delivery {
    /// A delivery without attempts. The first one is due since the time of the event.
    #[must_use]
    pub fn new(event_id: EventId, sequence: u64, webhook: usize, event_at: Timestamp) -> Self {
        Self {
            event_id,
            sequence,
            webhook,
            status: DeliveryStatus::Pending,
            attempt: 1,
            first_attempt: 1,
            next_attempt_at: Some(event_at),
            attempts: vec![],
        }
    }

    /// The delivery of an event whose response is needed at once, after its only attempt.
    #[must_use]
    pub fn at_once(event_id: EventId, sequence: u64, webhook: usize, attempt: Attempt) -> Self {
        let status = if attempt.delivered() { DeliveryStatus::Delivered } else { DeliveryStatus::Failed };
        Self::new(event_id, sequence, webhook, attempt.at).tried(attempt).over(status)
    }

    /// The delivery after an attempt. `retry_after` is the delay that the receiver asked for.
    #[must_use]
    pub fn after(self, attempt: Attempt, retry_after: Option<Duration>, jitter: Jitter) -> Self {
        let step = usize::try_from(self.attempt.saturating_sub(self.first_attempt)).unwrap_or(usize::MAX);
        let (ended_at, status, delivered) = (attempt.ended_at(), attempt.status, attempt.delivered());
        let tried = self.tried(attempt);
        match (status, SCHEDULE.get(step)) {
            _ if delivered => tried.over(DeliveryStatus::Delivered),
            (Some(410), _) => tried.over(DeliveryStatus::Stopped),
            (_, None) => tried.over(DeliveryStatus::Exhausted),
            (_, Some(step)) => {
                let wait = wait(*step, retry_after, jitter);
                Self { next_attempt_at: Some(ended_at.after(wait)), ..tried }
            }
        }
    }

    /// The delivery without a further attempt, since the receiver said that it is gone (410).
    #[must_use]
    pub fn stopped(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }.over(DeliveryStatus::Stopped)
    }

    /// The delivery without a further attempt, since it was postponed for [`HELD_AT_MOST`].
    #[must_use]
    pub fn given_up(self, now: Timestamp) -> Self {
        let answer = Some(
            "not tried: for a day its host gave no answer, or too many other deliveries were under way"
                .to_owned(),
        );
        self.tried(Attempt { at: now, status: None, latency_ms: 0, answer }).over(DeliveryStatus::Exhausted)
    }

    /// The delivery after a request for redelivery: the schedule starts again, and the earlier attempts are kept.
    #[must_use]
    pub fn again(self, now: Timestamp) -> Self {
        // One number is skipped, so that a message that still waits for the last attempt is not taken for the previous
        // one.
        let attempt = self.attempt.saturating_add(2);
        Self {
            status: DeliveryStatus::Pending,
            attempt,
            first_attempt: attempt,
            next_attempt_at: Some(now),
            ..self
        }
    }

    /// Whether a customer requested its redelivery.
    #[must_use]
    pub fn was_asked_for(&self) -> bool {
        self.first_attempt > 1
    }

    /// The delay of the message for the next attempt. None if no attempt follows, or if the delay is too long for the
    /// queue.
    #[must_use]
    pub fn queue_delay(&self, now: Timestamp) -> Option<Duration> {
        self.next_attempt_at.map(|at| at.since(now)).filter(|delay| *delay <= MAX_QUEUED)
    }

    /// The deadline at which the sweeper acts, if nothing has changed by then: the end of a delay that is too long for
    /// the queue, or a time by which a message must have been lost.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        let next = self.next_attempt_at?;
        let is_queued = self.attempts.last().is_none_or(|last| next.since(last.at) <= MAX_QUEUED);
        Some(if is_queued { next.after(MAX_QUEUED) } else { next })
    }

    fn tried(mut self, attempt: Attempt) -> Self {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT);
        self.attempts.drain(..surplus);
        self.attempt = self.attempt.saturating_add(1);
        self
    }

    fn over(self, status: DeliveryStatus) -> Self {
        Self { status, next_attempt_at: None, ..self }
    }
}

/// The delay before the next attempt. It is at least the receiver's `Retry-After`, up to twice the step.
fn wait(step: Duration, retry_after: Option<Duration>, jitter: Jitter) -> Duration {
    let wait = jitter.around(step, JITTER_SHARE);
    wait.max(retry_after.unwrap_or_default().min(step * 2))
}

/// The value of `webhook-id`: the same for every attempt, so that a receiver recognizes a repeated event.
#[must_use]
pub fn webhook_id(event: EventId, webhook: usize) -> String {
    format!("{event}_{webhook}")
}

/// The name of an attempt's in-flight slot at its host. It keeps a repeated message of the attempt from making it a second
/// time, and is of no concern to the delivery's next attempt: the process of the first may still keep its slot then.
#[must_use]
pub fn slot_name(conversation: ConversationId, sequence: u64, webhook: usize, attempt: u32) -> String {
    format!("{conversation}/{sequence}/{webhook}/{attempt}")
}
