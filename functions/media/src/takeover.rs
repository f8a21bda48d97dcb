//! What a worker that takes a call over finds of the worker before it.

use std::time::Duration;

use serde_json::Value;
use switchboard_dialogue::{HistoryItem, Takeover};
use switchboard_model::{
    conversations::{JournalEntry, Lease, UtteranceProgress},
    events::EventName,
    messages::{Message, Role},
    time::Timestamp,
};

/// What another worker left: the conversation so far, and the message it was saying. What of that was
/// heard is stored first; the rest is said if the caller says nothing.
pub(crate) fn taken_over(
    greeting: Option<&str>,
    messages: Vec<Message>,
    left: Option<Lease>,
    elapsed: Duration,
    now: Timestamp,
) -> (Option<Takeover>, Option<JournalEntry>) {
    let left = left.and_then(|lease| Some((lease.last_seen_at, lease.utterance?)));
    // The message may have been stored after it was noted for the last time.
    let left = left.filter(|(_, speaking)| {
        let stored =
            |message: &Message| message.role == Role::Agent && message.started_at >= speaking.started_at;
        speaking.heard.is_empty() || !messages.iter().any(stored)
    });
    // Not a word was heard so far: whoever took the call still waits to be greeted.
    let mut unspoken = greeting.filter(|_| messages.is_empty() && left.is_none()).map(str::to_owned);
    let mut history: Vec<HistoryItem> = messages.into_iter().map(line).collect();
    let mut first_words = None;
    if let Some((noted_at, speaking)) = left {
        // Handed over in order, nothing was being said any more; after a crash the voice went on.
        let speaking =
            if speaking.heard.is_empty() { speaking } else { speaking.advanced_by(now.since(noted_at)) };
        let UtteranceProgress { heard, unheard, started_at } = speaking;
        unspoken = Some(unheard).filter(|text| !text.is_empty());
        if !heard.is_empty() {
            history.push(HistoryItem::Agent(heard.clone()));
            let message =
                Message { role: Role::Agent, content: heard, started_at, ended_at: now, interrupted: true };
            first_words = Some(JournalEntry {
                at: now,
                name: EventName::MessageSent,
                data: Value::Null,
                message: Some(message),
                faults: vec![],
            });
        }
    }
    (Some(Takeover { history, unspoken, elapsed }), first_words)
}

fn line(message: Message) -> HistoryItem {
    match message.role {
        Role::Agent => HistoryItem::Agent(message.content),
        Role::User => HistoryItem::User(message.content),
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
        let speaking = UtteranceProgress { heard: heard.into(), unheard: unheard.into(), started_at: at(0) };
        Lease { utterance: Some(speaking), ..Lease::new("a".into(), at(0)) }
    }

    #[test]
    fn after_a_crash_the_words_heard_are_stored_and_the_rest_is_left_to_say() {
        let messages = vec![said(Role::Agent, "Hello."), said(Role::User, "When?")];
        let left = lease("We close at", "six in the evening on Saturday.");
        let (takeover, first) =
            taken_over(Some("Hello."), messages, Some(left), Duration::from_secs(9), at(400));
        let (takeover, message) = (takeover.unwrap(), first.unwrap().message.unwrap());
        assert!(message.interrupted && message.content.starts_with("We close at"));
        let whole = format!("{} {}", message.content, takeover.unspoken.unwrap());
        assert_eq!(whole, "We close at six in the evening on Saturday.", "nothing is lost or said twice");
        assert_eq!(takeover.history.last(), Some(&HistoryItem::Agent(message.content)));
        assert_eq!(takeover.elapsed, Duration::from_secs(9));
    }

    #[test]
    fn a_message_that_was_stored_after_it_was_noted_is_not_said_again() {
        let mut stored = said(Role::Agent, "We close at six in the evening on Saturday.");
        (stored.started_at, stored.ended_at) = (at(0), at(3_000));
        let (takeover, first) =
            taken_over(None, vec![stored], Some(lease("We close at", "six.")), Duration::ZERO, at(3_100));
        let takeover = takeover.unwrap();
        assert_eq!((takeover.unspoken, takeover.history.len(), first), (None, 1, None));
    }

    #[test]
    fn a_call_that_was_lost_before_the_first_word_is_greeted() {
        let (takeover, first) = taken_over(Some("Hello."), vec![], None, Duration::ZERO, at(300));
        assert_eq!((takeover.unwrap().unspoken.as_deref(), first), (Some("Hello."), None));
    }

    #[test]
    fn after_a_hand_over_only_the_rest_is_left() {
        let (takeover, first) = taken_over(None, vec![], Some(lease("", "six.")), Duration::ZERO, at(5_000));
        assert_eq!((takeover.unwrap().unspoken.as_deref(), first), (Some("six."), None));
    }

    #[test]
    fn a_call_that_was_silent_has_nothing_left_to_say() {
        let (takeover, first) =
            taken_over(Some("Hello."), vec![said(Role::User, "Hm.")], None, Duration::ZERO, at(0));
        let takeover = takeover.unwrap();
        assert_eq!(
            (takeover.history, takeover.unspoken, first),
            (vec![HistoryItem::User("Hm.".into())], None, None)
        );
    }
}
