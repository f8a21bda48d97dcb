//! The key of a conversation, by which the worker's parts name it to each other.

use switchboard_model::{
    conversations::Conversation,
    ids::{AccountId, ConversationId},
};

/// Names one conversation in the table and in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConversationKey {
    pub(crate) account: AccountId,
    pub(crate) conversation: ConversationId,
}

impl ConversationKey {
    /// The key of this conversation.
    pub(crate) fn of(conversation: &Conversation) -> Self {
        Self { account: conversation.account_id, conversation: conversation.id }
    }
}
