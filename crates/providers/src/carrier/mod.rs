//! The carrier's role: it connects calls, streams their audio and sells numbers.
//!
//! [`Carrier`] is the role's shape and its contract; it is called through [`crate::AnyCarrier`], which has one
//! variant per carrier. This module holds the vocabulary that all carriers share and knows none of them.
//!
//! - [`calls`]: placing calls and what a carrier knows of them
//! - [`documents`]: the instructions that a carrier reads when a call is answered or goes on
//! - [`callbacks`]: what a carrier reports, once its signature was checked
//! - [`media_stream`]: the websocket that carries a call's audio
//! - [`numbers`]: phone numbers on sale and owned
//!
//! Start with [`Carrier`].

pub mod callbacks;
pub mod calls;
pub mod documents;
pub mod media_stream;
pub mod numbers;

use std::future::Future;

pub use switchboard_model::carriers::{CarrierCallId, CarrierName, InvalidCarrierCallId};
use switchboard_model::{
    phone_numbers::{CallAccount, CarrierAccount, E164, PhoneNumber},
    time::Timestamp,
};

use self::{
    callbacks::{
        CallbackRequest, DetectionReport, IncomingCall, StatusReport, StreamReport, UnusableCallback,
        VerifiedCallback,
    },
    calls::{CarrierCall, OrderError, PlaceCall},
    documents::{CallDocument, Instructions},
    media_stream::MediaStreamCodec,
    numbers::{CallRouting, NumberOnSale, OwnedNumber},
};
use crate::Error;

/// One account at a carrier. Cheap to clone.
///
/// Requests that must not be repeated unknowingly (a call, a purchase) fail with an [`OrderError`], which says
/// whether the carrier certainly did not take the order; all others with [`Error`]. Nothing is retried here.
pub trait Carrier: Sized {
    /// Reads and writes the frames of this carrier's media streams.
    type Codec: MediaStreamCodec;

    /// Which carrier this is.
    fn name(&self) -> CarrierName;

    /// The same carrier through a customer's own account.
    #[must_use]
    fn through_own(&self, account: &CarrierAccount) -> Self;

    /// The same carrier through the account that a call belongs to; none if that account is out of reach.
    #[must_use]
    fn through(&self, account: &CallAccount) -> Option<Self>
    where
        Self: Clone,
    {
        match account {
            CallAccount::Deployments => Some(self.clone()),
            CallAccount::Customers(own) => Some(self.through_own(own)),
            CallAccount::Gone => None,
        }
    }

    /// Reads this carrier's id of a call.
    ///
    /// # Errors
    /// [`InvalidCarrierCallId`] if the carrier gives no such ids.
    fn call_id(&self, text: &str) -> Result<CarrierCallId, InvalidCarrierCallId>;

    /// Places a call. The call exists, and is reported to the status callback, from before this returns.
    fn place(&self, call: PlaceCall<'_>) -> impl Future<Output = Result<CarrierCallId, OrderError>> + Send;

    /// Ends a call in any state. A call that is over already, or unknown, counts as ended.
    fn hang_up(&self, call: &CarrierCallId) -> impl Future<Output = Result<(), Error>> + Send;

    /// Sends an answered call to the document that `url` answers with, whatever the call is doing. False if
    /// the call is not answered yet, is over, or is unknown.
    fn redirect(&self, call: &CarrierCallId, url: &str) -> impl Future<Output = Result<bool, Error>> + Send;

    /// A call as the carrier knows it; none if the carrier does not know it.
    fn fetch(&self, call: &CarrierCallId) -> impl Future<Output = Result<Option<CarrierCall>, Error>> + Send;

    /// The calls between two numbers that were placed at `since` or within half a minute after: those that an
    /// order whose answer was lost may have placed.
    fn find(
        &self,
        to: &E164,
        from: &E164,
        since: Timestamp,
    ) -> impl Future<Output = Result<Vec<(CarrierCallId, CarrierCall)>, Error>> + Send;

    /// Writes instructions in the carrier's language.
    fn document(&self, instructions: &Instructions<'_>) -> CallDocument;

    /// Reads the deployment's credentials again, at most once a minute. True if they changed; false for a customer's own
    /// account.
    fn reread_credentials(&self) -> impl Future<Output = bool> + Send;

    /// Checks that a request was signed with this account's secret; none if it was not.
    fn verify(&self, request: &CallbackRequest) -> Option<VerifiedCallback>;

    /// The number that is called according to a request that nobody has verified yet: good for choosing the
    /// account whose secret should have signed it, and for nothing else.
    fn claimed_number(&self, request: &CallbackRequest) -> Option<E164>;

    /// Reads a call's progress.
    ///
    /// # Errors
    /// [`UnusableCallback`] if the call or its status is missing; other members that cannot be read count as
    /// not sent. The same holds for the other callbacks.
    fn status_report(&self, callback: &VerifiedCallback) -> Result<StatusReport, UnusableCallback>;

    /// Reads the verdict of answering machine detection.
    ///
    /// # Errors
    /// As [`Self::status_report`].
    fn detection_report(&self, callback: &VerifiedCallback) -> Result<DetectionReport, UnusableCallback>;

    /// Reads the fate of a media stream.
    ///
    /// # Errors
    /// As [`Self::status_report`].
    fn stream_report(&self, callback: &VerifiedCallback) -> Result<StreamReport, UnusableCallback>;

    /// Reads a call to one of our numbers.
    ///
    /// # Errors
    /// As [`Self::status_report`].
    fn incoming_call(&self, callback: &VerifiedCallback) -> Result<IncomingCall, UnusableCallback>;

    /// The call that any callback is about.
    ///
    /// # Errors
    /// As [`Self::status_report`].
    fn callback_call(&self, callback: &VerifiedCallback) -> Result<CarrierCallId, UnusableCallback>;

    /// A codec for one media stream.
    fn media_stream_codec(&self) -> Self::Codec;

    /// Numbers on sale, at most `limit`. `contains` are digits; `*` stands for any one of them.
    fn search_numbers(
        &self,
        contains: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<NumberOnSale>, Error>> + Send;

    /// Buys a number under a name of ours, with its calls routed from the first moment on. Returns the carrier's
    /// id of the number.
    fn buy_number(
        &self,
        number: &E164,
        name: &str,
        routing: CallRouting<'_>,
    ) -> impl Future<Output = Result<String, OrderError>> + Send;

    /// The number, if it belongs to the account.
    fn find_number(&self, number: &E164) -> impl Future<Output = Result<Option<OwnedNumber>, Error>> + Send;

    /// The carrier's id of a number, if it was bought under the name of this purchase.
    fn find_purchase(
        &self,
        number: &PhoneNumber,
    ) -> impl Future<Output = Result<Option<String>, Error>> + Send;

    /// Sets where the calls of a number go. `id` is the carrier's id of the number. False if the account does
    /// not have it.
    fn route_number(
        &self,
        id: &str,
        routing: CallRouting<'_>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Stops a number's calls from coming to us; calls that go elsewhere stay as their owner routed them.
    /// False if they do not come to us, or the account does not have the number.
    fn unroute_number(&self, number: &PhoneNumber) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Gives a number back to the carrier. A purchase that was cut short before the number's id was known is
    /// found by its name. False if the account does not have the number.
    fn release_number(&self, number: &PhoneNumber) -> impl Future<Output = Result<bool, Error>> + Send;
}
