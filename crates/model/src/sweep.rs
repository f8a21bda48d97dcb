//! The sweeper's decisions about a conversation that is past its deadline.
//!
//! At the deadline the sweeper asks the carrier about the call before it ends the conversation, since a callback may be
//! lost, and a worker may be dead while the caller is still connected. It calls [`Case::verdict`] twice, without the
//! carrier's response and with it. While a worker's lease is live, no other process ends its conversation.
//!
//! Customers do not pay for the sweeper's delay. A conversation that it ends counts as ended at the time at which the
//! call was over according to the carrier, by its report or by its count of seconds. If the carrier gives no time, or
//! if the sweeper hangs up a call without a worker, the conversation counts as ended with its last sign of life: the
//! worker's last heartbeat, or the last message if the caller heard it later. The events have the time at which the
//! sweeper noticed.

use std::time::Duration;

use serde_json::Value;

use crate::{
    carriers::CarrierCallId,
    conversations::{
        EndedReason, InvalidTransition, JournalEntry, Lease, LegId, LegState, MAX_RESUMES, QUEUED, Reconnect,
        RejectReason, Snapshot, State, Transition, WAITING, WEB_RESUME,
    },
    costs::Prices,
    event_names::EventName,
    messages::{Message, Role},
    time::Timestamp,
};

/// Delay before the sweeper asks a silent carrier again.
const ASK_AGAIN: Duration = Duration::from_mins(1);
/// Maximum time past its deadline that a conversation waits for the carrier's response. Then it ends without one,
/// since a revoked key must not keep conversations alive for ever.
const GIVE_UP: Duration = Duration::from_hours(1);

/// The carrier's response about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// No response: the carrier was not reached, or refused.
    Silent,
    /// The carrier has no such call, or none that is certainly this one.
    Unknown,
    /// The call waits in the carrier's own queue: it exceeds the calls per second of the carrier's account.
    Queued,
    /// The call goes on and was not answered.
    Rings,
    /// The call goes on and was answered.
    Talks {
        /// The call.
        call: CarrierCallId,
        /// The time of the answer, if the carrier gives it.
        answered_at: Option<Timestamp>,
    },
    /// The call is over and was never answered.
    Rejected(RejectReason),
    /// The call is over and was answered.
    Over {
        /// The call.
        call: CarrierCallId,
        /// Time from the answer to the end.
        talked: Duration,
    },
}

/// The sweeper's next step for a conversation.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Verdict {
    /// Do nothing: it is not due (any more).
    Nothing,
    /// Wait until this time, although it is due.
    Wait(Timestamp),
    /// Dial the waiting calls of its account, if there is room for them. It is due again at this time.
    Wake(Timestamp),
    /// Write this transition. The conversation goes on, and is due again later.
    Record(Box<Transition>),
    /// Ask the carrier first.
    Ask,
    /// End it.
    End {
        /// Whether the carrier's call is still live: hang up before the end is written.
        hang_up: bool,
        /// The transition to write.
        change: Box<Transition>,
    },
}

/// A conversation that may be past its deadline, and the facts for a verdict.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The stored conversation.
    pub snapshot: &'a Snapshot,
    /// The lease of its worker, live or expired.
    pub lease: Option<&'a Lease>,
    /// The stored messages. They matter only if media flowed.
    pub messages: &'a [Message],
    /// The carrier's response; none before the sweeper asked.
    pub carrier: Option<&'a Carrier>,
    /// The deployment's prices.
    pub prices: &'a Prices,
}

impl Case<'_> {
    /// Decides the next step at `now`.
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        let conversation = &self.snapshot.conversation;
        if conversation.ended().is_some() {
            return Verdict::Nothing;
        }
        if let Some(lease) = self.lease.filter(|lease| lease.is_live(now)) {
            let is_due = conversation.due_at().is_some_and(|due| due <= now);
            return if is_due { Verdict::Wait(lease.until) } else { Verdict::Nothing };
        }
        let Some(due) = self.due_at() else { return Verdict::Nothing };
        if now < due {
            // Its lease expired before the state's own deadline.
            return if self.lease.is_some() { Verdict::Wait(due) } else { Verdict::Nothing };
        }
        if matches!(conversation.state, State::Queued) {
            let ends_at = conversation.created_at.after(QUEUED);
            if now < ends_at {
                return Verdict::Wake(now.after(WAITING).min(ends_at));
            }
        }
        let carrier = match (&conversation.state, self.carrier) {
            // It was never dialled, so there is no call; or the carrier has reported the end.
            (State::Queued, _) => &Carrier::Unknown,
            (State::Started { .. }, _) if conversation.legs.caller().reported_end.is_some() => {
                &Carrier::Unknown
            }
            // No carrier knows of it.
            _ if conversation.legs.caller().is_browser() => &Carrier::Unknown,
            (_, None) => return Verdict::Ask,
            (_, Some(Carrier::Silent)) if now < due.after(GIVE_UP) => {
                return Verdict::Wait(now.after(ASK_AGAIN));
            }
            // A call that comes hours late is not wanted: it waits here and there as long as here alone.
            (_, Some(Carrier::Queued)) if now < conversation.created_at.after(QUEUED) => {
                return match conversation.record_carrier_queue(LegId::CALLER, now) {
                    Ok(change) => Verdict::Record(Box::new(change)),
                    // It rang, or was answered, meanwhile.
                    Err(InvalidTransition) => Verdict::Wait(now.after(ASK_AGAIN)),
                };
            }
            (_, Some(carrier)) => carrier,
        };
        match self.end(carrier, now) {
            Ok(change) => Verdict::End {
                hang_up: matches!(carrier, Carrier::Queued | Carrier::Rings | Carrier::Talks { .. }),
                change: Box::new(change),
            },
            Err(InvalidTransition) => Verdict::Nothing,
        }
    }

    /// The deadline of a conversation without a live lease.
    fn due_at(&self) -> Option<Timestamp> {
        let conversation = &self.snapshot.conversation;
        let held_until = match conversation.state {
            State::Started { started_at, .. } => {
                let caller = conversation.legs.caller();
                let held_until = |lease: &Lease| {
                    // The browser has longer to come back than the carrier.
                    let resumable_until = lease.last_seen_at.after(WEB_RESUME);
                    if caller.is_browser() { lease.until.max(resumable_until) } else { lease.until }
                };
                let held = self.lease.map_or_else(|| started_at.after(Lease::DURATION), held_until);
                // The carrier pauses before it connects another worker.
                let again = caller.reconnect.map(Reconnect::deadline);
                Some(again.map_or(held, |again| held.max(again)))
            }
            _ => None,
        };
        [conversation.due_at(), held_until].into_iter().flatten().min()
    }

    fn end(&self, carrier: &Carrier, now: Timestamp) -> Result<Transition, InvalidTransition> {
        let Snapshot { conversation, agent } = self.snapshot;
        let rejected = |reason| conversation.reject(LegId::CALLER, agent, reason, self.prices, now);
        let end = |reason, words: &[JournalEntry]| {
            let end = conversation.end(agent, reason, words, &conversation.usage, self.prices, now)?;
            Ok(end.backdated(agent, self.prices, self.over_at(carrier, now)))
        };
        let answered = |call, answered_at, reason| {
            end_answered(self.snapshot, LegId::CALLER, call, answered_at, reason, now)
        };
        match (&conversation.state, conversation.legs.caller().state) {
            (State::Ended { .. }, _) => Err(InvalidTransition),
            (State::Started { .. }, _) => end(self.reason(), self.last_words().as_slice()),
            (_, LegState::Dialing { dialed_at } | LegState::Ringing { dialed_at }) => match carrier {
                Carrier::Rings => rejected(RejectReason::NoAnswer),
                Carrier::Talks { call, answered_at } => {
                    let answered_at = answered_at.unwrap_or(now).clamp(dialed_at.min(now), now);
                    let end = answered(call, answered_at, EndedReason::Unknown)?;
                    // Media never flowed.
                    Ok(end.backdated(agent, self.prices, answered_at))
                }
                Carrier::Rejected(reason) => rejected(*reason),
                Carrier::Over { call, talked } if !talked.is_zero() => {
                    let answered_at = before(now, *talked).clamp(dialed_at.min(now), now);
                    answered(call, answered_at, EndedReason::UserEnded)
                }
                Carrier::Queued | Carrier::Over { .. } | Carrier::Unknown | Carrier::Silent => {
                    rejected(RejectReason::Failed)
                }
            },
            (_, LegState::Answered { .. }) => match carrier {
                Carrier::Over { .. } => end(EndedReason::UserEnded, &[]),
                _ => end(EndedReason::Unknown, &[]),
            },
            (_, LegState::Waiting | LegState::Ended { .. }) => rejected(RejectReason::Failed),
        }
    }

    /// The time at which an answered call was over, by the best information.
    fn over_at(&self, carrier: &Carrier, now: Timestamp) -> Timestamp {
        let conversation = &self.snapshot.conversation;
        let Some(answered_at) = conversation.answered_at() else { return now };
        let reported = match (conversation.legs.caller().reported_end, carrier) {
            (Some(report), _) => {
                let counted = report.seconds.map(|seconds| answered_at.after(Duration::from_secs(seconds)));
                // The report may have come late.
                Some(counted.map_or(report.at, |counted| counted.min(report.at)))
            }
            (None, Carrier::Over { talked, .. }) => Some(answered_at.after(*talked)),
            (None, _) => self.lease.map(|lease| lease.last_seen_at),
        };
        let last_words = self.last_words().map(|words| words.at);
        let heard_until = self.messages.last().map(|message| message.ended_at);
        let lived_until =
            [conversation.started_at(), heard_until, last_words, reported].into_iter().flatten().max();
        lived_until.map_or(answered_at, |at| at.max(answered_at)).min(now)
    }

    /// The reason for the end of a conversation whose worker died, by the worker signals.
    fn reason(&self) -> EndedReason {
        let conversation = &self.snapshot.conversation;
        // The call ended because the two sides could not talk any more.
        let caller = conversation.legs.caller();
        let browser_left = caller.is_browser() && self.lease.is_some_and(Lease::is_given_back);
        let was_lost = caller.media_token_sha256.is_some() || caller.resumes >= MAX_RESUMES;
        if conversation.signals.end_requested_at.is_some() {
            EndedReason::AgentEnded
        } else if browser_left || (caller.reported_end.is_some() && !was_lost) {
            EndedReason::UserEnded
        } else {
            EndedReason::Unknown
        }
    }

    /// The heard words of the agent's utterance at its worker's last sign of life, unless they are stored.
    fn last_words(&self) -> Option<JournalEntry> {
        let lease = self.lease?;
        let speaking = lease.utterance.as_ref().filter(|speaking| !speaking.heard.is_empty())?;
        let is_stored =
            |message: &Message| message.role == Role::Agent && message.started_at >= speaking.started_at;
        if self.messages.iter().any(is_stored) {
            return None;
        }
        let at = lease.last_seen_at.max(speaking.started_at);
        let message = Message {
            kind: speaking.kind,
            role: Role::Agent,
            content: speaking.heard.clone(),
            started_at: speaking.started_at,
            ended_at: at,
            interrupted: true,
        };
        Some(JournalEntry {
            at,
            name: EventName::MessageSent,
            data: Value::Null,
            message: Some(message),
            faults: vec![],
        })
    }
}

/// Ends a conversation whose leg was answered and whose media never flowed. The report of the answer may be missing.
/// The deployment's own price does not apply, since the conversation never started.
pub fn end_answered(
    snapshot: &Snapshot,
    leg: LegId,
    call: &CarrierCallId,
    answered_at: Timestamp,
    reason: EndedReason,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    let Snapshot { conversation, agent } = snapshot;
    let State::Connecting = conversation.state else { return Err(InvalidTransition) };
    let first = match conversation.legs.get(leg).ok_or(InvalidTransition)?.state {
        LegState::Dialing { .. } | LegState::Ringing { .. } => {
            Some(conversation.mark_answered(leg, agent, call, answered_at)?)
        }
        LegState::Answered { .. } => None,
        LegState::Waiting | LegState::Ended { .. } => return Err(InvalidTransition),
    };
    let answered = first.as_ref().map_or(conversation, |first| &first.conversation);
    let end = answered.end(agent, reason, &[], &answered.usage, &Prices::default(), now)?;
    let Some(first) = first else { return Ok(end) };
    let events = first.events.into_iter().chain(end.events).collect();
    let mut both = Transition { events, ..end };
    // Both transitions are one write, so the version grows by one.
    both.conversation.version = conversation.version + 1;
    Ok(both)
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
