//! Gemini's content generation, streamed: `POST {base}/models/{model}:streamGenerateContent?alt=sse`.

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http::header::HeaderValue;
use reqwest::Url;
use switchboard_model::agents::ModelSettings;

use super::{VENDOR, chunks::Chunks, functions, request};
use crate::{
    Providers, Secret, StreamTimeouts, egress,
    endpoints::join,
    language_model::{Conversation, Generation, GenerationEvent, LanguageModel},
    refused_parameters::ServedModel,
    streamed_generation::Opening,
    unusable::Unusable,
};

/// One model, with one key.
#[derive(Debug, Clone)]
pub struct GenerateContent {
    http: reqwest::Client,
    base: Url,
    key: Secret,
    settings: ModelSettings,
    timeouts: StreamTimeouts,
}

impl GenerateContent {
    /// For the configured server and key.
    ///
    /// # Errors
    /// There is no key.
    pub fn new(
        providers: &Providers,
        settings: &ModelSettings,
        timeouts: StreamTimeouts,
    ) -> Result<Self, Unusable> {
        Ok(Self {
            http: providers.http.clone(),
            base: providers.endpoints.of(VENDOR).clone(),
            key: providers.key(VENDOR)?,
            settings: settings.clone(),
            timeouts,
        })
    }

    /// The address of the model. A name may have the vendor's prefix.
    fn url(&self) -> Url {
        let model = self.settings.model.strip_prefix("models/").unwrap_or(&self.settings.model);
        let mut url = join(&self.base, "/models");
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(&format!("{model}:streamGenerateContent"));
        }
        url.set_query(Some("alt=sse"));
        url
    }
}

impl LanguageModel for GenerateContent {
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        let (http, base) = (self.http.clone(), self.base.clone());
        async move { egress::open_ahead(&http, &base).await }.boxed()
    }

    fn generate(&self, conversation: &Conversation<'_>) -> Generation {
        let mut request = self.http.post(self.url());
        if let Ok(mut key) = HeaderValue::from_str(self.key.reveal()) {
            key.set_sensitive(true);
            request = request.header("x-goog-api-key", key);
        }
        let body = request::body(&self.settings, conversation);
        let model = ServedModel::new(&self.base, &self.settings.model);
        let tools = self.settings.tools.clone();
        let generation = Opening::<Chunks>::new(request, body, model, self.timeouts).generation();
        let rename = move |event| match event {
            GenerationEvent::ToolCall(mut call) => {
                call.name = functions::own_name(&tools, call.name);
                GenerationEvent::ToolCall(call)
            }
            other => other,
        };
        generation.map(move |event| event.map(&rename)).boxed()
    }
}
