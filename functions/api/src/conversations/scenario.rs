//! `GET /conversations/{id}/scenario`: a conversation as a file for `switchboard test`.

use axum::{Json, extract::State};
use switchboard_contract::scenarios::{NoScenario, ScenarioView};
use switchboard_model::ids::ConversationId;

use super::find;
use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, PathParameter},
};

/// Events that are read at once.
const PAGE: usize = 100;

/// `GET /conversations/{id}/scenario`
pub(crate) async fn scenario(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<ConversationId>,
) -> Result<Json<ScenarioView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    if snapshot.conversation.ended().is_none() {
        return Err(refusal(NoScenario::NotEnded));
    }
    let messages = api.table.messages(account, id).await?;
    let mut events = vec![];
    loop {
        let (page, has_more) = api.table.events(account, id, events.len() as u64, PAGE).await?;
        events.extend(api.event_views(account, id, &snapshot, page).await?);
        if !has_more {
            break;
        }
    }
    ScenarioView::of(&snapshot, &messages, &events).map(Json).map_err(refusal)
}

fn refusal(reason: NoScenario) -> ApiError {
    ApiError::Conflict(match reason {
        NoScenario::NotEnded => "Only a conversation that has ended is a scenario: end it first",
        NoScenario::NotStarted => "The conversation never started: there is nothing to repeat",
    })
}
