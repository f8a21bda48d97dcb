//! Which conversation it is about.

use switchboard_model::ids::{AccountId, ConversationId};

/// A conversation's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConversationKey {
    pub(crate) account: AccountId,
    pub(crate) conversation: ConversationId,
}
