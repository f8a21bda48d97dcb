//! Phone numbers: found, bought, brought along, listed, changed, given back.
//!
//! The carrier and the table cannot be written together, so every step leaves what the next one needs:
//!
//! - **Buying**: the number is stored as coming, which keeps everybody else from it; the carrier is asked for
//!   it under a name that holds its id, wired in the same request; it is stored as owned. If the carrier
//!   refuses, what was stored is taken back. If its answer is lost, or the last write is, the same request
//!   sent again finds by the name what was bought; if nobody asks again, the sweeper gives it back.
//! - **Importing** is the same with the customer's own account at the carrier; instead of bought, the number is
//!   wired.
//! - **Releasing** goes the other way: stored as going, given back (an imported one: its wires are cut), taken
//!   away. Whatever is cut short is finished by asking again, or by the sweeper.

use axum::{Json, extract::State};
use switchboard_aws::table::TableError;
use switchboard_contract::phone_numbers::{BuyNumber, ImportNumber, SearchNumbers};
use switchboard_contract::{
    validation::{Field, FieldError, Read, Step},
    views::{NumberOnSaleView, PhoneNumberView},
};
use switchboard_model::{
    ids::{AccountId, PhoneNumberId},
    phone_numbers::{CallAccount, CarrierAccount, E164, OwnAccount, PhoneNumber},
};
use switchboard_providers::twilio::{
    Numbers,
    numbers::{BuyError, Wires},
};

use crate::{
    Api,
    errors::ApiError,
    extract::{Caller, JsonBody, Named, Parameters},
    idempotency::Fresh,
    references::{self, Checked},
    views::PageView,
};

const OWNED: ApiError = ApiError::Conflict("This number is owned already");

/// How many numbers on sale are tried if any will do: others buy too.
const CANDIDATES: usize = 5;

/// `GET /phone_numbers/buy`: numbers on sale.
pub(crate) async fn on_sale(
    Caller(_): Caller,
    State(api): State<Api>,
    parameters: Parameters,
) -> Result<Json<Vec<NumberOnSaleView>>, ApiError> {
    let SearchNumbers { contains, limit } = parameters.read(SearchNumbers::parse)?;
    let found = api.numbers.on_sale(contains.as_deref(), limit).await?;
    let views = found.into_iter().take(limit).map(|number| NumberOnSaleView {
        provider: "twilio",
        phone_number: number.phone_number,
        postal_code: number.postal_code,
        iso_country: number.iso_country,
    });
    Ok(Json(views.collect()))
}

/// `POST /phone_numbers/buy`
pub(crate) async fn buy(
    Caller(account): Caller,
    State(api): State<Api>,
    fresh: Fresh,
    JsonBody(body): JsonBody,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let wanted = Checked::read(&body, BuyNumber::parse).valid().map_err(ApiError::Invalid)?;
    let id = PhoneNumberId::of_request(fresh.id);
    let begun = if fresh.again { api.table.phone_number_of(account, id).await? } else { None };
    let bought = match (begun, wanted.phone_number) {
        (Some(number), _) if number.is_owned() => number,
        (Some(number), _) => api.finish_purchase(number).await?,
        (None, Some(number)) => match api.reserve(account, id, number, None).await? {
            Some(coming) => api.purchase(coming).await?.ok_or_else(not_on_sale)?,
            None => return Err(OWNED),
        },
        (None, None) => api.purchase_any(account, id).await?,
    };
    tracing::info!(account = %account, number = %id, "bought");
    Ok(Json(PhoneNumberView::new(&api.public_url, bought)))
}

/// `POST /phone_numbers/import`
pub(crate) async fn import(
    Caller(account): Caller,
    State(api): State<Api>,
    fresh: Fresh,
    JsonBody(body): JsonBody,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let checked = Checked::read(&body, ImportNumber::parse);
    let ImportNumber { phone_number, account_sid, auth_token } =
        checked.valid().map_err(ApiError::Invalid)?;
    let numbers =
        api.numbers.of(&CarrierAccount { account_sid: account_sid.clone(), auth_token: auth_token.clone() });
    let found = match numbers.find(&phone_number).await {
        Err(switchboard_providers::Error::Rejected { .. }) => {
            return Err(wrong("auth_token", "not_accepted", "The carrier does not accept these credentials"));
        }
        found => found?,
    };
    let found = found
        .ok_or_else(|| wrong("phone_number", "not_found", "Does not exist in this account at the carrier"))?;
    let id = PhoneNumberId::of_request(fresh.id);
    let sealed = api.sealer.seal((account, &id.to_string()), &auth_token).await?;
    let own = OwnAccount { account_sid, auth_token: sealed };
    let coming = match api.reserve(account, id, phone_number.clone(), Some(own)).await? {
        Some(coming) => coming,
        None if fresh.again => {
            let begun = api.table.phone_number(account, &phone_number).await?;
            let begun = begun.filter(|number| number.id == id).ok_or(OWNED)?;
            if begun.is_owned() {
                return Ok(Json(PhoneNumberView::new(&api.public_url, begun)));
            }
            begun
        }
        None => return Err(OWNED),
    };
    let arrived = match api.wire(&numbers, account, &found.sid).await {
        Ok(()) => api.table.change_phone_number(&coming, coming.clone().arrived(found.sid)).await?,
        // Wired or not: if nobody asks again, the sweeper cuts what may have been wired.
        Err(error @ ApiError::Unavailable(_)) => return Err(error),
        Err(error) => {
            api.table.remove_phone_number(&coming).await?;
            return Err(error);
        }
    };
    tracing::info!(account = %account, number = %id, "imported");
    Ok(Json(PhoneNumberView::new(&api.public_url, arrived)))
}

/// `GET /phone_numbers`: newest first.
pub(crate) async fn list(
    Caller(account): Caller,
    State(api): State<Api>,
    parameters: Parameters,
) -> Result<PageView<PhoneNumberView>, ApiError> {
    let listing = parameters.read(switchboard_contract::lists::listing)?;
    let (numbers, has_more) = api.table.phone_numbers(account, listing).await?;
    let items = numbers.into_iter().map(|number| PhoneNumberView::new(&api.public_url, number)).collect();
    Ok(PageView { items, index: listing.page.index, has_more })
}

/// `GET /phone_numbers/{phone_number}`
pub(crate) async fn show(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(number): Named<E164>,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let number = api.table.phone_number(account, &number).await?.filter(PhoneNumber::is_owned);
    Ok(Json(PhoneNumberView::new(&api.public_url, number.ok_or(ApiError::NotFound)?)))
}

/// `PATCH /phone_numbers/{phone_number}`: changes the fields that the body has.
pub(crate) async fn update(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(number): Named<E164>,
    JsonBody(body): JsonBody,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let patched = |number: &PhoneNumber| {
        Checked::read(&body, |field| {
            switchboard_contract::phone_numbers::patched(number, field, api.egress_policy)
        })
    };
    let before = api.table.phone_number(account, &number).await?.filter(PhoneNumber::is_owned);
    references::look_up(&api, account, patched(&before.ok_or(ApiError::NotFound)?)).await?;
    // Once more on what is stored when it is written; what the body names was looked up.
    let change = |number: &PhoneNumber| patched(number).valid();
    let changed = api.table.update_phone_number(account, &number, (api.now)(), change).await?;
    let number = changed.ok_or(ApiError::NotFound)?.map_err(ApiError::Invalid)?;
    Ok(Json(PhoneNumberView::new(&api.public_url, number)))
}

/// `DELETE /phone_numbers/{phone_number}`: gives the number back to the carrier, unless
/// `release_phone_number=false`: then it is only taken out of this account, and its wires are cut, as those
/// of an imported one always are.
pub(crate) async fn delete(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(number): Named<E164>,
    parameters: Parameters,
) -> Result<Json<PhoneNumberView>, ApiError> {
    let number = api.table.phone_number(account, &number).await?.ok_or(ApiError::NotFound)?;
    let releases = parameters.read(releases)?;
    let leaving = match number.due_at() {
        None if releases => {
            api.table.change_phone_number(&number, number.clone().leaving((api.now)())).await?
        }
        // It stays the account's until its wires are cut: nobody may give it back meanwhile.
        None => number.clone(),
        Some(_) if number.is_leaving() => number.clone(),
        Some(_) => return Err(ApiError::NotFound),
    };
    api.let_go(&leaving, releases).await?;
    api.table.remove_phone_number(&leaving).await?;
    tracing::info!(account = %account, number = %number.id, releases, "taken away");
    Ok(Json(PhoneNumberView::new(&api.public_url, number)))
}

fn releases(query: &Field<'_>) -> Read<bool> {
    query
        .object()?
        .or("release_phone_number", true, |field| field.choice(&[("true", true), ("false", false)]))
}

fn wrong(field: &str, kind: &'static str, msg: &str) -> ApiError {
    let loc = ["body", field].map(|step| Step::Field(step.into())).into();
    ApiError::Invalid(vec![FieldError { loc, msg: msg.into(), kind }])
}

fn not_on_sale() -> ApiError {
    wrong("phone_number", "not_on_sale", "This number is not on sale")
}

impl Api {
    /// Keeps everybody else from a number. None if somebody has it.
    async fn reserve(
        &self,
        account: AccountId,
        id: PhoneNumberId,
        number: E164,
        own: Option<OwnAccount>,
    ) -> Result<Option<PhoneNumber>, ApiError> {
        let coming = PhoneNumber::coming(id, account, number, own, (self.now)());
        match self.table.add_phone_number(&coming).await {
            Ok(()) => Ok(Some(coming)),
            Err(TableError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the carrier for a number that is coming. None if it is not on sale: then nothing is left of it.
    async fn purchase(&self, coming: PhoneNumber) -> Result<Option<PhoneNumber>, ApiError> {
        let wires = self.wires(coming.account_id);
        let name = coming.friendly_name();
        let sid = match self.numbers.buy(&coming.phone_number, &name, wires.as_wires()).await {
            Ok(sid) => sid,
            Err(BuyError::Refused { code, message }) => {
                tracing::info!(number = %coming.id, code, message, "not sold");
                self.table.remove_phone_number(&coming).await?;
                return Ok(None);
            }
            Err(BuyError::NotBought(error)) => {
                self.table.remove_phone_number(&coming).await?;
                return Err(error.into());
            }
            Err(BuyError::Unknown(error)) => {
                tracing::warn!(number = %coming.id, %error, "perhaps bought");
                // Not there may mean not there yet: that stays for the next request, or the sweeper.
                self.numbers.bought(&coming).await?.ok_or_else(|| ApiError::from(error))?
            }
        };
        Ok(Some(self.table.change_phone_number(&coming, coming.clone().arrived(sid)).await?))
    }

    /// An earlier request was cut short: the carrier says how far it came.
    async fn finish_purchase(&self, coming: PhoneNumber) -> Result<PhoneNumber, ApiError> {
        match self.numbers.bought(&coming).await? {
            Some(sid) => Ok(self.table.change_phone_number(&coming, coming.clone().arrived(sid)).await?),
            None => self.purchase(coming).await?.ok_or_else(not_on_sale),
        }
    }

    async fn purchase_any(&self, account: AccountId, id: PhoneNumberId) -> Result<PhoneNumber, ApiError> {
        for number in self.numbers.on_sale(None, CANDIDATES).await? {
            if let Some(coming) = self.reserve(account, id, number.phone_number, None).await?
                && let Some(bought) = self.purchase(coming).await?
            {
                return Ok(bought);
            }
        }
        Err(not_on_sale())
    }

    /// Has the carrier ask us about calls of a number.
    async fn wire(&self, numbers: &Numbers, account: AccountId, sid: &str) -> Result<(), ApiError> {
        if numbers.wire(sid, self.wires(account).as_wires()).await? {
            return Ok(());
        }
        Err(wrong("phone_number", "not_found", "Does not exist in this account at the carrier"))
    }

    /// Gives a number back, or cuts its wires. What the carrier does not know any more is let go already.
    async fn let_go(&self, number: &PhoneNumber, releases: bool) -> Result<(), ApiError> {
        let done = match self.table.carrier_account(&self.sealer, number).await? {
            CallAccount::Customers(own) => self.numbers.of(&own).cut(number).await,
            CallAccount::Deployments if releases => self.numbers.release(number).await,
            CallAccount::Deployments => self.numbers.cut(number).await,
            CallAccount::Gone => Ok(false),
        };
        match done {
            Err(error @ switchboard_providers::Error::Rejected { .. }) if number.is_imported() => {
                // Who has taken back their credentials cuts the wires themselves.
                tracing::warn!(number = %number.id, %error, "the wires of an imported number were not cut");
                Ok(())
            }
            done => Ok(done.map(drop)?),
        }
    }

    fn wires(&self, account: AccountId) -> OurWires {
        let url = &self.public_url;
        let voice_url = format!("{url}{}", PhoneNumber::voice_path(account));
        OurWires { voice_url, status_callback: format!("{url}/twilio/{account}/status") }
    }
}

/// Where the carrier asks about calls that come in.
struct OurWires {
    voice_url: String,
    status_callback: String,
}

impl OurWires {
    fn as_wires(&self) -> Wires<'_> {
        Wires { voice_url: &self.voice_url, status_callback: &self.status_callback }
    }
}
