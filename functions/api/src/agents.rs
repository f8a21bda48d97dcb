//! `/agents`: create, list, get, update, delete.

use axum::{Json, extract::State};
use switchboard_aws::table::TableError;
use switchboard_contract::agents::{self, AgentView};
use switchboard_model::{
    agents::{Agent, AgentConfig},
    ids::AgentId,
};

use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody, ListQuery, PathParameter},
    idempotency::NewItem,
    pages::PageResponse,
    references,
};

/// `POST /agents`
pub(crate) async fn create(
    Caller(account): Caller,
    State(api): State<Api>,
    new: NewItem,
    JsonBody(body): JsonBody,
) -> Result<Json<AgentView>, ApiError> {
    let checked = agents::create(&body, api.egress_policy);
    let (config, _) = references::resolve(&api, account, checked).await?;
    let agent = Agent::new(AgentId::of_request(new.id), account, config, (api.now)());
    match api.table.create_agent(&agent).await {
        // An earlier request with the same key stored it, and died before it could answer.
        Err(TableError::Conflict) if new.may_exist => {
            return get(Caller(account), State(api), PathParameter(agent.id)).await;
        }
        stored => stored?,
    }
    tracing::info!(agent_id = %agent.id, "agent stored");
    Ok(Json(AgentView::new(&api.public_url, agent)))
}

/// `GET /agents`: newest first.
pub(crate) async fn list(
    Caller(account): Caller,
    State(api): State<Api>,
    ListQuery(listing): ListQuery,
) -> Result<PageResponse<AgentView>, ApiError> {
    let found = api.table.agents(account, listing).await?;
    Ok(PageResponse::new(found, listing.page, |agent| AgentView::new(&api.public_url, agent)))
}

/// `GET /agents/{id}`
pub(crate) async fn get(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<AgentId>,
) -> Result<Json<AgentView>, ApiError> {
    let agent = api.table.agent(account, id).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(AgentView::new(&api.public_url, agent)))
}

/// `PATCH /agents/{id}`: changes the fields that the body has. Conversations keep the configuration that they began
/// with.
pub(crate) async fn update(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<AgentId>,
    JsonBody(body): JsonBody,
) -> Result<Json<AgentView>, ApiError> {
    let updated = |current: &AgentConfig| agents::update(current, &body, api.egress_policy);
    let before = api.table.agent(account, id).await?.ok_or(ApiError::NotFound)?;
    references::resolve(&api, account, updated(&before.config)).await?;
    // The write applies the body to the configuration that is stored by then; the references are resolved already.
    let change = |current: &AgentConfig| updated(current).into_valid();
    let changed = api.table.change_agent(account, id, (api.now)(), change).await?;
    let agent = changed.ok_or(ApiError::NotFound)??;
    Ok(Json(AgentView::new(&api.public_url, agent)))
}

/// `DELETE /agents/{id}`: conversations keep their snapshots of it. A phone number that names it keeps the id, and
/// rejects inbound calls, as one without an agent does.
pub(crate) async fn delete(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<AgentId>,
) -> Result<Json<AgentView>, ApiError> {
    let agent = api.table.delete_agent(account, id).await?.ok_or(ApiError::NotFound)?;
    tracing::info!(agent_id = %id, "agent deleted");
    Ok(Json(AgentView::new(&api.public_url, agent)))
}
