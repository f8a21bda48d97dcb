//! What others learn about the calls of this worker while it holds them: read for all of them at once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use switchboard_aws::store::Store;
use switchboard_model::conversations::{Conversation, State};
use tokio::{sync::mpsc, time::sleep};

use crate::conversation_key::ConversationKey;

/// How often the conversations are looked at: so long may the end route take to be heard.
const LOOK: Duration = Duration::from_secs(1);
/// SignalPoller waiting for a call's loop; the same ones come again a second later.
const WAITING: usize = 4;

/// Something a call should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WorkerSignal {
    /// Somebody asked for the end.
    EndRequested,
    /// The carrier says that the call is over.
    CarrierEnded,
    /// The conversation has ended without us.
    Ended,
    /// The carrier's verdict on who or what answered.
    AnsweredBy(String),
}

/// The live calls of this worker.
#[derive(Debug, Default)]
pub(crate) struct SignalPoller {
    calls: Mutex<HashMap<ConversationKey, mpsc::Sender<WorkerSignal>>>,
}

impl SignalPoller {
    /// Begins to look after a call; ends when the receiver is dropped.
    pub(crate) fn subscribe(&self, address: ConversationKey) -> mpsc::Receiver<WorkerSignal> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.lock().insert(address, sender);
        receiver
    }

    /// Looks at all calls, for ever.
    pub(crate) async fn watch(&self, store: &Store) {
        loop {
            sleep(LOOK).await;
            let addresses: Vec<_> = {
                let mut calls = self.lock();
                calls.retain(|_, call| !call.is_closed());
                calls.keys().map(|address| (address.account, address.conversation)).collect()
            };
            if addresses.is_empty() {
                continue;
            }
            match store.states(&addresses).await {
                Ok(conversations) => conversations.iter().for_each(|conversation| self.tell(conversation)),
                Err(error) => tracing::warn!(%error, "the notes could not be read"),
            }
        }
    }

    fn tell(&self, conversation: &Conversation) {
        let address = ConversationKey { account: conversation.account_id, conversation: conversation.id };
        let calls = self.lock();
        let Some(call) = calls.get(&address) else { return };
        for note in notes(conversation) {
            // A full channel has the same notes in it already.
            let _ = call.try_send(note);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationKey, mpsc::Sender<WorkerSignal>>> {
        // Nothing that is done under the lock can leave the map half changed.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call should know of its conversation: every time anew, so that nothing is missed.
fn notes(conversation: &Conversation) -> impl Iterator<Item = WorkerSignal> {
    let ended = matches!(conversation.state, State::Ended { .. }).then_some(WorkerSignal::Ended);
    let carrier = conversation.signals.carrier_ended_at.map(|_| WorkerSignal::CarrierEnded);
    let requested = conversation.signals.end_requested_at.map(|_| WorkerSignal::EndRequested);
    let answered_by = conversation.phone_call.as_ref().and_then(|call| call.answered_by.clone());
    let most_important = ended.or(carrier).or(requested);
    answered_by.map(WorkerSignal::AnsweredBy).into_iter().chain(most_important)
}
