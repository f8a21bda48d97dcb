//! `/phone_numbers`: search, buy, import, list, get, update, delete.
//!
//! The carrier and the table cannot be written together, so every step stores what the next one needs:
//!
//! - **Buying**: the number is stored as coming, which reserves it. The carrier is asked for it under a name that holds
//!   its id, with our callbacks in the same request. Then it is stored as owned. If the carrier refuses, the reservation
//!   is removed. If the carrier's answer or the last write is lost, a repeated request finds the purchase by its name;
//!   without one, the sweeper releases the number.
//! - **Importing** is the same with the customer's own account at the carrier: instead of buying, our callbacks are set.
//! - **Deleting** removes our callbacks from the number, and the number from the account. A bought one stays in the
//!   deployment's pool, from which the next purchase takes it: then our callbacks are set instead of buying.
//! - **Deleting with a release** goes the other way than buying: the number is stored as going, released, and removed from
//!   the table. A repeated request, or the sweeper, completes an interrupted one.

mod acquisition;
mod release;

use axum::{Json, extract::State};
use switchboard_aws::table::MAX_POOLED;
use switchboard_contract::{
    phone_numbers::{
        self, AvailableNumberView, BuyNumber, DeleteNumber, ImportNumber, PhoneNumberView, SearchNumbers,
    },
    validation::FieldError,
};
use switchboard_model::{
    ids::PhoneNumberId,
    phone_numbers::{CarrierAccount, E164, OwnAccount, PhoneNumber},
};
use switchboard_providers::carrier::Carrier as _;

use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody, ListQuery, PathParameter, Query},
    idempotency::NewItem,
    pages::PageResponse,
    references,
};

const OWNED: ApiError = ApiError::Conflict("This number is owned already");

/// `GET /phone_numbers/buy`: numbers that can be bought, those of the deployment's pool first.
pub(crate) async fn list_available(
    Caller(_): Caller,
    State(api): State<Api>,
    query: Query,
) -> Result<Json<Vec<AvailableNumberView>>, ApiError> {
    let SearchNumbers { contains, limit } = query.read(SearchNumbers::read)?;
    let provider = api.carrier.name();
    let mut pooled = api.table.pooled_numbers().await?;
    pooled.retain(|number| contains.as_deref().is_none_or(|contains| number.contains(contains)));
    let pooled = pooled.into_iter().map(|number| AvailableNumberView {
        provider,
        phone_number: number.phone_number,
        postal_code: None,
        iso_country: None,
    });
    let mut views: Vec<_> = pooled.take(limit).collect();
    if views.len() < limit {
        let found = api.carrier.search_numbers(contains.as_deref(), limit - views.len()).await?;
        views.extend(found.into_iter().take(limit - views.len()).map(|number| AvailableNumberView {
            provider,
            phone_number: number.phone_number,
            postal_code: number.postal_code,
            iso_country: number.iso_country,
        }));
    }
    Ok(Json(views))
}

/// `POST /phone_numbers/buy`
pub(crate) async fn buy(
    Caller(account): Caller,
    State(api): State<Api>,
    new: NewItem,
    JsonBody(body): JsonBody,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let wanted = BuyNumber::read(&body).into_valid()?;
    let id = PhoneNumberId::of_request(new.id);
    let begun = if new.may_exist { api.table.phone_number_of(account, id).await? } else { None };
    let bought = match (begun, wanted.phone_number) {
        (Some(number), _) if number.is_owned() => number,
        (Some(number), _) => api.finish_purchase(number).await?,
        (None, Some(number)) => match api.reserve(account, id, number, None).await? {
            Some(coming) => api.purchase(coming).await?.ok_or_else(not_available)?,
            None => return Err(OWNED),
        },
        (None, None) => api.purchase_any(account, id).await?,
    };
    tracing::info!(phone_number_id = %id, "phone number bought");
    Ok(Json(PhoneNumberView::new(&api.public_url, bought)))
}

/// `POST /phone_numbers/import`
pub(crate) async fn import(
    Caller(account): Caller,
    State(api): State<Api>,
    new: NewItem,
    JsonBody(body): JsonBody,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let ImportNumber { phone_number, account_sid, auth_token } = ImportNumber::read(&body).into_valid()?;
    let own = CarrierAccount { account_sid: account_sid.clone(), auth_token: auth_token.clone() };
    let carrier = api.carrier.through_own(&own);
    let found = match carrier.find_number(&phone_number).await {
        Err(switchboard_providers::Error::Rejected { .. }) => {
            return Err(wrong("auth_token", "not_accepted", "The carrier does not accept these credentials"));
        }
        found => found?.ok_or_else(not_at_carrier)?,
    };
    let id = PhoneNumberId::of_request(new.id);
    let sealed = api.sealer.seal((account, &id.to_string()), &auth_token).await?;
    let own = OwnAccount { account_sid, auth_token: sealed };
    // A repeated request continues where the first one ended, also if its reservation was the last that the limit allowed.
    let begun = if new.may_exist { api.table.phone_number_of(account, id).await? } else { None };
    let coming = match begun {
        Some(begun) if begun.is_owned() => return Ok(Json(PhoneNumberView::new(&api.public_url, begun))),
        Some(begun) => begun,
        None => api.reserve(account, id, phone_number, Some(own)).await?.ok_or(OWNED)?,
    };
    let imported = match api.set_callbacks(&carrier, account, &found.id).await {
        Ok(()) => api.table.change_phone_number(&coming, coming.clone().arrived(found.id)).await?,
        // The callbacks may be set. Without a repeated request, the sweeper removes them.
        Err(error @ ApiError::Unavailable(_)) => return Err(error),
        Err(error) => {
            api.table.remove_phone_number(&coming).await?;
            return Err(error);
        }
    };
    tracing::info!(phone_number_id = %id, "phone number imported");
    Ok(Json(PhoneNumberView::new(&api.public_url, imported)))
}

/// `GET /phone_numbers`: newest first.
pub(crate) async fn list(
    Caller(account): Caller,
    State(api): State<Api>,
    ListQuery(listing): ListQuery,
) -> Result<PageResponse<PhoneNumberView>, ApiError> {
    let found = api.table.phone_numbers(account, listing).await?;
    Ok(PageResponse::new(found, listing.page, |number| PhoneNumberView::new(&api.public_url, number)))
}

/// `GET /phone_numbers/{phone_number}`
pub(crate) async fn get(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(number): PathParameter<E164>,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let number = api.table.phone_number(account, &number).await?.filter(PhoneNumber::is_owned);
    Ok(Json(PhoneNumberView::new(&api.public_url, number.ok_or(ApiError::NotFound)?)))
}

/// `PATCH /phone_numbers/{phone_number}`: changes the fields that the body has.
pub(crate) async fn update(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(number): PathParameter<E164>,
    JsonBody(body): JsonBody,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let updated = |current: &PhoneNumber| phone_numbers::update(current, &body, api.egress_policy);
    let before = api.table.phone_number(account, &number).await?.filter(PhoneNumber::is_owned);
    references::resolve(&api, account, updated(&before.ok_or(ApiError::NotFound)?)).await?;
    // The write applies the body to the number that is stored by then; the references are resolved already.
    let change = |current: &PhoneNumber| updated(current).into_valid();
    let changed = api.table.update_phone_number(account, &number, (api.now)(), change).await?;
    let number = changed.ok_or(ApiError::NotFound)??;
    Ok(Json(PhoneNumberView::new(&api.public_url, number)))
}

/// `DELETE /phone_numbers/{phone_number}`: removes our callbacks from the number, and the number from the account. With
/// `release_phone_number=true` a bought one is released at the carrier; else it stays in the deployment's pool.
pub(crate) async fn delete(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(number): PathParameter<E164>,
    query: Query,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let number = api.table.phone_number(account, &number).await?.ok_or(ApiError::NotFound)?;
    let DeleteNumber { release } = query.read(DeleteNumber::read)?;
    // The carrier bills the pool, so it is bounded.
    let release = release || api.table.pooled_numbers().await?.len() >= MAX_POOLED;
    let leaving = match number.due_at() {
        None if release => {
            api.table.change_phone_number(&number, number.clone().leaving((api.now)())).await?
        }
        // It stays the account's until its callbacks are removed: the sweeper must not release it meanwhile.
        None => number.clone(),
        Some(_) if number.is_leaving() => number.clone(),
        Some(_) => return Err(ApiError::NotFound),
    };
    // A release that has begun is completed.
    let release = release || leaving.is_leaving();
    match api.release(&leaving, release).await? {
        Some(sid) => api.table.pool_phone_number(&leaving, sid, (api.now)()).await?,
        None => api.table.remove_phone_number(&leaving).await?,
    }
    tracing::info!(phone_number_id = %number.id, released = release, "phone number deleted");
    Ok(Json(PhoneNumberView::new(&api.public_url, number)))
}

fn wrong(field: &str, kind: &'static str, msg: &str) -> ApiError {
    ApiError::Invalid(vec![FieldError::at("body", field, kind, msg)])
}

fn not_available() -> ApiError {
    wrong("phone_number", "not_on_sale", "This number is not on sale")
}

fn not_at_carrier() -> ApiError {
    wrong("phone_number", "not_found", "Does not exist in this account at the carrier")
}
