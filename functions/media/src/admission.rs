//! Admission: decides which media streams become calls of this worker.
//!
//! The carrier presents a one-use token, of which the table has the hash. Starting the conversation (or resuming it),
//! using the token up and taking the lease are one conditional write, so of two streams with one token one is admitted.

use std::{sync::Arc, time::Duration};

use switchboard_aws::table::{Outcome, TableError};
use switchboard_dialogue::Takeover;
use switchboard_model::{
    accounts::{Account, sha256_hex},
    catalogue::{self, Connection},
    conversations::{Conversation, InvalidTransition, JournalEntry, Lease, Leg, Snapshot, State},
    messages::Message,
    time::Timestamp,
};
use switchboard_providers::audio::AudioFormat;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use crate::{
    call_providers::CallProviders, clips::CallClips, conversation_key::ConversationKey, lease::HeldLease,
    media_stream::StreamParameters, takeover::take_over, transcriber::CallTranscriber, worker::Worker,
};

/// The data that a call reads from its admission on.
pub(crate) struct AdmittedCall {
    pub(crate) key: ConversationKey,
    pub(crate) snapshot: Snapshot,
    pub(crate) providers: CallProviders,
    pub(crate) clips: CallClips,
    /// The call counts against the worker's limit as long as this exists.
    pub(crate) _permit: OwnedSemaphorePermit,
    /// Its secrets sign the requests to webhooks.
    pub(crate) account: Option<Account>,
    /// Resumes a browser's call on another socket.
    pub(crate) resume_token: Option<String>,
    /// When the stream began, by the monotonic clock and the wall clock.
    pub(crate) began: Instant,
    pub(crate) began_at: Timestamp,
    /// Age of the conversation when the stream began; zero for a new one.
    pub(crate) elapsed: Duration,
    /// The state in which another worker left the call; `None` for a new call.
    pub(crate) takeover: Option<Takeover>,
    /// The messages of the workers before this one.
    pub(crate) earlier: Vec<Message>,
}

/// The parts that a call owns beside its stream.
pub(crate) struct CallResources {
    pub(crate) lease: HeldLease,
    /// Has begun to connect.
    pub(crate) transcriber: CallTranscriber,
    /// An entry to store before all others, see [`take_over`].
    pub(crate) first_entry: Option<JournalEntry>,
}

/// The decision about one stream.
pub(crate) enum StreamAdmission {
    Admitted(Box<AdmittedCall>, Box<CallResources>),
    /// The conversation is unknown, or the token is not its token, or was used before.
    Refused,
    /// The token is valid, and is not used up: this worker is at its limit of calls.
    Full,
    /// This worker has the lease, but the keys of the call's providers are not available.
    WithoutProviders(Box<HeldLease>, Box<Conversation>),
}

/// Decides about a stream whose audio has this `format`.
///
/// # Errors
/// The table cannot be read or written.
pub(crate) async fn admit(
    worker: &Worker,
    start: &StreamParameters,
    key: ConversationKey,
    format: AudioFormat,
) -> Result<StreamAdmission, TableError> {
    let (began, began_at) = (Instant::now(), (worker.clock)());
    let token = sha256_hex(&start.token);
    // The lease is read before it is taken over.
    let (left, account, found) = tokio::try_join!(
        worker.table.lease(key.account, key.conversation),
        worker.table.account(key.account),
        worker.table.conversation(key.account, key.conversation),
    )?;
    // Both are hashes, so comparing them in variable time reveals nothing of the token.
    let invited = |conversation: &Conversation| conversation.legs.invited(&token).map(|leg| leg.id);
    // This check only decides whether to fetch ahead; the write below repeats it.
    let Some(found) = found.filter(|found| invited(&found.conversation).is_some()) else {
        return Ok(StreamAdmission::Refused);
    };
    let Ok(permit) = Arc::clone(&worker.permits).try_acquire_owned() else {
        return Ok(StreamAdmission::Full);
    };
    let has_keys = |connection: &Connection| worker.providers.has_keys(connection);
    let (voice, _) = catalogue::first_voice(&found.agent, began_at.date(), &has_keys);
    let fetching = async {
        tokio::join!(
            worker.clips.load(key, &found.agent, &voice, format),
            CallProviders::load(worker, key.account, &found.agent, format),
        )
    };
    let stream = start.sid.clone();
    let resume_token = start.call.is_none().then(switchboard_runtime::random_hex::<32>);
    let lease = Lease { stream, ..Lease::new(switchboard_runtime::random_hex::<16>(), began_at) };
    let changed = worker.table.transition_taking(&lease, start.account, start.conversation, |snapshot| {
        let Snapshot { conversation, agent } = snapshot;
        let leg = invited(conversation).ok_or(InvalidTransition)?;
        let is_browser = conversation.legs.get(leg).is_some_and(Leg::is_browser);
        match (&start.call, &resume_token) {
            (None, Some(next)) => conversation.mark_web_admitted(leg, agent, sha256_hex(next), began_at),
            // A token of a browser's leg admits browsers only.
            (Some(_), _) if is_browser => Err(InvalidTransition),
            (Some(_), _) if matches!(conversation.state, State::Started { .. }) => {
                conversation.mark_resumed(leg)
            }
            (Some(call), _) => conversation.mark_started(leg, agent, call, began_at),
            (None, None) => Err(InvalidTransition),
        }
    });
    let (changed, (clips, providers)) = tokio::join!(changed, fetching);
    let Outcome::Changed(snapshot) = changed? else { return Ok(StreamAdmission::Refused) };
    let lease = HeldLease::new(worker.table.clone(), key, worker.clock, lease);
    let elapsed = snapshot.conversation.started_at().map_or(Duration::ZERO, |at| began_at.since(at));
    let providers = match providers {
        Ok(providers) => providers,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "provider keys not available");
            return Ok(StreamAdmission::WithoutProviders(Box::new(lease), Box::new(snapshot.conversation)));
        }
    };
    let transcriber = providers.connect(worker, format);
    let (mut takeover, mut first_entry, mut earlier) = (None, None, vec![]);
    // A call that has just begun may have been connected more than once.
    let is_new = snapshot.conversation.started_at() == Some(began_at);
    if !is_new && snapshot.conversation.legs.caller().resumes > 0 {
        let transcript = worker.table.transcript(key.account, key.conversation).await?;
        earlier.clone_from(&transcript.0);
        let greeting = snapshot.agent.initial_message.as_deref();
        let (state, entry) = take_over(greeting, transcript, left, elapsed, began_at);
        earlier.extend(entry.as_ref().and_then(|entry| entry.message.clone()));
        (takeover, first_entry) = (Some(state), entry);
    }
    let admitted = AdmittedCall {
        key,
        snapshot,
        providers,
        clips,
        _permit: permit,
        account,
        resume_token,
        began,
        began_at,
        elapsed,
        takeover,
        earlier,
    };
    let resources = Box::new(CallResources { lease, transcriber, first_entry });
    Ok(StreamAdmission::Admitted(Box::new(admitted), resources))
}
