//! Deliveries: one event on its way to one webhook, until it arrived or is given up.
//!
//! The consumer of the queue passes each message to [`step`], which decides what to do with it. After an
//! attempt, [`Delivery::after`] decides what follows. [`Host`] decides whether a receiver may get a request
//! now.

mod answers;
mod hosts;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    answers::{MAX_ANSWER_BYTES, kept},
    hosts::{
        Admission, BREAKER_FAILURES, BREAKER_OPEN, HELD_AT_MOST, Host, IN_FLIGHT, MAX_IN_FLIGHT, held_for,
        host_of,
    },
};
use crate::{
    backoff::Jitter,
    ids::{ConversationId, EventId},
    time::Timestamp,
};

/// How long after each failed attempt the next one is made: ten attempts in about a day.
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

/// A wait is made longer or shorter by up to a fifth: events that failed together do not come together again.
const JITTER_SHARE: u32 = 5;

/// The longest wait that a message of the queue can make (SQS). A longer one is on the index of what is due.
pub const MAX_QUEUED: Duration = Duration::from_mins(15);

/// As many attempts as are kept of a delivery: it can be asked for again without end.
pub const MAX_ATTEMPTS_KEPT: usize = 50;

/// One event on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The event.
    pub event_id: EventId,
    /// The event's place among the conversation's events.
    pub sequence: u64,
    /// The webhook's place in the agent's list, from 0.
    pub webhook: usize,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// The number of the next attempt, from 1. Grows with every change, also when nothing is tried any
    /// more: a message or a write for another number is out of date.
    pub attempt: u32,
    /// The number that the schedule began with: 1, or a later one if it was asked for again.
    pub first_attempt: u32,
    /// When the next attempt is to be made; none if nothing is tried any more.
    pub next_attempt_at: Option<Timestamp>,
    /// The attempts made, oldest first; at most the last [`MAX_ATTEMPTS_KEPT`].
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
    /// When it was over.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        self.at.after(Duration::from_millis(self.latency_ms))
    }

    /// Whether the receiver took the event.
    #[must_use]
    pub fn delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// What a message of the queue asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// An attempt.
    Try(Delivery),
    /// A new message for the delivery's next attempt: the one that was to be sent is perhaps lost.
    SendAgain(Delivery),
    /// The delivery's place among the dead letters, which it perhaps did not reach.
    Bury,
    /// Nothing: it is out of date.
    Drop,
}

/// Decides what to do with a message for the attempt `number`. `known` is the stored delivery; a delivery
/// has no item before its first attempt was made: then it is `fresh`.
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
        DeliveryStatus::Exhausted if is_last => Step::Bury,
        _ => Step::Drop,
    }
}

impl Delivery {
    /// One that nothing is known of: its first attempt is due since the event happened.
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

    /// One of an event that is answered at once: it is tried once, and this is what came of it.
    #[must_use]
    pub fn at_once(event_id: EventId, sequence: u64, webhook: usize, attempt: Attempt) -> Self {
        let status = if attempt.delivered() { DeliveryStatus::Delivered } else { DeliveryStatus::Failed };
        Self::new(event_id, sequence, webhook, attempt.at).tried(attempt).over(status)
    }

    /// What follows an attempt. `retry_after` is what the receiver asked for.
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

    /// Not tried: the receiver has said before that it is gone.
    #[must_use]
    pub fn stopped(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }.over(DeliveryStatus::Stopped)
    }

    /// Not tried any more: the receiver's host was not to be reached for [`HELD_AT_MOST`].
    #[must_use]
    pub fn given_up(self, now: Timestamp) -> Self {
        let answer = Some("not tried: the host gave no answer for a day".to_owned());
        self.tried(Attempt { at: now, status: None, latency_ms: 0, answer }).over(DeliveryStatus::Exhausted)
    }

    /// Asked for again: the schedule begins anew, and what was tried before is kept.
    #[must_use]
    pub fn again(self, now: Timestamp) -> Self {
        // One number is left out: a message that still waits for the last one is not its predecessor.
        let attempt = self.attempt.saturating_add(2);
        Self {
            status: DeliveryStatus::Pending,
            attempt,
            first_attempt: attempt,
            next_attempt_at: Some(now),
            ..self
        }
    }

    /// Whether somebody asked for it again.
    #[must_use]
    pub fn was_asked_for(&self) -> bool {
        self.first_attempt > 1
    }

    /// How long the message for the next attempt waits; none if there is no next attempt, or if the
    /// wait is not the queue's.
    #[must_use]
    pub fn queue_delay(&self, now: Timestamp) -> Option<Duration> {
        self.next_attempt_at.map(|at| at.since(now)).filter(|delay| *delay <= MAX_QUEUED)
    }

    /// When somebody must look after it if nothing has changed by then: a wait that is not the queue's is
    /// over then, and a message that the queue has lost has been missing for a while.
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

/// The time until the next attempt. It never undercuts the receiver's `Retry-After`, up to twice the step.
fn wait(step: Duration, retry_after: Option<Duration>, jitter: Jitter) -> Duration {
    let wait = jitter.around(step, JITTER_SHARE);
    wait.max(retry_after.unwrap_or_default().min(step * 2))
}

/// The value of `webhook-id`: the same for every attempt, so that a receiver knows what it has already.
#[must_use]
pub fn webhook_id(event: EventId, webhook: usize) -> String {
    format!("{event}_{webhook}")
}

/// The name of an attempt's in-flight slot at its host.
#[must_use]
pub fn flight(conversation: ConversationId, sequence: u64, webhook: usize) -> String {
    format!("{conversation}/{sequence}/{webhook}")
}
