//! How a live call goes on when its media stream is over: the carrier asks, or is told to ask.

use std::time::Duration;

use switchboard_model::{
    conversations::{EndedReason, InvalidTransition, Lease, Snapshot, State, Transition},
    sweep::end_answered,
    time::Timestamp,
};
use switchboard_providers::twilio::{
    CallSid,
    callbacks::{StreamCallback, StreamEvent},
};

/// After a stream broke, how long the carrier may take to ask by itself, before it is told to: the call
/// is silent meanwhile. It must not be told while it asks, since that would cut off the stream that the
/// answer connects.
const ASKS_BY_ITSELF: Duration = Duration::from_millis(500);
/// How long it may take to connect the stream of an answer that it was given.
const CONNECTS: Duration = Duration::from_secs(2);

/// The carrier asks how `call` goes on: with another stream, which is let in with the token of this
/// hash. A call that never came to talking is over. Not possible: it is to be hung up.
pub fn resume(
    snapshot: &Snapshot,
    call: &CallSid,
    token_sha256: &str,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    let conversation = &snapshot.conversation;
    if !is_of(snapshot, call) {
        return Err(InvalidTransition);
    }
    match conversation.state {
        State::Dialing { .. } | State::Ringing { .. } => {
            end_answered(snapshot, call.as_str(), now, EndedReason::Unknown, now)
        }
        State::Answered { answered_at } => {
            end_answered(snapshot, call.as_str(), answered_at, EndedReason::Unknown, now)
        }
        State::Started { .. } => conversation.begin_resume(token_sha256.to_owned()),
        State::Queued | State::Ended { .. } => Err(InvalidTransition),
    }
}

/// A live call whose stream broke. If it is the same a little later, nobody takes care of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranded {
    resumes: u32,
    token_sha256: Option<String>,
    holder: Option<String>,
}

impl Stranded {
    /// None: the call is over, or its stream did not break, or a later one has taken its place. A stream
    /// that was merely closed needs no help: the carrier goes on to what it was told to do then.
    #[must_use]
    pub fn find(snapshot: &Snapshot, lease: Option<&Lease>, report: &StreamCallback) -> Option<Self> {
        let conversation = &snapshot.conversation;
        let is_live = matches!(conversation.state, State::Started { .. })
            && conversation.signals.carrier_ended_at.is_none();
        if report.event != StreamEvent::Error || !is_live || !is_of(snapshot, &report.call_sid) {
            return None;
        }
        // Without a token that waits to be used, the stream that was let in last is the call's.
        let held = lease.and_then(|lease| lease.stream.as_ref()).zip(report.stream_sid.as_ref());
        if conversation.media_token_sha256.is_none() && held.is_some_and(|(held, broke)| held != broke) {
            return None;
        }
        Some(Self {
            resumes: conversation.resumes,
            token_sha256: conversation.media_token_sha256.clone(),
            holder: lease.map(|lease| lease.holder.clone()),
        })
    }

    /// How long to wait before looking again.
    #[must_use]
    pub fn patience(&self) -> Duration {
        if self.token_sha256.is_some() { CONNECTS } else { ASKS_BY_ITSELF }
    }
}

/// A conversation is one call; what another one does is not its concern.
fn is_of(snapshot: &Snapshot, call: &CallSid) -> bool {
    snapshot.conversation.carrier_call_id.as_deref().is_none_or(|known| known == call.as_str())
}
