//! Lets the carrier's streams in: those of new calls, and those of calls that another worker held.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::extract::ws::WebSocket;
use futures_util::FutureExt;
use serde_json::Value;
use switchboard_aws::store::Outcome;
use switchboard_dialogue::{Line, Resumed};
use switchboard_model::{
    accounts::{Account, sha256_hex},
    conversations::{
        Conversation, EndedReason, InvalidTransition, JournalEntry, Lease, Snapshot, Speaking, State,
    },
    events::EventName,
    messages::{Message, Role},
    time::Timestamp,
};
use switchboard_runtime as system;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Worker,
    address::Address,
    call::Call,
    carrier::{self, Carrier, StreamStart},
    clips::Clips,
    closing,
    hearing::Ears,
    holding::Hold,
    providing::Providing,
};

/// How long the carrier may take to say which call a stream belongs to.
const START: Duration = Duration::from_secs(10);

/// A stream that was let in.
pub(crate) struct Admitted {
    pub(crate) address: Address,
    pub(crate) snapshot: Snapshot,
    /// Who serves it.
    pub(crate) providing: Providing,
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
    pub(crate) resumed: Option<Resumed>,
}

/// What a call that was let in holds, beside its stream.
pub(crate) struct Held {
    /// Its lease.
    pub(crate) hold: Hold,
    /// Its transcriber, being connected.
    pub(crate) ears: Ears,
}

/// Serves one stream of the carrier, from its first message to its end.
pub(crate) async fn serve(worker: Arc<Worker>, socket: WebSocket, shutdown: CancellationToken) {
    let (carrier, start) = match Carrier::accept(socket, START).await {
        Ok(accepted) => accepted,
        Err(socket) => {
            tracing::warn!("a stream did not say which call it is");
            return carrier::turn_away(*socket).await;
        }
    };
    let address = Address { account: start.account, conversation: start.conversation };
    let (admitted, first_words, held) = match admit(&worker, &start, address).await {
        Ok(Some(admitted)) => admitted,
        Ok(None) => {
            tracing::warn!(conversation = %address.conversation, "a stream was not let in");
            return carrier.close().await;
        }
        Err(error) => {
            tracing::error!(conversation = %address.conversation, %error, "a stream could not be let in");
            return carrier.close().await;
        }
    };
    tracing::info!(conversation = %address.conversation, resumed = admitted.resumed.is_some(), "media flows");
    let holder = held.hold.holder().to_owned();
    let call = Call::new(&worker, &admitted, carrier, held);
    // A panic ends this call alone.
    if let Ok(finished) = AssertUnwindSafe(call.run(first_words, &shutdown)).catch_unwind().await {
        closing::close(&worker, address, &start.call, finished).await;
    } else {
        tracing::error!(conversation = %address.conversation, "the call panicked");
        end(&worker, address, &start, &holder).await;
    }
    tracing::info!(conversation = %address.conversation, "media ended");
}

/// Checks the stream's one-use token and marks the conversation as started, or taken over, in one
/// conditional write: of two streams with the same token one is let in.
async fn admit(
    worker: &Worker,
    start: &StreamStart,
    address: Address,
) -> Result<Option<(Admitted, Option<JournalEntry>, Held)>, switchboard_aws::store::StoreError> {
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
    let Some(found) = found.filter(|found| invited(&found.conversation)) else { return Ok(None) };
    let fetching = async {
        tokio::join!(
            worker.clips.of(address, &found.agent),
            Providing::load(worker, address.account, &found.agent),
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
            State::Started { .. } => conversation.resumed(),
            _ => conversation.started(agent, start.call.as_str(), began_at),
        }
    });
    let (changed, (clips, providing)) = tokio::join!(changed, fetching);
    let Outcome::Changed(snapshot) = changed? else { return Ok(None) };
    let hold = Hold::keep(worker.store.clone(), address, lease);
    let elapsed = snapshot.conversation.started_at().map_or(Duration::ZERO, |at| began_at.since(at));
    let (providing, ears) = match providing {
        Ok(providing) => {
            let ears = providing.connect(worker);
            (providing, ears)
        }
        Err(error) => {
            tracing::error!(conversation = %address.conversation, error = format!("{error:#}"), "no keys");
            end(worker, address, start, hold.holder()).await;
            return Ok(None);
        }
    };
    let (mut resumed, mut first_words) = (None, None);
    if snapshot.conversation.resumes > 0 {
        let messages = worker.store.messages(address.account, address.conversation).await?;
        let greeting = snapshot.agent.initial_message.as_deref();
        (resumed, first_words) = taken_over(greeting, messages, left, elapsed, began_at);
    }
    let admitted =
        Admitted { address, snapshot, providing, clips, account, began, began_at, elapsed, resumed };
    Ok(Some((admitted, first_words, Held { hold, ears })))
}

/// What another worker left: the conversation so far, and the message it was saying. What of that was
/// heard is stored first; the rest is said if the caller says nothing.
fn taken_over(
    greeting: Option<&str>,
    messages: Vec<Message>,
    left: Option<Lease>,
    elapsed: Duration,
    now: Timestamp,
) -> (Option<Resumed>, Option<JournalEntry>) {
    let left = left.and_then(|lease| Some((lease.noted_at, lease.speaking?)));
    // The message may have been stored after it was noted for the last time.
    let left = left.filter(|(_, speaking)| {
        let stored =
            |message: &Message| message.role == Role::Agent && message.started_at >= speaking.started_at;
        speaking.heard.is_empty() || !messages.iter().any(stored)
    });
    // Not a word was heard so far: whoever took the call still waits to be greeted.
    let mut unsaid = greeting.filter(|_| messages.is_empty() && left.is_none()).map(str::to_owned);
    let mut history: Vec<Line> = messages.into_iter().map(line).collect();
    let mut first_words = None;
    if let Some((noted_at, speaking)) = left {
        // Handed over in order, nothing was being said any more; after a crash the voice went on.
        let speaking =
            if speaking.heard.is_empty() { speaking } else { speaking.gone_on(now.since(noted_at)) };
        let Speaking { heard, unheard, started_at } = speaking;
        unsaid = Some(unheard).filter(|text| !text.is_empty());
        if !heard.is_empty() {
            history.push(Line::Agent(heard.clone()));
            let message =
                Message { role: Role::Agent, content: heard, started_at, ended_at: now, interrupted: true };
            first_words = Some(JournalEntry {
                at: now,
                name: EventName::MessageSent,
                data: Value::Null,
                message: Some(message),
                notes: vec![],
            });
        }
    }
    (Some(Resumed { history, unsaid, elapsed }), first_words)
}

fn line(message: Message) -> Line {
    match message.role {
        Role::Agent => Line::Agent(message.content),
        Role::User => Line::User(message.content),
    }
}

/// Ends a conversation whose call panicked, or could not begin. What the call knew is lost; what it had
/// stored is not.
async fn end(worker: &Worker, address: Address, start: &StreamStart, holder: &str) {
    closing::hang_up(worker, address, &start.call).await;
    let ended = worker.store.transition_as(holder, address.account, address.conversation, |snapshot| {
        let Snapshot { conversation, agent } = snapshot;
        let (usage, now) = (&conversation.usage, system::now());
        conversation.end(agent, EndedReason::Unknown, &[], usage, &worker.prices, now)
    });
    // Where it is not written the lease runs out, and the sweeper ends the conversation.
    match ended.await {
        Ok(Outcome::Changed(_)) => {}
        Ok(_) => {
            tracing::error!(conversation = %address.conversation, "the conversation is no longer ours to end");
        }
        Err(error) => {
            tracing::error!(conversation = %address.conversation, %error, "the end was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    fn said(role: Role, content: &str) -> Message {
        let (started_at, ended_at) = (at(-2_000), at(-1_000));
        Message { role, content: content.into(), started_at, ended_at, interrupted: false }
    }

    fn lease(heard: &str, unheard: &str) -> Lease {
        let speaking = Speaking { heard: heard.into(), unheard: unheard.into(), started_at: at(0) };
        Lease { speaking: Some(speaking), ..Lease::new("a".into(), at(0)) }
    }

    #[test]
    fn after_a_crash_the_words_heard_are_stored_and_the_rest_is_left_to_say() {
        let messages = vec![said(Role::Agent, "Hello."), said(Role::User, "When?")];
        let left = lease("We close at", "six in the evening on Saturday.");
        let (resumed, first) =
            taken_over(Some("Hello."), messages, Some(left), Duration::from_secs(9), at(400));
        let (resumed, message) = (resumed.unwrap(), first.unwrap().message.unwrap());
        assert!(message.interrupted && message.content.starts_with("We close at"));
        let whole = format!("{} {}", message.content, resumed.unsaid.unwrap());
        assert_eq!(whole, "We close at six in the evening on Saturday.", "nothing is lost or said twice");
        assert_eq!(resumed.history.last(), Some(&Line::Agent(message.content)));
        assert_eq!(resumed.elapsed, Duration::from_secs(9));
    }

    #[test]
    fn a_message_that_was_stored_after_it_was_noted_is_not_said_again() {
        let mut stored = said(Role::Agent, "We close at six in the evening on Saturday.");
        (stored.started_at, stored.ended_at) = (at(0), at(3_000));
        let (resumed, first) =
            taken_over(None, vec![stored], Some(lease("We close at", "six.")), Duration::ZERO, at(3_100));
        let resumed = resumed.unwrap();
        assert_eq!((resumed.unsaid, resumed.history.len(), first), (None, 1, None));
    }

    #[test]
    fn a_call_that_was_lost_before_the_first_word_is_greeted() {
        let (resumed, first) = taken_over(Some("Hello."), vec![], None, Duration::ZERO, at(300));
        assert_eq!((resumed.unwrap().unsaid.as_deref(), first), (Some("Hello."), None));
    }

    #[test]
    fn after_a_hand_over_only_the_rest_is_left() {
        let (resumed, first) = taken_over(None, vec![], Some(lease("", "six.")), Duration::ZERO, at(5_000));
        assert_eq!((resumed.unwrap().unsaid.as_deref(), first), (Some("six."), None));
    }

    #[test]
    fn a_call_that_was_silent_has_nothing_left_to_say() {
        let (resumed, first) =
            taken_over(Some("Hello."), vec![said(Role::User, "Hm.")], None, Duration::ZERO, at(0));
        let resumed = resumed.unwrap();
        assert_eq!((resumed.history, resumed.unsaid, first), (vec![Line::User("Hm.".into())], None, None));
    }
}
