//! A generation over HTTP with a streamed response, for every vendor: sends the request, again without what the server
//! refuses by name, and reads the events within the time limits and bounds of one response.
//!
//! A [`Protocol`] says what is in the bodies. It is pure.

use std::{collections::VecDeque, marker::PhantomData, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use crate::{
    Error, StreamTimeouts, egress,
    failures::{self, Refused},
    language_model::{Generation, GenerationEvent},
    refusal::Verdict,
    refused_parameters::{self, ServedModel},
    sse,
};

/// Maximum wait for the usage after the last words; servers that send it do so at once.
const USAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum size of an answer that is not streamed, in bytes.
const MAX_WHOLE_BYTES: usize = 1 << 20;

/// Calls in one response; more than any conversation needs.
pub(crate) const MAX_CALLS: usize = 64;

/// The ids, names and arguments of all calls of one response, in bytes.
pub(crate) const MAX_CALLS_BYTES: usize = 16 * 1024;

/// The state of all calls of one response that the vendor wants back, in bytes. More is not kept.
pub(crate) const MAX_STATE_BYTES: usize = 32 * 1024;

/// A vendor's bodies: the response so far, made of the events of its stream.
pub(crate) trait Protocol: Default + Send + 'static {
    /// The vendor's name in the catalogue.
    const VENDOR: &'static str;

    /// Takes the parameters that the server refuses out of the request's body.
    fn adapt(body: &mut Map<String, Value>, refused: &[&'static str]);

    /// The parameters of the body that the request can do without.
    fn optional(body: &Map<String, Value>) -> Vec<&'static str>;

    /// Judges a status other than 2xx.
    fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8], optional: &[&'static str]) -> Refused {
        failures::refused(Self::VENDOR, status, headers, body, optional)
    }

    /// Takes the `data` of one event. Returns whether it was the last one.
    fn push(&mut self, data: &str, events: &mut Vec<GenerationEvent>) -> Result<bool, Error>;

    /// Whether the response is complete; its usage may still come.
    fn is_complete(&self) -> bool;

    /// Ends the response: releases what is held back, the usage and the reason.
    fn finish(&mut self, events: &mut Vec<GenerationEvent>) -> Result<(), Error>;
}

/// A request that is being made.
pub(crate) struct Opening<P> {
    request: reqwest::RequestBuilder,
    body: Map<String, Value>,
    model: ServedModel,
    timeouts: StreamTimeouts,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Opening<P> {
    /// `request` has no body yet.
    pub(crate) fn new(
        request: reqwest::RequestBuilder,
        body: Map<String, Value>,
        model: ServedModel,
        timeouts: StreamTimeouts,
    ) -> Self {
        Self { request, body, model, timeouts, protocol: PhantomData }
    }

    /// The events; the request is sent when they are first polled.
    pub(crate) fn generation(self) -> Generation {
        stream::once(self.open()).map_ok(Response::<P>::into_stream).try_flatten().boxed()
    }

    /// Sends the request, and again without each optional parameter that the server refuses by name.
    async fn open(self) -> Result<Response<P>, Error> {
        let Self { request, body, model, timeouts, .. } = self;
        let deadline = Instant::now() + timeouts.first;
        let mut refused_now = refused_parameters::of(&model);
        let known = refused_now.len();
        loop {
            let mut body = body.clone();
            P::adapt(&mut body, &refused_now);
            let request = request.try_clone().expect("a request without a body can be cloned").json(&body);
            let response = match timeout_at(deadline, request.send()).await {
                Ok(sent) => sent.map_err(|error| failures::lost(P::VENDOR, error))?,
                Err(_) => return Err(Error::silent(P::VENDOR, timeouts.first)),
            };
            if response.status().is_success() {
                // Only a refusal that was the whole reason is worth remembering.
                if refused_now.len() > known {
                    refused_parameters::remember(model, &refused_now);
                }
                return Ok(Response::new(response, deadline, timeouts));
            }
            let (status, headers) = (response.status(), response.headers().clone());
            let explanation = egress::error_body(response).await;
            let Refused { verdict, error } = P::refused(status, &headers, &explanation, &P::optional(&body));
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
struct Response<P> {
    response: reqwest::Response,
    /// When the next event must be here. Comments that only keep the connection alive do not move it.
    deadline: Instant,
    waiting_for: Duration,
    idle: Duration,
    decoder: sse::Decoder,
    protocol: P,
    ready: VecDeque<Result<GenerationEvent, Error>>,
    over: bool,
    /// The answer of a server that does not stream: one JSON object.
    whole: Option<Vec<u8>>,
    /// Something other than white space came.
    has_begun: bool,
}

impl<P: Protocol> Response<P> {
    fn new(response: reqwest::Response, deadline: Instant, timeouts: StreamTimeouts) -> Self {
        Self {
            response,
            deadline,
            waiting_for: timeouts.first,
            idle: timeouts.idle,
            decoder: sse::Decoder::default(),
            protocol: P::default(),
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
            Err(_) if self.protocol.is_complete() => Ok(None),
            Err(_) => return Err(Error::silent(P::VENDOR, self.waiting_for)),
        };
        let mut data = Vec::new();
        match chunk {
            Ok(Some(bytes)) => self.take(&bytes, &mut data)?,
            Ok(None) => {
                self.over = true;
                match self.whole.take() {
                    Some(whole) => data.push(String::from_utf8_lossy(&whole).into_owned()),
                    None => self
                        .decoder
                        .finish(&mut data)
                        .map_err(|error| failures::malformed(P::VENDOR, error))?,
                }
            }
            Err(_) if self.protocol.is_complete() => self.over = true,
            Err(error) => return Err(failures::lost(P::VENDOR, error)),
        }
        for data in &data {
            self.over |= self.protocol.push(data, events)?;
        }
        if self.over {
            return self.protocol.finish(events);
        }
        if !data.is_empty() {
            self.waiting_for =
                if self.protocol.is_complete() { USAGE_TIMEOUT.min(self.idle) } else { self.idle };
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
        let Some(whole) = &mut self.whole else {
            return self.decoder.push(bytes, data).map_err(|error| failures::malformed(P::VENDOR, error));
        };
        if whole.len() + bytes.len() > MAX_WHOLE_BYTES {
            return Err(failures::too_long(P::VENDOR, "its answer is too long"));
        }
        whole.extend_from_slice(bytes);
        Ok(())
    }
}
