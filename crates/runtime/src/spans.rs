//! The span around a request, a job and a call: each line that is logged within it carries the ids.
//!
//! There is one span per unit of work, and the field names are the same in all: `request_id`, `account_id`,
//! `conversation_id`, `call_sid` (the carrier's id of the call). Ids that become known during the work are recorded
//! into the current span. The spans are at ERROR, which means that they exist at every level of the log: `RUST_LOG=warn`
//! must not leave warnings without ids.

use switchboard_model::ids::{AccountId, ConversationId};
use tracing::{Span, error_span, field::Empty};

/// The span of one HTTP request. Its other ids are recorded once the request is authenticated.
pub fn request(request_id: &str) -> Span {
    error_span!("request", request_id, account_id = Empty, conversation_id = Empty, call_sid = Empty)
}

/// The span of one job about a conversation: a message of a queue, a due item.
pub fn job(account_id: AccountId, conversation_id: ConversationId) -> Span {
    error_span!("job", %account_id, %conversation_id, call_sid = Empty)
}

/// The span of one attempt to deliver an event to a webhook. `sequence` is the event's number in its conversation,
/// `webhook` the webhook's index, `attempt` the number of the attempt.
pub fn delivery_job(
    account_id: AccountId,
    conversation_id: ConversationId,
    sequence: u64,
    webhook: usize,
    attempt: u32,
) -> Span {
    error_span!("job", %account_id, %conversation_id, call_sid = Empty, sequence, webhook, attempt)
}

/// The span of one job about an account, such as clearing away a phone number.
pub fn account_job(account_id: AccountId) -> Span {
    error_span!("job", %account_id)
}

/// The span of one call's media stream in the worker.
pub fn call(account_id: AccountId, conversation_id: ConversationId, call_sid: &str) -> Span {
    error_span!("call", %account_id, %conversation_id, call_sid)
}

/// Adds the account to the current span.
pub fn record_account(account_id: AccountId) {
    Span::current().record("account_id", tracing::field::display(account_id));
}

/// Adds the account and the conversation to the current span.
pub fn record_conversation(account_id: AccountId, conversation_id: ConversationId) {
    record_account(account_id);
    Span::current().record("conversation_id", tracing::field::display(conversation_id));
}

/// Adds the carrier's id of the call to the current span.
pub fn record_call_sid(call_sid: &str) {
    Span::current().record("call_sid", call_sid);
}
