//! `/credentials`: create, list, get, delete. A key is sealed before it is stored, and never shown again.

use axum::{Json, extract::State};
use switchboard_aws::table::TableError;
use switchboard_contract::credentials::{self, CredentialView};
use switchboard_model::ids::CredentialId;

use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody, ListQuery, PathParameter},
    idempotency::NewItem,
    pages::PageResponse,
};

/// `POST /credentials`
pub(crate) async fn create(
    Caller(account): Caller,
    State(api): State<Api>,
    new: NewItem,
    JsonBody(body): JsonBody,
) -> Result<Json<CredentialView>, ApiError> {
    let request = credentials::create(&body, api.egress_policy).into_valid()?;
    let id = CredentialId::of_request(new.id);
    let sealed = api.sealer.seal((account, &id.to_string()), &request.api_key).await?;
    let credential = request.credential(id, account, (api.now)());
    match api.table.create_credential(&credential, sealed).await {
        // An earlier request with the same key stored it, and died before it could answer.
        Err(TableError::Conflict) if new.may_exist => {
            return get(Caller(account), State(api), PathParameter(id)).await;
        }
        stored => stored?,
    }
    tracing::info!(credential_id = %id, "credential stored");
    Ok(Json(CredentialView::new(&api.public_url, credential)))
}

/// `GET /credentials`: newest first.
pub(crate) async fn list(
    Caller(account): Caller,
    State(api): State<Api>,
    ListQuery(listing): ListQuery,
) -> Result<PageResponse<CredentialView>, ApiError> {
    let found = api.table.credentials(account, listing).await?;
    let view = |credential| CredentialView::new(&api.public_url, credential);
    Ok(PageResponse::new(found, listing.page, view))
}

/// `GET /credentials/{id}`
pub(crate) async fn get(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<CredentialId>,
) -> Result<Json<CredentialView>, ApiError> {
    let (credential, _) = api.table.credential(account, id).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(CredentialView::new(&api.public_url, credential)))
}

/// `DELETE /credentials/{id}`: agents that name it keep the id, and their calls end as soon as they begin.
pub(crate) async fn delete(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<CredentialId>,
) -> Result<Json<CredentialView>, ApiError> {
    let credential = api.table.delete_credential(account, id).await?.ok_or(ApiError::NotFound)?;
    tracing::info!(credential_id = %id, "credential deleted");
    Ok(Json(CredentialView::new(&api.public_url, credential)))
}
