//! Worker signals: requests of other parts of the system to the call's owner, left on the conversation.
//!
//! One task reads the conversations of all live calls of this worker once a second, in batches, so a hundred calls
//! cost a few reads and not a hundred. A signal is level-triggered: it is sent again with each read until the call
//! ends, so that a dropped one is not missed.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use switchboard_aws::table::{Table, TableError};
use switchboard_model::conversations::{Conversation, State};
use tokio::{sync::mpsc, time::sleep};
use tracing::Span;

use crate::conversation_key::ConversationKey;

/// Time between two reads: the most that a request to end a call waits.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Signals waiting for a call's loop. When the queue is full the newest is dropped; the next read repeats it.
const QUEUED_SIGNALS: usize = 4;

/// A signal for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WorkerSignal {
    /// The customer asked for the end of the call.
    EndRequested,
    /// The carrier reported that the call is over.
    CarrierEnded,
    /// The conversation has ended without this worker.
    Ended,
    /// The carrier's verdict of its answering machine detection.
    AnsweredBy(String),
}

/// Reads the signals of this worker's live calls.
#[derive(Debug, Default)]
pub(crate) struct SignalPoller {
    calls: Mutex<HashMap<ConversationKey, Subscriber>>,
}

/// A live call.
#[derive(Debug)]
struct Subscriber {
    signals: mpsc::Sender<WorkerSignal>,
    /// The call's span: log lines about the call carry its ids.
    span: Span,
}

impl SignalPoller {
    /// Adds the call of the current span. It is removed once the receiver is dropped.
    pub(crate) fn subscribe(&self, key: ConversationKey) -> mpsc::Receiver<WorkerSignal> {
        let (signals, receiver) = mpsc::channel(QUEUED_SIGNALS);
        self.lock().insert(key, Subscriber { signals, span: Span::current() });
        receiver
    }

    /// Reads the conversations of all calls, until it is dropped.
    pub(crate) async fn run(&self, table: &Table) {
        let mut is_failing = false;
        loop {
            sleep(POLL_INTERVAL).await;
            let keys: Vec<_> = {
                let mut calls = self.lock();
                calls.retain(|_, call| !call.signals.is_closed());
                calls.keys().map(|key| (key.account, key.conversation)).collect()
            };
            if keys.is_empty() {
                continue;
            }
            match table.states(&keys).await {
                Ok(conversations) => {
                    is_failing = false;
                    for conversation in &conversations {
                        self.send(conversation);
                    }
                }
                Err(error) => {
                    if !mem::replace(&mut is_failing, true) {
                        self.log_failure(&error);
                    }
                }
            }
        }
    }

    /// Logs a failure, once for each call.
    fn log_failure(&self, error: &TableError) {
        for call in self.lock().values() {
            call.span.in_scope(|| tracing::warn!(%error, "worker signals not read"));
        }
    }

    fn send(&self, conversation: &Conversation) {
        let key = ConversationKey::of(conversation);
        let calls = self.lock();
        let Some(call) = calls.get(&key) else { return };
        for signal in signals(conversation) {
            // A full queue holds the same signals already.
            let _ = call.signals.try_send(signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConversationKey, Subscriber>> {
        // No operation under the lock can leave the map half changed.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signals that a conversation carries now: the carrier's verdict, then the most important of the others.
fn signals(conversation: &Conversation) -> impl Iterator<Item = WorkerSignal> {
    let ended = matches!(conversation.state, State::Ended { .. }).then_some(WorkerSignal::Ended);
    let caller = conversation.legs.caller();
    let carrier = caller.reported_end.map(|_| WorkerSignal::CarrierEnded);
    let requested = conversation.signals.end_requested_at.map(|_| WorkerSignal::EndRequested);
    let answered_by = caller.phone_call.as_ref().and_then(|call| call.answered_by.clone());
    let most_important = ended.or(carrier).or(requested);
    answered_by.map(WorkerSignal::AnsweredBy).into_iter().chain(most_important)
}
