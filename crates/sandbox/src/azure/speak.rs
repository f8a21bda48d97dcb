//! Speech synthesis over HTTP.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
    },
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ssml;
use crate::{
    audio,
    faults::{self, Admission, Disruption, Endpoint, Keys},
    speech::{Speech, sentences},
};

/// The beginning of a token; the key that it was issued for follows.
const TOKEN: &str = "sandbox.token.";

/// The state of the synthesis.
struct Server {
    speech: Speech,
    keys: Arc<Keys<Value>>,
    /// Cancelled when the server stops, because a stalled response outlives its request.
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// The routes of the synthesis and of tokens.
pub(super) fn router(speech: Speech, keys: Arc<Keys<Value>>, stop: &CancellationToken) -> Router {
    let stop = stop.child_token();
    let server = Server { speech, keys, _stop_on_drop: stop.clone().drop_guard(), stop };
    Router::new()
        .route("/tts/cognitiveservices/v1", post(speak))
        .route("/tts/cognitiveservices/voices/list", get(voices))
        .route("/sts/v1.0/issueToken", post(issue_token))
        .with_state(Arc::new(server))
}

/// A refusal: a status and a line of text.
type Refusal = (StatusCode, String);

/// The format of the audio: whether it is mu-law, and its rate.
fn format(headers: &HeaderMap) -> Result<(bool, u32), Refusal> {
    let name = headers.get("x-microsoft-outputformat").and_then(|name| name.to_str().ok());
    match name {
        Some("raw-8khz-8bit-mono-mulaw") => Ok((true, 8_000)),
        Some("raw-8khz-16bit-mono-pcm") => Ok((false, 8_000)),
        Some("raw-16khz-16bit-mono-pcm") => Ok((false, 16_000)),
        Some("raw-24khz-16bit-mono-pcm") => Ok((false, 24_000)),
        Some(name) => Err((StatusCode::BAD_REQUEST, format!("Unsupported output format {name}."))),
        None => Err((StatusCode::BAD_REQUEST, "X-Microsoft-OutputFormat is required.".to_owned())),
    }
}

/// The key of a request, or the one that its token was issued for.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name)?.to_str().ok();
    let token = || headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.strip_prefix(TOKEN);
    text("ocp-apim-subscription-key").or_else(token)
}

fn admit(server: &Server, headers: &HeaderMap) -> Result<Option<Disruption>, Refusal> {
    let admission =
        key(headers).map_or(Admission::Unknown, |key| server.keys.admit(key, Some(Endpoint::Speak)));
    match admission {
        Admission::Served(treatment) => Ok(treatment.disruption),
        Admission::Unknown => Err((StatusCode::UNAUTHORIZED, String::new())),
        Admission::Refused => Err((StatusCode::SERVICE_UNAVAILABLE, String::new())),
        Admission::RateLimited => Err((StatusCode::TOO_MANY_REQUESTS, "Quota exceeded.".to_owned())),
    }
}

/// `POST /cognitiveservices/v1`.
async fn speak(State(server): State<Arc<Server>>, headers: HeaderMap, body: String) -> Response {
    match answer(&server, &headers, &body) {
        Ok(response) => response,
        Err((StatusCode::TOO_MANY_REQUESTS, text)) => {
            (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")], text).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn answer(server: &Arc<Server>, headers: &HeaderMap, body: &str) -> Result<Response, Refusal> {
    let disruption = admit(server, headers)?;
    let bad = |text: &str| (StatusCode::BAD_REQUEST, text.to_owned());
    if !headers.contains_key(USER_AGENT) {
        return Err(bad("User-Agent is required."));
    }
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/ssml+xml") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/ssml+xml is required.".to_owned()));
    }
    let (is_mulaw, rate) = format(headers)?;
    let spoken = ssml::read(body).map_err(|text| bad(&text))?;
    // A text without a letter or a digit gives a response without audio.
    let mut texts = sentences(&spoken.text);
    match disruption {
        None => {}
        Some(Disruption::Silent) => texts.clear(),
        Some(_) => texts.truncate(1),
    }
    let server = Arc::clone(server);
    let stop = server.stop.clone();
    let speech = stream::iter(texts).then(move |text| {
        let server = Arc::clone(&server);
        async move {
            let mut samples = server.speech.synthesize_linear(&text, spoken.speed, rate).await?;
            if disruption.is_some() {
                samples.truncate(samples.len() / 2);
            }
            let bytes: Vec<u8> = if is_mulaw {
                samples.into_iter().map(audio::encode).collect()
            } else {
                samples.into_iter().flat_map(i16::to_le_bytes).collect()
            };
            anyhow::Ok(Bytes::from(bytes))
        }
    });
    let kind = if is_mulaw { "audio/basic" } else { "audio/pcm" };
    Ok(([(CONTENT_TYPE, kind)], faults::body(speech, disruption, stop)).into_response())
}

/// `GET /cognitiveservices/voices/list`.
async fn voices(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let is_known =
        key(&headers).is_some_and(|key| !matches!(server.keys.admit(key, None), Admission::Unknown));
    if !is_known {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let voice =
        |name: &&str| json!({"ShortName": name, "Locale": &name[..5], "VoiceType": "Neural", "Status": "GA"});
    Ok(Json(ssml::VOICES.iter().map(voice).collect()))
}

/// `POST /sts/v1.0/issueToken`: a token for a key.
async fn issue_token(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<String, StatusCode> {
    let key = headers.get("ocp-apim-subscription-key").and_then(|key| key.to_str().ok());
    let known = key.filter(|key| !matches!(server.keys.admit(key, None), Admission::Unknown));
    known.map(|key| format!("{TOKEN}{key}")).ok_or(StatusCode::UNAUTHORIZED)
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use axum::{Router, routing::post};
    use tokio::{net::TcpListener, task::JoinSet};
    use tokio_util::sync::CancellationToken;

    use crate::speech::{Speech, local_client};

    const SSML: &str = "<speak version=\"1.0\" xmlns=\"http://www.w3.org/2001/10/synthesis\" xml:lang=\"en-US\">\
        <voice name=\"en-US-JennyNeural\">One sentence is this. Another one is that.</voice></speak>";

    async fn serve(router: Router, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    /// A server whose engine synthesizes half a second for any text.
    async fn server(tasks: &mut JoinSet<()>) -> String {
        let tone: Vec<u8> = [4000_i16, -4000].repeat(6000).into_iter().flat_map(i16::to_le_bytes).collect();
        let engine = serve(Router::new().route("/synthesize", post(async || tone)), tasks).await;
        let speech = Speech::connect(&engine).unwrap();
        let api_key = super::super::API_KEY.to_owned();
        serve(super::super::router(speech, api_key, &CancellationToken::new()), tasks).await
    }

    /// A request with these headers in the place of the right ones; an empty value leaves a header out.
    async fn speak(url: &str, changed: &[(&str, &str)], body: &str) -> (u16, Vec<u8>) {
        let right = [
            ("ocp-apim-subscription-key", super::super::API_KEY),
            ("content-type", "application/ssml+xml"),
            ("user-agent", "test"),
            ("x-microsoft-outputformat", "raw-8khz-8bit-mono-mulaw"),
        ];
        let client = local_client(Duration::from_secs(10)).unwrap();
        let mut request = client.post(format!("{url}/tts/cognitiveservices/v1")).body(body.to_owned());
        for (name, value) in right {
            let value =
                changed.iter().find(|(changed, _)| *changed == name).map_or(value, |(_, value)| value);
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        for (name, value) in changed.iter().filter(|(name, _)| !right.iter().any(|(right, _)| right == name))
        {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn a_document_is_synthesized_without_a_header() {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks).await;
        assert_eq!(speak(&url, &[], SSML).await.1.len(), 8_000, "two sentences of half a second");
        let linear = [("x-microsoft-outputformat", "raw-16khz-16bit-mono-pcm")];
        assert_eq!(speak(&url, &linear, SSML).await.1.len(), 32_000);
        let silent = SSML.replace("One sentence is this. Another one is that.", "!");
        assert_eq!(speak(&url, &[], &silent).await, (200, vec![]));
    }

    #[tokio::test]
    async fn a_request_that_is_not_as_it_should_be_is_refused() {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks).await;
        for (changed, status) in [
            (("ocp-apim-subscription-key", "wrong"), 401),
            (("ocp-apim-subscription-key", ""), 401),
            (("content-type", "text/plain"), 415),
            (("user-agent", ""), 400),
            (("x-microsoft-outputformat", ""), 400),
            (("x-microsoft-outputformat", "raw-8khz-8bit-mono-opus"), 400),
        ] {
            assert_eq!(speak(&url, &[changed], SSML).await.0, status, "{changed:?}");
        }
        let (status, text) = speak(&url, &[], &SSML.replace("Jenny", "Nobody")).await;
        assert_eq!((status, text), (400, b"Unsupported voice en-US-NobodyNeural.".to_vec()));
    }

    #[tokio::test]
    async fn a_token_is_issued_for_a_key_and_accepted() {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks).await;
        let client = local_client(Duration::from_secs(10)).unwrap();
        let issue = |key: &'static str| {
            let request = client.post(format!("{url}/sts/v1.0/issueToken"));
            request.header("ocp-apim-subscription-key", key).send()
        };
        assert_eq!(issue("wrong").await.unwrap().status(), 401);
        let token = issue(super::super::API_KEY).await.unwrap().text().await.unwrap();
        let bearer = format!("Bearer {token}");
        let changed = [("ocp-apim-subscription-key", ""), ("authorization", bearer.as_str())];
        assert_eq!(speak(&url, &changed, SSML).await.0, 200);
    }
}
