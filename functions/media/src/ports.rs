//! The worker's ports: its carrier, its providers and the customers' webhooks, as traits.
//!
//! Each has one implementation that uses the network, and one in the tests that follows a script without a socket, so
//! that whole calls run on paused time.

use std::{fmt::Debug, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use switchboard_aws::table::TableError;
use switchboard_calls::{Backend, HangUpError};
use switchboard_model::{
    agents,
    catalogue::{self, Chain, Connection},
    conversations::Conversation,
    credentials::OpenCredential,
    deliveries::Attempt,
    egress_policy::EgressPolicy,
    ids::{AccountId, ConversationId},
    time::Timestamp,
};
use switchboard_providers::{
    AnyMediaStream, Providers,
    carrier::{Carrier as _, CarrierCallId, callbacks::CallbackRequest},
    language_model::LanguageModel,
    synthesizer::Synthesizer,
    transcriber::Transcriber,
    webhooks::{WebhookClient, WebhookRequest, WebhookResponse},
};

/// The carrier of the worker's calls.
pub trait CarrierControl: Debug + Send + Sync {
    /// Reads and writes the messages of one media stream.
    fn media_stream_codec(&self) -> AnyMediaStream;

    /// Whether the carrier signed a handshake for a stream of this conversation. `url` is the websocket's as the carrier
    /// was given it.
    fn verify_stream(
        &self,
        url: String,
        headers: HeaderMap,
        key: (AccountId, ConversationId),
    ) -> BoxFuture<'_, Result<bool, TableError>>;

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

    fn verify_stream(
        &self,
        url: String,
        headers: HeaderMap,
        (account, conversation): (AccountId, ConversationId),
    ) -> BoxFuture<'_, Result<bool, TableError>> {
        let request = CallbackRequest { url, headers, body: Bytes::new() };
        async move { switchboard_calls::verify_stream(self, &request, account, conversation).await }.boxed()
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

/// The task that a worker runs in, as ECS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its ARN.
    pub arn: String,
    /// `RUNNING`, or `STOPPED` once the task is to stop.
    pub desired_status: String,
}

impl Task {
    /// Whether the platform is about to stop it.
    pub(crate) fn is_to_stop(&self) -> bool {
        self.desired_status == "STOPPED"
    }
}

/// The platform's description of the task that the worker runs in.
pub trait TaskSource: Debug + Send + Sync {
    /// The task as it is now; none if the worker runs in no task, or the platform does not answer.
    fn task(&self) -> BoxFuture<'_, Option<Task>>;
}

/// The metadata endpoint of ECS.
#[derive(Debug)]
pub struct EcsTask {
    /// Their HTTP client is used.
    pub providers: Providers,
    /// `ECS_CONTAINER_METADATA_URI_V4`; empty outside of ECS.
    pub url: String,
}

impl TaskSource for EcsTask {
    fn task(&self) -> BoxFuture<'_, Option<Task>> {
        async {
            if self.url.is_empty() {
                return None;
            }
            let response = self.providers.http.get(format!("{}/task", self.url)).send().await.ok()?;
            let task: Value = response.json().await.ok()?;
            let text = |name: &str| task[name].as_str().map(str::to_owned);
            Some(Task { arn: text("TaskARN")?, desired_status: text("DesiredStatus")? })
        }
        .boxed()
    }
}

/// Builds the providers of a call. Each role may use a credential of the customer's; without one it uses the
/// deployment's key.
pub trait ProviderSource: Debug + Send + Sync {
    /// Whether the deployment has the keys of a vendor.
    fn has_keys(&self, connection: &Connection) -> bool;

    /// The language models that may serve a call of now whose agent names this one.
    fn language_model_chain(
        &self,
        named: &agents::LanguageModel,
        now: Timestamp,
    ) -> Chain<agents::LanguageModel> {
        catalogue::language_model_chain(named, now.date(), &|connection| self.has_keys(connection))
    }

    /// The transcribers that may serve a call whose agent names this one.
    fn transcriber_chain(&self, named: &agents::Transcriber) -> Chain<agents::Transcriber> {
        catalogue::transcriber_chain(named, &|connection| self.has_keys(connection))
    }

    /// The voices that may serve a call of now in this language whose agent names this one.
    fn voice_chain(&self, named: &agents::Voice, language: &str, now: Timestamp) -> Chain<agents::Voice> {
        catalogue::voice_chain(named, language, now.date(), &|connection| self.has_keys(connection))
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
