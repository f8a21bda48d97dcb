//! `/account`: the caller's own account, its limits with their present use; `/account/webhooks`: the health of its webhooks.
//!
//! Both read a few items by their keys, and write nothing.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use switchboard_contract::account::{AccountView, WebhooksHealthView};
use switchboard_model::{
    deliveries::host_of,
    ids::AgentId,
    lists::{Created, Listing, MAX_LIMIT, Page},
};

use crate::{Api, conversations::until_midnight, errors::ApiError, extract::Caller};

/// Maximum number of hosts whose health is shown: they are read in one request.
const MAX_HOSTS: usize = 50;

/// `GET /account`
pub(crate) async fn get(
    Caller(account): Caller,
    State(api): State<Api>,
) -> Result<Json<AccountView>, ApiError> {
    let now = (api.now)();
    let (account, usage) = api.table.usage(account, now).await?.ok_or(ApiError::NotFound)?;
    let day_ends_at = now.after(until_midnight(now));
    Ok(Json(AccountView::new(&api.public_url, account, usage, now, day_ends_at)))
}

/// `GET /account/webhooks`: the hosts of the newest agents.
pub(crate) async fn webhooks(
    Caller(account): Caller,
    State(api): State<Api>,
) -> Result<Json<WebhooksHealthView>, ApiError> {
    let page = Page { index: 1, limit: usize::try_from(MAX_LIMIT).unwrap_or(1) };
    let (agents, _) = api.table.agents(account, Listing { created: Created::default(), page }).await?;
    let mut hosts: BTreeMap<String, Vec<AgentId>> = BTreeMap::new();
    for agent in agents {
        for webhook in &agent.config.webhooks {
            let host = host_of(&webhook.url);
            if !hosts.contains_key(&host) && hosts.len() >= MAX_HOSTS {
                continue;
            }
            let of_host = hosts.entry(host).or_default();
            if of_host.last() != Some(&agent.id) {
                of_host.push(agent.id);
            }
        }
    }
    let (window, stored) = api.table.webhook_hosts(account, hosts.keys().map(String::as_str)).await?;
    Ok(Json(WebhooksHealthView::new(&window, hosts, stored, (api.now)())))
}
