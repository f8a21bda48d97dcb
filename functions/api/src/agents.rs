//! Agents: stored, listed, changed, taken away.

use axum::{Json, extract::State};
use switchboard_aws::table::TableError;
use switchboard_contract::views::AgentView;
use switchboard_model::{
    agents::{Agent, AgentConfig},
    ids::AgentId,
};

use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody, Named, Parameters},
    idempotency::Fresh,
    references::{self, Checked},
    views::PageView,
};

/// `POST /agents`
pub(crate) async fn create(
    Caller(account): Caller,
    State(api): State<Api>,
    fresh: Fresh,
    JsonBody(body): JsonBody,
) -> Result<Json<AgentView>, ApiError> {
    let checked = Checked::read(&body, |field| switchboard_contract::agents::parse(field, api.egress_policy));
    let (config, _) = references::look_up(&api, account, checked).await?;
    let agent = Agent::new(AgentId::of_request(fresh.id), account, config, (api.now)());
    match api.table.create_agent(&agent).await {
        // By a request with the same key that died before it could say so.
        Err(TableError::Conflict) if fresh.again => {
            return show(Caller(account), State(api), Named(agent.id)).await;
        }
        stored => stored?,
    }
    tracing::info!(account = %account, agent = %agent.id, "stored");
    Ok(Json(AgentView::new(&api.public_url, agent)))
}

/// `GET /agents`: newest first.
pub(crate) async fn list(
    Caller(account): Caller,
    State(api): State<Api>,
    parameters: Parameters,
) -> Result<PageView<AgentView>, ApiError> {
    let listing = parameters.read(switchboard_contract::lists::listing)?;
    let (agents, has_more) = api.table.agents(account, listing).await?;
    let items = agents.into_iter().map(|agent| AgentView::new(&api.public_url, agent)).collect();
    Ok(PageView { items, index: listing.page.index, has_more })
}

/// `GET /agents/{id}`
pub(crate) async fn show(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named<AgentId>,
) -> Result<Json<AgentView>, ApiError> {
    let agent = api.table.agent(account, id).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(AgentView::new(&api.public_url, agent)))
}

/// `PATCH /agents/{id}`: changes the fields that the body has. Conversations keep the configuration they
/// began with.
pub(crate) async fn update(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named<AgentId>,
    JsonBody(body): JsonBody,
) -> Result<Json<AgentView>, ApiError> {
    let patched = |config: &AgentConfig| {
        Checked::read(&body, |field| switchboard_contract::agents::patched(config, field, api.egress_policy))
    };
    let before = api.table.agent(account, id).await?.ok_or(ApiError::NotFound)?;
    references::look_up(&api, account, patched(&before.config)).await?;
    // Once more on what is stored when it is written; what the body names was looked up.
    let change = |config: &AgentConfig| patched(config).valid();
    let changed = api.table.change_agent(account, id, (api.now)(), change).await?;
    let agent = changed.ok_or(ApiError::NotFound)?.map_err(ApiError::Invalid)?;
    Ok(Json(AgentView::new(&api.public_url, agent)))
}

/// `DELETE /agents/{id}`: conversations keep their snapshots of it. A phone number that names it keeps the
/// id, and rejects calls as one without an agent does.
pub(crate) async fn delete(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named<AgentId>,
) -> Result<Json<AgentView>, ApiError> {
    let agent = api.table.delete_agent(account, id).await?.ok_or(ApiError::NotFound)?;
    tracing::info!(account = %account, agent = %id, "deleted");
    Ok(Json(AgentView::new(&api.public_url, agent)))
}
