//! `OpenAI`'s chat completions, streamed: `POST {base}/chat/completions`.
//!
//! [`ChatCompletions`] makes the request (`request.rs`); `chunks.rs` assembles the events of its response.

use futures_util::{FutureExt, future::BoxFuture};
use http::header::HeaderValue;
use reqwest::Url;
use switchboard_model::agents::ModelSettings;

use super::{
    VENDOR, azure,
    chunks::Chunks,
    request::{self, Dialect},
};
use crate::{
    Providers, Secret, StreamTimeouts, egress,
    endpoints::join,
    language_model::{Conversation, Generation, LanguageModel},
    refused_parameters::ServedModel,
    streamed_generation::Opening,
    unusable::Unusable,
};

/// One model on one server, with one key.
#[derive(Debug, Clone)]
pub struct ChatCompletions {
    http: reqwest::Client,
    base: Url,
    key: Secret,
    settings: ModelSettings,
    dialect: Dialect,
    timeouts: StreamTimeouts,
}

impl ChatCompletions {
    /// For the configured server and key.
    ///
    /// # Errors
    /// There is no key.
    pub fn new(
        providers: &Providers,
        settings: &ModelSettings,
        timeouts: StreamTimeouts,
    ) -> Result<Self, Unusable> {
        let base = providers.endpoints.of(VENDOR).clone();
        Ok(Self {
            http: providers.http.clone(),
            dialect: Dialect::of(&base, providers.endpoints.is_customers(VENDOR), &settings.model),
            base,
            key: providers.key(VENDOR)?,
            settings: settings.clone(),
            timeouts,
        })
    }
}

impl LanguageModel for ChatCompletions {
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        let (http, base) = (self.http.clone(), self.base.clone());
        async move { egress::open_ahead(&http, &base).await }.boxed()
    }

    fn generate(&self, conversation: &Conversation<'_>) -> Generation {
        let request = self.http.post(azure::versioned(join(&self.base, "/chat/completions")));
        let request = match HeaderValue::from_str(self.key.reveal()) {
            Ok(mut key) if azure::is_azure(&self.base) => {
                key.set_sensitive(true);
                request.header("api-key", key)
            }
            _ => request.bearer_auth(self.key.reveal()),
        };
        let body = request::body(&self.settings, conversation, self.dialect);
        let model = ServedModel::new(&self.base, &self.settings.model);
        Opening::<Chunks>::new(request, body, model, self.timeouts).generation()
    }
}
