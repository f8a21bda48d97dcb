//! The carrier that a deployment uses, chosen at run time: one variant per carrier.
//!
//! Decides nothing; [`Carrier`] says what each method does.

use switchboard_model::{
    phone_numbers::{CarrierAccount, E164, PhoneNumber},
    time::Timestamp,
};

use crate::{
    Error, Providers,
    audio::AudioFormat,
    carrier::{
        Carrier, CarrierCallId, CarrierName, InvalidCarrierCallId,
        callbacks::{
            CallbackRequest, DetectionReport, IncomingCall, StatusReport, StreamReport, UnusableCallback,
            VerifiedCallback,
        },
        calls::{CarrierCall, OrderError, PlaceCall},
        documents::{CallDocument, Instructions},
        media_stream::{InboundFrame, MalformedFrame, MediaStreamCodec},
        numbers::{CallRouting, NumberOnSale, OwnedNumber},
    },
    twilio::{Twilio, TwilioMediaStream},
    web::WebMediaStream,
};

/// One account at any of the carriers.
#[derive(Debug, Clone)]
pub enum AnyCarrier {
    /// An account at Twilio.
    Twilio(Twilio),
}

/// The media stream of any of the carriers, or of a browser.
#[derive(Debug)]
pub enum AnyMediaStream {
    /// A stream of Twilio's.
    Twilio(TwilioMediaStream),
    /// A stream of a browser's.
    Web(WebMediaStream),
}

impl AnyCarrier {
    /// The deployment's own account.
    #[must_use]
    pub fn new(providers: &Providers) -> Self {
        Self::Twilio(Twilio::new(providers))
    }
}

impl Carrier for AnyCarrier {
    type Codec = AnyMediaStream;

    fn name(&self) -> CarrierName {
        match self {
            Self::Twilio(twilio) => twilio.name(),
        }
    }

    fn through_own(&self, account: &CarrierAccount) -> Self {
        match self {
            Self::Twilio(twilio) => Self::Twilio(twilio.through_own(account)),
        }
    }

    fn call_id(&self, text: &str) -> Result<CarrierCallId, InvalidCarrierCallId> {
        match self {
            Self::Twilio(twilio) => twilio.call_id(text),
        }
    }

    async fn place(&self, call: PlaceCall<'_>) -> Result<CarrierCallId, OrderError> {
        match self {
            Self::Twilio(twilio) => twilio.place(call).await,
        }
    }

    async fn hang_up(&self, call: &CarrierCallId) -> Result<(), Error> {
        match self {
            Self::Twilio(twilio) => twilio.hang_up(call).await,
        }
    }

    async fn redirect(&self, call: &CarrierCallId, url: &str) -> Result<bool, Error> {
        match self {
            Self::Twilio(twilio) => twilio.redirect(call, url).await,
        }
    }

    async fn fetch(&self, call: &CarrierCallId) -> Result<Option<CarrierCall>, Error> {
        match self {
            Self::Twilio(twilio) => twilio.fetch(call).await,
        }
    }

    async fn find(
        &self,
        to: &E164,
        from: &E164,
        since: Timestamp,
    ) -> Result<Vec<(CarrierCallId, CarrierCall)>, Error> {
        match self {
            Self::Twilio(twilio) => twilio.find(to, from, since).await,
        }
    }

    fn document(&self, instructions: &Instructions<'_>) -> CallDocument {
        match self {
            Self::Twilio(twilio) => twilio.document(instructions),
        }
    }

    async fn reread_credentials(&self) -> bool {
        match self {
            Self::Twilio(twilio) => twilio.reread_credentials().await,
        }
    }

    fn verify(&self, request: &CallbackRequest) -> Option<VerifiedCallback> {
        match self {
            Self::Twilio(twilio) => twilio.verify(request),
        }
    }

    fn claimed_number(&self, request: &CallbackRequest) -> Option<E164> {
        match self {
            Self::Twilio(twilio) => twilio.claimed_number(request),
        }
    }

    fn status_report(&self, callback: &VerifiedCallback) -> Result<StatusReport, UnusableCallback> {
        match self {
            Self::Twilio(twilio) => twilio.status_report(callback),
        }
    }

    fn detection_report(&self, callback: &VerifiedCallback) -> Result<DetectionReport, UnusableCallback> {
        match self {
            Self::Twilio(twilio) => twilio.detection_report(callback),
        }
    }

    fn stream_report(&self, callback: &VerifiedCallback) -> Result<StreamReport, UnusableCallback> {
        match self {
            Self::Twilio(twilio) => twilio.stream_report(callback),
        }
    }

    fn incoming_call(&self, callback: &VerifiedCallback) -> Result<IncomingCall, UnusableCallback> {
        match self {
            Self::Twilio(twilio) => twilio.incoming_call(callback),
        }
    }

    fn callback_call(&self, callback: &VerifiedCallback) -> Result<CarrierCallId, UnusableCallback> {
        match self {
            Self::Twilio(twilio) => twilio.callback_call(callback),
        }
    }

    fn media_stream_codec(&self) -> AnyMediaStream {
        match self {
            Self::Twilio(twilio) => AnyMediaStream::Twilio(twilio.media_stream_codec()),
        }
    }

    async fn search_numbers(&self, contains: Option<&str>, limit: usize) -> Result<Vec<NumberOnSale>, Error> {
        match self {
            Self::Twilio(twilio) => twilio.search_numbers(contains, limit).await,
        }
    }

    async fn buy_number(
        &self,
        number: &E164,
        name: &str,
        routing: CallRouting<'_>,
    ) -> Result<String, OrderError> {
        match self {
            Self::Twilio(twilio) => twilio.buy_number(number, name, routing).await,
        }
    }

    async fn find_number(&self, number: &E164) -> Result<Option<OwnedNumber>, Error> {
        match self {
            Self::Twilio(twilio) => twilio.find_number(number).await,
        }
    }

    async fn find_purchase(&self, number: &PhoneNumber) -> Result<Option<String>, Error> {
        match self {
            Self::Twilio(twilio) => twilio.find_purchase(number).await,
        }
    }

    async fn route_number(&self, id: &str, routing: CallRouting<'_>) -> Result<bool, Error> {
        match self {
            Self::Twilio(twilio) => twilio.route_number(id, routing).await,
        }
    }

    async fn unroute_number(&self, number: &PhoneNumber) -> Result<bool, Error> {
        match self {
            Self::Twilio(twilio) => twilio.unroute_number(number).await,
        }
    }

    async fn release_number(&self, number: &PhoneNumber) -> Result<bool, Error> {
        match self {
            Self::Twilio(twilio) => twilio.release_number(number).await,
        }
    }
}

impl MediaStreamCodec for AnyMediaStream {
    fn audio_format(&self) -> AudioFormat {
        match self {
            Self::Twilio(stream) => stream.audio_format(),
            Self::Web(stream) => stream.audio_format(),
        }
    }

    fn parse<'a>(&'a mut self, text: &'a str) -> Result<InboundFrame<'a>, MalformedFrame> {
        match self {
            Self::Twilio(stream) => stream.parse(text),
            Self::Web(stream) => stream.parse(text),
        }
    }

    fn media(&mut self, audio: &[u8]) -> &str {
        match self {
            Self::Twilio(stream) => stream.media(audio),
            Self::Web(stream) => stream.media(audio),
        }
    }

    fn mark(&mut self, name: &str) -> &str {
        match self {
            Self::Twilio(stream) => stream.mark(name),
            Self::Web(stream) => stream.mark(name),
        }
    }

    fn clear(&mut self) -> &str {
        match self {
            Self::Twilio(stream) => stream.clear(),
            Self::Web(stream) => stream.clear(),
        }
    }
}
