//! The worker's ports: its carrier, its providers and the customers' webhooks, as traits.
//!
//! Each has one implementation that uses the network, and one in the tests that follows a script without a socket, so
//! that whole calls run on paused time.

use std::{fmt::Debug, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::{FutureExt as _, future::BoxFuture};
use switchboard_calls::{Backend, HangUpError};
use switchboard_model::{
    agents,
    catalogue::{self, Chain, Connection},
    conversations::Conversation,
    credentials::OpenCredential,
    deliveries::Attempt,
    egress_policy::EgressPolicy,
};
use switchboard_providers::{
    AnyMediaStream, Providers,
    carrier::{Carrier as _, CarrierCallId},
    language_model::LanguageModel,
    synthesizer::Synthesizer,
    transcriber::Transcriber,
    webhooks::{WebhookClient, WebhookRequest, WebhookResponse},
};

/// The carrier of the worker's calls.
pub trait CarrierControl: Debug + Send + Sync {
    /// Reads and writes the messages of one media stream.
    fn media_stream_codec(&self) -> AnyMediaStream;

    /// Ends the carrier's call of a conversation, in at most `limit`.
    fn hang_up<'a>(
        &'a self,
        conversation: &'a Conversation,
        call: &'a CarrierCallId,
        limit: Duration,
    ) -> BoxFuture<'a, Result<(), HangUpError>>;
}

impl CarrierControl for Backend {
    fn media_stream_codec(&self) -> AnyMediaStream {
        self.carrier.media_stream_codec()
    }

    fn hang_up<'a>(
        &'a self,
        conversation: &'a Conversation,
        call: &'a CarrierCallId,
        limit: Duration,
    ) -> BoxFuture<'a, Result<(), HangUpError>> {
        switchboard_calls::hang_up(self, conversation, call, limit).boxed()
    }
}

/// Builds the providers of a call. Each role may use a credential of the customer's; without one it uses the
/// deployment's key.
pub trait ProviderSource: Debug + Send + Sync {
    /// Whether the deployment has the keys of a vendor.
    fn has_keys(&self, connection: &Connection) -> bool;

    /// The language models that may serve a call whose agent names this one.
    fn language_model_chain(&self, named: &agents::LanguageModel) -> Chain<agents::LanguageModel> {
        catalogue::language_model_chain(named, &|connection| self.has_keys(connection))
    }

    /// The transcribers that may serve a call whose agent names this one.
    fn transcriber_chain(&self, named: &agents::Transcriber) -> Chain<agents::Transcriber> {
        catalogue::transcriber_chain(named, &|connection| self.has_keys(connection))
    }

    /// The voices that may serve a call in this language whose agent names this one.
    fn voice_chain(&self, named: &agents::Voice, language: &str) -> Chain<agents::Voice> {
        catalogue::voice_chain(named, language, &|connection| self.has_keys(connection))
    }

    /// The language model of this configuration.
    ///
    /// # Errors
    /// The credential cannot be used.
    fn language_model(
        &self,
        configuration: &agents::LanguageModel,
        credential: Option<&OpenCredential>,
    ) -> anyhow::Result<Arc<dyn LanguageModel>>;

    /// The transcriber of this configuration.
    ///
    /// # Errors
    /// The credential cannot be used.
    fn transcriber(
        &self,
        configuration: &agents::Transcriber,
        credential: Option<&OpenCredential>,
    ) -> anyhow::Result<Arc<dyn Transcriber>>;

    /// The voice of this configuration.
    ///
    /// # Errors
    /// The credential cannot be used.
    fn synthesizer(
        &self,
        configuration: &agents::Voice,
        credential: Option<&OpenCredential>,
    ) -> anyhow::Result<Arc<dyn Synthesizer>>;
}

/// The vendors themselves.
#[derive(Debug)]
pub struct VendorProviders {
    /// The clients, with the deployment's own keys.
    pub providers: Providers,
    /// The addresses that a customer's own language model server may have.
    pub egress_policy: EgressPolicy,
}

impl VendorProviders {
    fn with(&self, credential: Option<&OpenCredential>) -> anyhow::Result<Providers> {
        let Some(own) = credential else { return Ok(self.providers.clone()) };
        self.providers.with_credential(own, self.egress_policy).with_context(|| own.credential.id.to_string())
    }
}

impl ProviderSource for VendorProviders {
    fn has_keys(&self, connection: &Connection) -> bool {
        self.providers.has_keys(connection)
    }

    fn language_model(
        &self,
        configuration: &agents::LanguageModel,
        credential: Option<&OpenCredential>,
    ) -> anyhow::Result<Arc<dyn LanguageModel>> {
        Ok(self.with(credential)?.language_model(configuration))
    }

    fn transcriber(
        &self,
        configuration: &agents::Transcriber,
        credential: Option<&OpenCredential>,
    ) -> anyhow::Result<Arc<dyn Transcriber>> {
        Ok(self.with(credential)?.transcriber(configuration))
    }

    fn synthesizer(
        &self,
        configuration: &agents::Voice,
        credential: Option<&OpenCredential>,
    ) -> anyhow::Result<Arc<dyn Synthesizer>> {
        Ok(self.with(credential)?.synthesizer(configuration))
    }
}

/// Calls the webhooks that answer functions.
pub trait WebhookSender: Debug + Send + Sync {
    /// Signs and sends one request, and reports the attempt, with the response if there was one.
    fn send<'a>(&'a self, request: WebhookRequest<'a>) -> BoxFuture<'a, (Attempt, Option<WebhookResponse>)>;
}

impl WebhookSender for WebhookClient {
    fn send<'a>(&'a self, request: WebhookRequest<'a>) -> BoxFuture<'a, (Attempt, Option<WebhookResponse>)> {
        WebhookClient::send(self, request).boxed()
    }
}
