//! Credentials: stored sealed, listed, taken away. A key that came in is never shown again.

use axum::{Json, extract::State};
use switchboard_aws::table::TableError;
use switchboard_contract::credentials::CreateCredential;
use switchboard_contract::views::CredentialView;
use switchboard_model::ids::CredentialId;

use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody, Named, Parameters},
    idempotency::Fresh,
    references::Checked,
    views::PageView,
};

/// `POST /credentials`
pub(crate) async fn create(
    Caller(account): Caller,
    State(api): State<Api>,
    fresh: Fresh,
    JsonBody(body): JsonBody,
) -> Result<Json<CredentialView>, ApiError> {
    let checked = Checked::read(&body, |field| CreateCredential::parse(field, api.egress_policy));
    let new = checked.valid().map_err(ApiError::Invalid)?;
    let id = CredentialId::of_request(fresh.id);
    let sealed = api.sealer.seal((account, &id.to_string()), &new.api_key).await?;
    let credential = new.credential(id, account, (api.now)());
    match api.table.create_credential(&credential, sealed).await {
        // By a request with the same key that died before it could say so.
        Err(TableError::Conflict) if fresh.again => {
            return show(Caller(account), State(api), Named(id)).await;
        }
        stored => stored?,
    }
    tracing::info!(account = %account, credential = %id, "stored");
    Ok(Json(CredentialView::new(&api.public_url, credential)))
}

/// `GET /credentials`: newest first.
pub(crate) async fn list(
    Caller(account): Caller,
    State(api): State<Api>,
    parameters: Parameters,
) -> Result<PageView<CredentialView>, ApiError> {
    let listing = parameters.read(switchboard_contract::lists::listing)?;
    let (credentials, has_more) = api.table.credentials(account, listing).await?;
    let items =
        credentials.into_iter().map(|credential| CredentialView::new(&api.public_url, credential)).collect();
    Ok(PageView { items, index: listing.page.index, has_more })
}

/// `GET /credentials/{id}`
pub(crate) async fn show(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named<CredentialId>,
) -> Result<Json<CredentialView>, ApiError> {
    let (credential, _) = api.table.credential(account, id).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(CredentialView::new(&api.public_url, credential)))
}

/// `DELETE /credentials/{id}`: agents that name it keep the id, and their calls end as soon as they begin.
pub(crate) async fn delete(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named<CredentialId>,
) -> Result<Json<CredentialView>, ApiError> {
    let credential = api.table.delete_credential(account, id).await?.ok_or(ApiError::NotFound)?;
    tracing::info!(account = %account, credential = %id, "deleted");
    Ok(Json(CredentialView::new(&api.public_url, credential)))
}
