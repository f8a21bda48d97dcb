//! The part of a conversation that grows with each event.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Conversation;
use crate::costs::Usage;

/// The part of a conversation that grows with each event. Its worker stores it with the events, so that an event does not
/// rewrite the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// [`Conversation::next_sequence`].
    #[serde(rename = "s")]
    pub next_sequence: u64,
    /// [`Conversation::next_message`].
    #[serde(rename = "m")]
    pub next_message: u64,
    /// [`Conversation::takeovers`].
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    pub takeovers: u32,
    /// [`Conversation::usage`].
    #[serde(rename = "u")]
    pub usage: Usage,
    /// [`Conversation::failed_filters`].
    #[serde(rename = "f", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed_filters: BTreeSet<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Conversation {
    /// Its progress.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            next_sequence: self.next_sequence,
            next_message: self.next_message,
            takeovers: self.takeovers,
            usage: self.usage.clone(),
            failed_filters: self.failed_filters.clone(),
        }
    }

    /// The conversation as it is with this progress, if that is later than its own.
    #[must_use]
    pub fn advanced_to(self, progress: Progress) -> Self {
        if (progress.next_sequence, progress.takeovers) <= (self.next_sequence, self.takeovers) {
            return self;
        }
        let Progress { next_sequence, next_message, takeovers, usage, failed_filters } = progress;
        Self { usage, failed_filters, next_sequence, next_message, takeovers, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{AccountId, ConversationId},
        time::Timestamp,
    };

    #[test]
    fn a_conversation_takes_later_progress_only() {
        let at = Timestamp::from_millis(0);
        let number: crate::phone_numbers::E164 = "+14155550100".parse().unwrap();
        let (id, account) = (ConversationId::new(at, 1), AccountId::new(at, 2));
        let first = Conversation::outbound(id, account, None, number.clone(), number, at);
        let usage = Usage { characters: 7, ..Usage::default() };
        let later = Conversation { next_sequence: 4, next_message: 2, usage, ..first.clone() };
        let taken = Conversation { takeovers: 1, ..later.clone() };
        assert_eq!(first.clone().advanced_to(later.progress()), later);
        assert_eq!(later.clone().advanced_to(first.progress()), later);
        assert_eq!(later.clone().advanced_to(taken.progress()), taken);
        assert_eq!(taken.clone().advanced_to(later.progress()), taken);
        let next = Conversation { next_sequence: 5, ..first.clone() };
        assert_eq!(taken.advanced_to(next.progress()).takeovers, 0);
        let text = serde_json::to_string(&later.progress()).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), later.progress());
    }
}
