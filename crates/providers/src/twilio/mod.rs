//! Twilio Programmable Voice, as a [`Carrier`].
//!
//! [`Twilio`] implements the role; each file speaks one part of the protocol: `calls` and `numbers` the REST
//! API over an authenticated `account`, `refusals` its error answers, `documents` TwiML, `signature` and
//! `callbacks` the signed forms, `values` what both write alike, `media_stream` the websocket. Nothing outside this
//! folder knows that any of them is Twilio's.

mod account;
mod callbacks;
mod calls;
mod documents;
mod media_stream;
mod numbers;
mod overrides;
mod refusals;
mod signature;
mod values;

use std::time::Duration;

use switchboard_model::{
    phone_numbers::{CarrierAccount, E164, PhoneNumber},
    time::Timestamp,
};

use self::account::Account;
pub use self::media_stream::TwilioMediaStream;
use crate::{
    Error, Providers,
    carrier::{
        Carrier, CarrierCallId, CarrierName, InvalidCarrierCallId,
        callbacks::{
            CallbackRequest, DetectionReport, IncomingCall, StatusReport, StreamReport, UnusableCallback,
            VerifiedCallback,
        },
        calls::{CarrierCall, OrderError, PlaceCall},
        documents::{CallDocument, Instructions},
        numbers::{CallRouting, NumberOnSale, OwnedNumber},
    },
};

/// One Twilio account.
#[derive(Debug, Clone)]
pub struct Twilio {
    account: Account,
}

impl Twilio {
    /// The deployment's own account.
    #[must_use]
    pub fn new(providers: &Providers) -> Self {
        Self { account: Account::of_deployment(providers) }
    }

    /// The same account with another limit on how long a request may take; connecting is always limited to
    /// [`crate::egress::CONNECT_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.account.timeout = Some(timeout);
        self
    }
}

impl Carrier for Twilio {
    type Codec = TwilioMediaStream;

    fn name(&self) -> CarrierName {
        CarrierName::Twilio
    }

    fn through_own(&self, account: &CarrierAccount) -> Self {
        Self { account: self.account.of_customer(account) }
    }

    fn call_id(&self, text: &str) -> Result<CarrierCallId, InvalidCarrierCallId> {
        values::call_id(text)
    }

    async fn place(&self, call: PlaceCall<'_>) -> Result<CarrierCallId, OrderError> {
        match calls::place(&self.account, call).await {
            Err(OrderError::Unauthorized(_)) if self.account.reread().await => {
                calls::place(&self.account, call).await
            }
            placed => placed,
        }
    }

    async fn hang_up(&self, call: &CarrierCallId) -> Result<(), Error> {
        match calls::hang_up(&self.account, call).await {
            Err(error) if refusals::is_unauthorized(&error) && self.account.reread().await => {
                calls::hang_up(&self.account, call).await
            }
            ended => ended,
        }
    }

    async fn redirect(&self, call: &CarrierCallId, url: &str) -> Result<bool, Error> {
        calls::redirect(&self.account, call, url).await
    }

    async fn fetch(&self, call: &CarrierCallId) -> Result<Option<CarrierCall>, Error> {
        match calls::fetch(&self.account, call).await {
            Err(error) if refusals::is_unauthorized(&error) && self.account.reread().await => {
                calls::fetch(&self.account, call).await
            }
            fetched => fetched,
        }
    }

    async fn find(
        &self,
        to: &E164,
        from: &E164,
        since: Timestamp,
    ) -> Result<Vec<(CarrierCallId, CarrierCall)>, Error> {
        calls::find(&self.account, to, from, since).await
    }

    fn document(&self, instructions: &Instructions<'_>) -> CallDocument {
        documents::write(instructions)
    }

    async fn reread_credentials(&self) -> bool {
        self.account.reread().await
    }

    fn verify(&self, request: &CallbackRequest) -> Option<VerifiedCallback> {
        signature::is_valid(&self.account.auth_token(), request).then(|| VerifiedCallback::new(request))
    }

    fn claimed_number(&self, request: &CallbackRequest) -> Option<E164> {
        callbacks::called_number(&request.body)
    }

    fn status_report(&self, callback: &VerifiedCallback) -> Result<StatusReport, UnusableCallback> {
        callbacks::status_report(callback.body())
    }

    fn detection_report(&self, callback: &VerifiedCallback) -> Result<DetectionReport, UnusableCallback> {
        callbacks::detection_report(callback.body())
    }

    fn stream_report(&self, callback: &VerifiedCallback) -> Result<StreamReport, UnusableCallback> {
        callbacks::stream_report(callback.body())
    }

    fn incoming_call(&self, callback: &VerifiedCallback) -> Result<IncomingCall, UnusableCallback> {
        callbacks::incoming_call(callback.body())
    }

    fn callback_call(&self, callback: &VerifiedCallback) -> Result<CarrierCallId, UnusableCallback> {
        callbacks::call(callback.body())
    }

    fn media_stream_codec(&self) -> TwilioMediaStream {
        TwilioMediaStream::default()
    }

    async fn search_numbers(&self, contains: Option<&str>, limit: usize) -> Result<Vec<NumberOnSale>, Error> {
        numbers::search(&self.account, contains, limit).await
    }

    async fn buy_number(
        &self,
        number: &E164,
        name: &str,
        routing: CallRouting<'_>,
    ) -> Result<String, OrderError> {
        numbers::buy(&self.account, number, name, routing).await
    }

    async fn find_number(&self, number: &E164) -> Result<Option<OwnedNumber>, Error> {
        numbers::find(&self.account, number).await
    }

    async fn find_purchase(&self, number: &PhoneNumber) -> Result<Option<String>, Error> {
        numbers::find_purchase(&self.account, number).await
    }

    async fn route_number(&self, id: &str, routing: CallRouting<'_>) -> Result<bool, Error> {
        numbers::route(&self.account, id, routing).await
    }

    async fn unroute_number(&self, number: &PhoneNumber) -> Result<bool, Error> {
        numbers::unroute(&self.account, number).await
    }

    async fn release_number(&self, number: &PhoneNumber) -> Result<bool, Error> {
        numbers::release(&self.account, number).await
    }
}

/// Writes a document; for the fuzz target.
#[cfg(fuzzing)]
pub(crate) fn document(
    instructions: &crate::carrier::documents::Instructions<'_>,
) -> crate::carrier::documents::CallDocument {
    documents::write(instructions)
}
