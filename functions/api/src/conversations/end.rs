//! `POST /conversations/{id}/end`: ends a conversation, whatever its state.

use axum::{Json, extract::State};
use switchboard_calls::{self as calls, Backend, EndOutcome};
use switchboard_contract::conversations::ConversationView;
use switchboard_model::ids::ConversationId;
use switchboard_runtime::spans;

use super::get;
use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, PathParameter},
};

/// Answers with the conversation after the change. If a worker has a lease on it, it goes on for about a second, until
/// the worker has stored the last words and hung up.
pub(crate) async fn end(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<ConversationId>,
) -> Result<Json<ConversationView>, ApiError> {
    spans::record_conversation(account, id);
    let backend =
        Backend { table: api.table.clone(), sealer: api.sealer.clone(), carrier: api.carrier.clone() };
    match calls::end(&backend, &api.prices, account, id, api.now).await? {
        EndOutcome::Accepted => get(Caller(account), State(api), PathParameter(id)).await,
        EndOutcome::NotFound => Err(ApiError::NotFound),
    }
}
