//! `OpenAI`'s chat completions, streamed: `POST {base}/chat/completions`.
//!
//! [`ChatCompletions`] sends the request and reads the stream; `chunks.rs` assembles its events, `failures.rs`
//! turns what went wrong into an [`Error`].

use std::{collections::VecDeque, time::Duration};

use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use reqwest::Url;
use serde_json::{Map, Value};
use switchboard_model::agents::ModelSettings;
use tokio::time::{Instant, timeout_at};

use super::{
    VENDOR,
    chunks::Chunks,
    failures::{Refused, lost, malformed, refused},
    refused_parameters::{self, ServedModel},
    request::{self, Dialect},
};
use crate::{
    Error, Providers, Secret, StreamTimeouts, egress,
    endpoints::join,
    language_model::{Conversation, Generation, GenerationEvent, LanguageModel},
    refusal::Verdict,
    sse,
    unusable::Unusable,
};

/// Maximum wait for the usage after the last words; servers that send it do so at once.
const USAGE_TIMEOUT: Duration = Duration::from_secs(1);

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
        let opening = Opening {
            request: self.http.post(join(&self.base, "/chat/completions")).bearer_auth(self.key.reveal()),
            body: request::body(&self.settings, conversation, self.dialect),
            model: ServedModel::new(&self.base, &self.settings.model),
            timeouts: self.timeouts,
        };
        stream::once(opening.open()).map_ok(Response::into_stream).try_flatten().boxed()
    }
}

/// A request that is being made.
struct Opening {
    request: reqwest::RequestBuilder,
    body: Map<String, Value>,
    model: ServedModel,
    timeouts: StreamTimeouts,
}

impl Opening {
    /// Sends the request, and again without each optional parameter that the server refuses by name.
    async fn open(self) -> Result<Response, Error> {
        let Self { request, body, model, timeouts } = self;
        let deadline = Instant::now() + timeouts.first;
        let mut refused_now = refused_parameters::of(&model);
        let known = refused_now.len();
        loop {
            let mut body = body.clone();
            request::adapt(&mut body, &refused_now);
            let request = request.try_clone().expect("a request without a body can be cloned").json(&body);
            let response = match timeout_at(deadline, request.send()).await {
                Ok(sent) => sent.map_err(lost)?,
                Err(_) => return Err(Error::silent(VENDOR, timeouts.first)),
            };
            if response.status().is_success() {
                // Only a refusal that was the whole reason is worth remembering.
                if refused_now.len() > known {
                    refused_parameters::remember(model, &refused_now);
                }
                return Ok(Response::new(response, deadline, timeouts));
            }
            let Refused { verdict, error } = refused(response, &request::optional(&body)).await;
            match verdict {
                Verdict::DropParameter(parameter) if !refused_now.contains(&parameter) => {
                    refused_now.push(parameter);
                }
                _ => return Err(error),
            }
        }
    }
}

/// A response that is being read.
#[expect(clippy::struct_field_names, reason = "it is the HTTP response of this one")]
struct Response {
    response: reqwest::Response,
    /// When the next event must be here. Comments that only keep the connection alive do not move it.
    deadline: Instant,
    waiting_for: Duration,
    idle: Duration,
    decoder: sse::Decoder,
    chunks: Chunks,
    ready: VecDeque<Result<GenerationEvent, Error>>,
    over: bool,
    /// The answer of a server that does not stream: one JSON object.
    whole: Option<Vec<u8>>,
    /// Something other than white space came.
    has_begun: bool,
}

/// Maximum size of an answer that is not streamed, in bytes.
const MAX_WHOLE_BYTES: usize = 1 << 20;

impl Response {
    fn new(response: reqwest::Response, deadline: Instant, timeouts: StreamTimeouts) -> Self {
        Self {
            response,
            deadline,
            waiting_for: timeouts.first,
            idle: timeouts.idle,
            decoder: sse::Decoder::default(),
            chunks: Chunks::default(),
            ready: VecDeque::new(),
            over: false,
            whole: None,
            has_begun: false,
        }
    }

    fn into_stream(self) -> impl futures_util::Stream<Item = Result<GenerationEvent, Error>> + Send {
        stream::unfold(self, |mut response| async move {
            loop {
                if let Some(event) = response.ready.pop_front() {
                    return Some((event, response));
                }
                if response.over {
                    return None;
                }
                let mut events = Vec::new();
                let read = response.read(&mut events).await;
                response.ready.extend(events.into_iter().map(Ok));
                if let Err(error) = read {
                    response.over = true;
                    response.ready.push_back(Err(error));
                }
            }
        })
    }

    /// Waits for one chunk of bytes and takes the events it completes.
    async fn read(&mut self, events: &mut Vec<GenerationEvent>) -> Result<(), Error> {
        let chunk = match timeout_at(self.deadline, self.response.chunk()).await {
            Ok(chunk) => chunk,
            // Complete except for its usage, and the server did not close the stream.
            Err(_) if self.chunks.is_complete() => Ok(None),
            Err(_) => return Err(Error::silent(VENDOR, self.waiting_for)),
        };
        let mut data = Vec::new();
        match chunk {
            Ok(Some(bytes)) => self.take(&bytes, &mut data)?,
            Ok(None) => {
                self.over = true;
                match self.whole.take() {
                    Some(whole) => data.push(String::from_utf8_lossy(&whole).into_owned()),
                    None => self.decoder.finish(&mut data).map_err(malformed)?,
                }
            }
            Err(_) if self.chunks.is_complete() => self.over = true,
            Err(error) => return Err(lost(error)),
        }
        for data in &data {
            self.over |= self.chunks.push(data, events)?;
        }
        if self.over {
            return self.chunks.finish(events);
        }
        if !data.is_empty() {
            self.waiting_for =
                if self.chunks.is_complete() { USAGE_TIMEOUT.min(self.idle) } else { self.idle };
            self.deadline = Instant::now() + self.waiting_for;
        }
        Ok(())
    }

    /// Takes bytes of either form. No event stream begins with a brace.
    fn take(&mut self, bytes: &[u8], data: &mut Vec<String>) -> Result<(), Error> {
        if self.whole.is_none() && !self.has_begun {
            let begins_at = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
            self.has_begun = begins_at.is_some();
            if begins_at.is_some_and(|begins_at| bytes[begins_at] == b'{') {
                self.whole = Some(vec![]);
            }
        }
        let Some(whole) = &mut self.whole else { return self.decoder.push(bytes, data).map_err(malformed) };
        if whole.len() + bytes.len() > MAX_WHOLE_BYTES {
            return Err(Error::rejected(VENDOR, "answer_too_long", "its answer is too long"));
        }
        whole.extend_from_slice(bytes);
        Ok(())
    }
}
