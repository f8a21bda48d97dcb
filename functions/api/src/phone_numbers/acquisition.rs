//! The steps of buying and importing a number.

use switchboard_aws::table::TableError;
use switchboard_calls::{NumberUrls, number_urls};
use switchboard_model::{
    ids::{AccountId, PhoneNumberId},
    phone_numbers::{E164, OwnAccount, PhoneNumber},
};
use switchboard_providers::{
    AnyCarrier,
    carrier::{Carrier as _, calls::OrderError, numbers::CallRouting},
};

use super::{not_at_carrier, not_available};
use crate::{Api, conversations::until_midnight, errors::ApiError};

/// Maximum number of candidates that are tried if any number will do: other customers buy at the same time.
const CANDIDATES: usize = 5;

const TOO_MANY: ApiError = ApiError::Conflict("This account has as many phone numbers as it may");

impl Api {
    /// Reserves a number, in the deployment's pool if it is there. `None` if an account has it already.
    pub(super) async fn reserve(
        &self,
        account: AccountId,
        id: PhoneNumberId,
        number: E164,
        own: Option<OwnAccount>,
    ) -> Result<Option<PhoneNumber>, ApiError> {
        let most = usize::try_from(self.table.limits(account).await?.phone_numbers).unwrap_or(usize::MAX);
        if self.table.count_phone_numbers(account).await? >= most {
            return Err(TOO_MANY);
        }
        let pooled = if own.is_none() { self.table.pooled_number(&number).await? } else { None };
        let coming = PhoneNumber::coming(id, account, number, own, (self.now)());
        let (coming, stored) = if let Some(pooled) = pooled {
            let coming = coming.from_pool(pooled.sid);
            let taken = self.table.take_pooled_number(&coming).await;
            (coming, taken)
        } else {
            let added = self.table.add_phone_number(&coming).await;
            (coming, added)
        };
        match stored {
            // Other requests may have reserved numbers at the same time. All that are above the limit give way.
            Ok(()) if self.table.count_phone_numbers(account).await? > most => {
                self.withdraw(&coming).await?;
                Err(TOO_MANY)
            }
            Ok(()) => Ok(Some(coming)),
            Err(TableError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a reservation back.
    async fn withdraw(&self, coming: &PhoneNumber) -> Result<(), TableError> {
        match coming.carrier.sid.clone().filter(|_| coming.is_from_pool()) {
            Some(sid) => self.table.pool_phone_number(coming, sid, (self.now)()).await,
            None => self.table.remove_phone_number(coming).await,
        }
    }

    /// Buys a reserved number, or sets our callbacks on one of the pool. `None` if the carrier does not sell it: then the
    /// reservation is removed.
    pub(super) async fn purchase(&self, coming: PhoneNumber) -> Result<Option<PhoneNumber>, ApiError> {
        let coming = match coming.carrier.sid.clone() {
            None => coming,
            Some(sid) => match self.set_callbacks(&self.carrier, coming.account_id, &sid).await {
                Ok(()) => {
                    tracing::info!(phone_number_id = %coming.id, "number taken from the pool");
                    return Ok(Some(
                        self.table.change_phone_number(&coming, coming.clone().arrived(sid)).await?,
                    ));
                }
                Err(ApiError::Invalid(_)) => {
                    tracing::warn!(phone_number_id = %coming.id, "pooled number not found at the carrier");
                    self.table.change_phone_number(&coming, coming.clone().not_in_pool()).await?
                }
                Err(error) => {
                    self.table.pool_phone_number(&coming, sid, (self.now)()).await?;
                    return Err(error);
                }
            },
        };
        // Numbers that are bought and deleted again cost the deployment a month each.
        let most = self.table.limits(coming.account_id).await?.phone_numbers;
        if !self.table.take_purchase(coming.account_id, most, (self.now)()).await? {
            self.withdraw(&coming).await?;
            return Err(ApiError::PurchaseLimit(until_midnight((self.now)())));
        }
        let urls = number_urls(&self.public_url, coming.account_id);
        let name = coming.friendly_name();
        let id = match self.carrier.buy_number(&coming.phone_number, &name, routing(&urls)).await {
            Ok(id) => id,
            Err(OrderError::Refused { code, message }) => {
                tracing::info!(phone_number_id = %coming.id, code, message, "purchase refused by the carrier");
                self.table.remove_phone_number(&coming).await?;
                return Ok(None);
            }
            Err(OrderError::Unauthorized(error) | OrderError::NotNow(error)) => {
                self.table.remove_phone_number(&coming).await?;
                return Err(error.into());
            }
            Err(OrderError::Uncertain(error)) => {
                tracing::warn!(phone_number_id = %coming.id, %error, "purchase result lost");
                // If the carrier does not list it, it may not list it yet: a repeated request or the sweeper decides.
                self.carrier.find_purchase(&coming).await?.ok_or_else(|| ApiError::from(error))?
            }
        };
        Ok(Some(self.table.change_phone_number(&coming, coming.clone().arrived(id)).await?))
    }

    /// Completes an interrupted purchase. The carrier knows whether the number was bought.
    pub(super) async fn finish_purchase(&self, coming: PhoneNumber) -> Result<PhoneNumber, ApiError> {
        if coming.is_from_pool() {
            return self.purchase(coming).await?.ok_or_else(not_available);
        }
        match self.carrier.find_purchase(&coming).await? {
            Some(id) => Ok(self.table.change_phone_number(&coming, coming.clone().arrived(id)).await?),
            None => self.purchase(coming).await?.ok_or_else(not_available),
        }
    }

    /// Buys the first candidate that can be had, from the pool if there is one.
    pub(super) async fn purchase_any(
        &self,
        account: AccountId,
        id: PhoneNumberId,
    ) -> Result<PhoneNumber, ApiError> {
        let pooled = self.table.pooled_numbers().await?.into_iter().take(CANDIDATES);
        for number in pooled.map(|number| number.phone_number) {
            if let Some(coming) = self.reserve(account, id, number, None).await?
                && let Some(taken) = self.purchase(coming).await?
            {
                return Ok(taken);
            }
        }
        for number in self.carrier.search_numbers(None, CANDIDATES).await? {
            if let Some(coming) = self.reserve(account, id, number.phone_number, None).await?
                && let Some(bought) = self.purchase(coming).await?
            {
                return Ok(bought);
            }
        }
        Err(not_available())
    }

    /// Sets our callbacks on a number of the customer's account.
    pub(super) async fn set_callbacks(
        &self,
        carrier: &AnyCarrier,
        account: AccountId,
        carrier_id: &str,
    ) -> Result<(), ApiError> {
        if carrier.route_number(carrier_id, routing(&number_urls(&self.public_url, account))).await? {
            return Ok(());
        }
        Err(not_at_carrier())
    }
}

fn routing(urls: &NumberUrls) -> CallRouting<'_> {
    CallRouting { voice_url: &urls.inbound, fallback_url: &urls.fallback, status_callback: &urls.status }
}
