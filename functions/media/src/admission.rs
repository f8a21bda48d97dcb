//! Lets the carrier's streams in: those of new calls, and those of calls that another worker held.

use std::time::Duration;

use switchboard_aws::store::{Outcome, StoreError};
use switchboard_dialogue::Takeover;
use switchboard_model::{
    accounts::{Account, sha256_hex},
    conversations::{Conversation, InvalidTransition, JournalEntry, Lease, Snapshot, State},
    time::Timestamp,
};
use switchboard_runtime as system;
use tokio::time::Instant;

use crate::{
    call_providers::CallProviders, clips::Clips, conversation_key::ConversationKey, lease::HeldLease,
    media_stream::StreamStart, takeover::taken_over, transcriber::CallTranscriber, worker::Worker,
};

/// A stream that was let in.
pub(crate) struct Admitted {
    pub(crate) address: ConversationKey,
    pub(crate) snapshot: Snapshot,
    /// Who serves it.
    pub(crate) providers: CallProviders,
    /// What was spoken before.
    pub(crate) clips: Clips,
    /// Whose secrets sign what the call sends.
    pub(crate) account: Option<Account>,
    /// When the stream began, by both clocks.
    pub(crate) began: Instant,
    pub(crate) began_at: Timestamp,
    /// How long the conversation had been going on by then.
    pub(crate) elapsed: Duration,
    /// What another worker left; none for a new call.
    pub(crate) resumed: Option<Takeover>,
}

/// What a call that was let in holds, beside its stream.
pub(crate) struct Held {
    /// Its lease.
    pub(crate) lease: HeldLease,
    /// Its transcriber, being connected.
    pub(crate) transcriber: CallTranscriber,
}

/// What becomes of a stream that asks to be let in.
pub(crate) enum Admission {
    /// Its call, the message to store first (see [`taken_over`]), and the resources that the call owns.
    Admitted(Box<Admitted>, Option<JournalEntry>, Held),
    /// The token is not this conversation's, or was used before.
    Refused,
    /// The call is ours, but the keys of its providers cannot be had.
    WithoutProviders(HeldLease),
}

/// Checks the stream's one-use token and marks the conversation as started, or taken over, in one
/// conditional write: of two streams with the same token one is let in.
pub(crate) async fn admit(
    worker: &Worker,
    start: &StreamStart,
    address: ConversationKey,
) -> Result<Admission, StoreError> {
    let (began, began_at) = (Instant::now(), system::now());
    let token = sha256_hex(&start.token);
    // The lease is read before it is taken over.
    let (left, account, found) = tokio::try_join!(
        worker.store.lease(address.account, address.conversation),
        worker.store.account(address.account),
        worker.store.conversation(address.account, address.conversation),
    )?;
    // Here for what can be fetched meanwhile; what counts is the write below.
    let invited = |conversation: &Conversation| {
        // Both are hashes, so comparing them in variable time tells nothing of the token.
        conversation.media_token_sha256.as_ref() == Some(&token)
    };
    let Some(found) = found.filter(|found| invited(&found.conversation)) else {
        return Ok(Admission::Refused);
    };
    let fetching = async {
        tokio::join!(
            worker.clips.of(address, &found.agent),
            CallProviders::load(worker, address.account, &found.agent),
        )
    };
    let stream = Some(start.sid.clone());
    let lease = Lease { stream, ..Lease::new(system::random_hex::<16>(), began_at) };
    let changed = worker.store.transition_taking(&lease, start.account, start.conversation, |snapshot| {
        let Snapshot { conversation, agent } = snapshot;
        if !invited(conversation) {
            return Err(InvalidTransition);
        }
        match conversation.state {
            State::Started { .. } => conversation.mark_resumed(),
            _ => conversation.mark_started(agent, start.call.as_str(), began_at),
        }
    });
    let (changed, (clips, providers)) = tokio::join!(changed, fetching);
    let Outcome::Changed(snapshot) = changed? else { return Ok(Admission::Refused) };
    let lease = HeldLease::keep(worker.store.clone(), address, lease);
    let elapsed = snapshot.conversation.started_at().map_or(Duration::ZERO, |at| began_at.since(at));
    let (providers, transcriber) = match providers {
        Ok(providers) => {
            let transcriber = providers.connect(worker);
            (providers, transcriber)
        }
        Err(error) => {
            tracing::error!(conversation = %address.conversation, error = format!("{error:#}"), "no keys");
            return Ok(Admission::WithoutProviders(lease));
        }
    };
    let (mut resumed, mut first_words) = (None, None);
    if snapshot.conversation.resumes > 0 {
        let messages = worker.store.messages(address.account, address.conversation).await?;
        let greeting = snapshot.agent.initial_message.as_deref();
        (resumed, first_words) = taken_over(greeting, messages, left, elapsed, began_at);
    }
    let admitted =
        Admitted { address, snapshot, providers, clips, account, began, began_at, elapsed, resumed };
    Ok(Admission::Admitted(Box::new(admitted), first_words, Held { lease, transcriber }))
}
