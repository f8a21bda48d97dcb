//! `GET /v1/listen`: the parameters of a live transcription, and its socket.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{
        Query, State,
        ws::{CloseFrame, Message, WebSocketUpgrade, close_code, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Response},
};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use serde::Deserialize;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Refusal, RequestId, Server, messages, parameter,
    session::{Output, Session},
};
use crate::{
    behaviour::{Interruption, Service},
    speech::Speech,
};

/// A stream without audio and `KeepAlive` is closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that does not read for this long is dropped.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Shortest silence that ends an utterance: stop consonants are silent for up to 100 ms.
const SHORTEST_ENDPOINTING: Duration = Duration::from_millis(100);

/// The form of the client's audio, always 8 kHz mono.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Mulaw,
    Linear16,
}

/// What the client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) encoding: Encoding,
    pub(super) interim_results: bool,
    /// Silence that ends an utterance; none: only a request does.
    pub(super) endpointing: Option<Duration>,
    /// Gap after the last word that is reported as `UtteranceEnd`.
    pub(super) utterance_end: Option<Duration>,
    pub(super) vad_events: bool,
    /// Punctuation and capitals.
    pub(super) punctuate: bool,
}

impl Options {
    /// Reads the query as far as this server differs by it; what it does not know is ignored.
    fn parse(query: &[(String, String)]) -> Result<Self, Refusal> {
        let get = |name| parameter(query, name);
        let flag = |name| match get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::parameter(format!("{name} must be true or false"))),
        };
        let millis = |name| match get(name) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(ms) => Ok(Some(Duration::from_millis(ms))),
                Err(_) => Err(Refusal::parameter(format!("{name} must be a number of milliseconds"))),
            },
        };
        let Some(model) = get("model").filter(|model| !model.is_empty()) else {
            return Err(Refusal::parameter("model is required"));
        };
        if model.starts_with("nova-3") && get("keywords").is_some() {
            return Err(Refusal::parameter("keywords are not supported by nova-3: use keyterm"));
        }
        let encoding = match (get("encoding"), get("sample_rate")) {
            (Some("mulaw"), Some("8000")) => Encoding::Mulaw,
            (Some("linear16"), Some("8000")) => Encoding::Linear16,
            (Some("mulaw" | "linear16"), _) => return Err(Refusal::parameter("sample_rate must be 8000")),
            _ => return Err(Refusal::parameter("encoding must be mulaw or linear16")),
        };
        if !matches!(get("channels"), None | Some("1")) {
            return Err(Refusal::parameter("channels must be 1"));
        }
        let endpointing = match get("endpointing") {
            Some("false") => None,
            Some(_) => millis("endpointing")?,
            None => Some(Duration::from_millis(10)),
        };
        let interim_results = flag("interim_results")?;
        let utterance_end = millis("utterance_end_ms")?;
        if utterance_end.is_some_and(|gap| gap < Duration::from_secs(1) || !interim_results) {
            let message = "utterance_end_ms must be at least 1000 and needs interim_results=true";
            return Err(Refusal::parameter(message));
        }
        Ok(Self {
            encoding,
            interim_results,
            endpointing: endpointing.map(|silence| silence.max(SHORTEST_ENDPOINTING)),
            utterance_end,
            vad_events: flag("vad_events")?,
            punctuate: flag("punctuate")? | flag("smart_format")?,
        })
    }
}

/// The route.
pub(super) async fn listen(
    State(server): State<Arc<Server>>,
    Extension(id): Extension<RequestId>,
    Extension(service): Extension<Service>,
    Query(query): Query<Vec<(String, String)>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let options = match Options::parse(&query) {
        Ok(options) => options,
        Err(refusal) => return refusal.with(&id),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(1 << 20).max_frame_size(1 << 20),
        Err(rejection) => return rejection.into_response(),
    };
    let (speech, stop) = (server.speech.clone(), server.stop.clone());
    upgrade.on_upgrade(async move |socket| {
        let (mut sink, mut stream) = socket.split();
        let closed = if service.interruption == Some(Interruption::Silent) {
            ignore(&mut stream, &stop).await;
            None
        } else {
            let session = Session::new(options, id.0);
            run(session, &speech, service.interruption, &mut stream, &mut sink, &stop).await
        };
        // Without a close the connection is cut.
        if let Some(close) = closed {
            // The client may be gone already; then there is nobody to tell.
            drop(timeout(SEND_TIMEOUT, sink.send(Message::Close(Some(close)))).await);
        }
    })
}

/// A text message of the client.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Control {
    KeepAlive,
    Finalize,
    CloseStream,
    /// Answered by nothing: key terms make no difference to the engine.
    Configure,
}

/// Reads what the client sends until it leaves, and says nothing.
async fn ignore<E>(stream: &mut (impl Stream<Item = Result<Message, E>> + Unpin), stop: &CancellationToken) {
    stop.run_until_cancelled(async { while let Some(Ok(_)) = stream.next().await {} }).await;
}

/// Moves messages between the socket, the session and the engine. The close to send, if the client is there
/// and no interruption has come before the first words.
async fn run<E>(
    mut session: Session,
    speech: &Speech,
    interruption: Option<Interruption>,
    stream: &mut (impl Stream<Item = Result<Message, E>> + Unpin),
    sink: &mut (impl Sink<Message> + Unpin),
    stop: &CancellationToken,
) -> Option<CloseFrame> {
    let mut decodes = JoinSet::new();
    let mut deadline = Instant::now() + IDLE_TIMEOUT;
    let mut out = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Some(close(close_code::AWAY, "the server stops")),
            Some(done) = decodes.join_next() => match done {
                Ok(Ok(text)) => session.decoded(text, &mut out),
                _ => return Some(close(close_code::ERROR, "NET-0000: the speech engine failed")),
            },
            message = timeout_at(deadline, stream.next()) => match message {
                Err(_) => {
                    let reason = "NET-0001: no audio or KeepAlive within the timeout window";
                    return Some(close(close_code::ERROR, reason));
                }
                Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => return None,
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(Some(Ok(Message::Binary(bytes)))) => {
                    deadline = Instant::now() + IDLE_TIMEOUT;
                    if bytes.is_empty() {
                        session.close(&mut out);
                    } else {
                        session.audio(&bytes, &mut out);
                    }
                }
                Ok(Some(Ok(Message::Text(text)))) => {
                    let Ok(control) = serde_json::from_str(&text) else {
                        let error = Message::text(messages::schema_error().to_string());
                        drop(timeout(SEND_TIMEOUT, sink.send(error)).await);
                        return Some(close(close_code::POLICY, "DATA-0000: the message is not understood"));
                    };
                    deadline = Instant::now() + IDLE_TIMEOUT;
                    match control {
                        Control::KeepAlive | Control::Configure => {}
                        Control::Finalize => session.finalize(&mut out),
                        Control::CloseStream => session.close(&mut out),
                    }
                }
            },
        }
        for output in out.drain(..) {
            match output {
                Output::Send(message) if interruption.is_some() && messages::has_words(&message) => {
                    if interruption != Some(Interruption::Break) {
                        ignore(stream, stop).await;
                    }
                    return None;
                }
                Output::Send(message) => {
                    if let Some(load) = speech.load() {
                        load.transcribed(&message);
                    }
                    let sent = timeout(SEND_TIMEOUT, sink.send(Message::text(message.to_string()))).await;
                    let Ok(Ok(())) = sent else { return None };
                }
                Output::Decode(audio) => {
                    let speech = speech.clone();
                    decodes.spawn(async move { speech.transcribe(&audio).await });
                }
                Output::Close => return Some(close(close_code::NORMAL, "")),
            }
        }
    }
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use axum::Error;
    use futures_util::{sink, stream};

    use super::*;

    fn parse(query: &str) -> Result<Options, String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<(String, String)> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Options::parse(&pairs).map_err(|refusal| refusal.message)
    }

    const TELEPHONE: &str = "model=nova-3&encoding=mulaw&sample_rate=8000";

    #[test]
    fn what_is_not_asked_for_is_off_and_endpointing_is_short() {
        let expected = Options {
            encoding: Encoding::Mulaw,
            interim_results: false,
            endpointing: Some(SHORTEST_ENDPOINTING),
            utterance_end: None,
            vad_events: false,
            punctuate: false,
        };
        assert_eq!(parse(TELEPHONE).unwrap(), expected);
    }

    #[test]
    fn an_agents_parameters_are_understood() {
        let query = "&channels=1&language=en-US&interim_results=true&endpointing=300&utterance_end_ms=1000\
                     &vad_events=true&smart_format=true&keyterm=Ada&keyterm=bakery&unknown=1";
        let expected = Options {
            encoding: Encoding::Mulaw,
            interim_results: true,
            endpointing: Some(Duration::from_millis(300)),
            utterance_end: Some(Duration::from_secs(1)),
            vad_events: true,
            punctuate: true,
        };
        assert_eq!(parse(&format!("{TELEPHONE}{query}")).unwrap(), expected);
        assert_eq!(parse(&format!("{TELEPHONE}&endpointing=false")).unwrap().endpointing, None);
    }

    #[test]
    fn wrong_parameters_are_refused_with_their_name() {
        let wrong = [
            ("encoding=mulaw&sample_rate=8000", "model"),
            ("model=nova-3", "encoding"),
            ("model=nova-3&encoding=opus", "encoding"),
            ("model=nova-3&encoding=mulaw", "sample_rate"),
            ("model=nova-3&encoding=mulaw&sample_rate=16000", "sample_rate"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&channels=2", "channels"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&endpointing=soon", "endpointing"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&interim_results=1", "interim_results"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&utterance_end_ms=1000", "utterance_end_ms"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&keywords=Ada:2", "keywords"),
        ];
        for (query, name) in wrong {
            let message = parse(query).unwrap_err();
            assert!(message.starts_with(name), "{query}: {message}");
        }
        let query = format!("{TELEPHONE}&interim_results=true&utterance_end_ms=999");
        assert!(parse(&query).unwrap_err().starts_with("utterance_end_ms"));
    }

    /// How a stream of these messages, and then silence on the socket, is closed, and after which time.
    async fn closed(messages: Vec<(Duration, Message)>) -> (u16, String, Duration) {
        let session = Session::new(parse(TELEPHONE).unwrap(), "r1".to_owned());
        let speech = Speech::connect("http://127.0.0.1:9").unwrap();
        let stream = stream::iter(messages).then(async |(wait, message)| {
            tokio::time::sleep(wait).await;
            Ok::<_, Error>(message)
        });
        let mut stream = Box::pin(stream.chain(stream::pending()));
        let mut sink = Box::pin(sink::drain());
        let started = Instant::now();
        let stop = CancellationToken::new();
        let close = run(session, &speech, None, &mut stream, &mut sink, &stop).await.unwrap();
        (close.code, close.reason.to_string(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_audio_is_closed_after_ten_seconds() {
        let (code, reason, after) = closed(vec![]).await;
        assert_eq!((code, after), (1011, Duration::from_secs(10)));
        assert!(reason.starts_with("NET-0001"), "{reason}");
    }

    #[tokio::test(start_paused = true)]
    async fn keep_alive_and_audio_keep_a_stream_open_and_pings_do_not() {
        let wait = Duration::from_secs(6);
        let keep_alive = Message::text(r#"{"type":"KeepAlive"}"#);
        let audio = Message::binary(vec![crate::audio::SILENCE; 160]);
        let ping = Message::Ping(bytes::Bytes::new());
        let (code, _, after) = closed(vec![(wait, keep_alive), (wait, audio), (wait, ping)]).await;
        assert_eq!((code, after), (1011, Duration::from_secs(22)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_binary_message_ends_the_stream_like_close_stream() {
        for end in [Message::binary(vec![]), Message::text(r#"{"type":"CloseStream"}"#)] {
            let (code, _, after) = closed(vec![(Duration::ZERO, end)]).await;
            assert_eq!((code, after), (1000, Duration::ZERO));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_not_understood_ends_the_stream() {
        let (code, reason, _) = closed(vec![(Duration::ZERO, Message::text("hello"))]).await;
        assert_eq!(code, 1008);
        assert!(reason.starts_with("DATA-0000"), "{reason}");
    }
}
