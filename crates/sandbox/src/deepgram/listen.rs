//! `GET /v1/listen`: live transcription over a websocket.

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
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    api::{RequestId, Server},
    messages,
    options::ListenOptions,
    session::{Output, Session},
};
use crate::{
    faults::{Disruption, Habit, Treatment},
    speech::Speech,
};

/// A stream without audio and `KeepAlive` is closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that reads nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The handler of the route.
pub(super) async fn listen(
    State(server): State<Arc<Server>>,
    Extension(id): Extension<RequestId>,
    Extension(service): Extension<Treatment<Value>>,
    Query(query): Query<Vec<(String, String)>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let options = match ListenOptions::parse(&query) {
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
        let closed = if service.disruption == Some(Disruption::Silent) {
            ignore(&mut stream, &stop).await;
            None
        } else {
            let session = Session::new(options, id.0, service.habit == Some(Habit::ManyFinals));
            run(session, &speech, &service, &mut stream, &mut sink, &stop).await
        };
        // Without a close frame the connection is cut.
        if let Some(close) = closed {
            // The client may be gone already.
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
    /// Ignored: key terms make no difference to the engine.
    Configure,
}

/// Reads and ignores everything until the client leaves.
pub(super) async fn ignore<E>(
    stream: &mut (impl Stream<Item = Result<Message, E>> + Unpin),
    stop: &CancellationToken,
) {
    stop.run_until_cancelled(async { while let Some(Ok(_)) = stream.next().await {} }).await;
}

/// Moves messages between the socket, the session and the engine. Returns the close frame to send; `None` if the client
/// is gone, or a disruption was due at the first words.
async fn run<E>(
    mut session: Session,
    speech: &Speech,
    service: &Treatment<Value>,
    stream: &mut (impl Stream<Item = Result<Message, E>> + Unpin),
    sink: &mut (impl Sink<Message> + Unpin),
    stop: &CancellationToken,
) -> Option<CloseFrame> {
    let mut decodes = JoinSet::new();
    let disruption = service.disruption;
    let mut deadline = Instant::now() + IDLE_TIMEOUT;
    let mut has_audio = false;
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
                    has_audio = true;
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
                    // `KeepAlive` bridges a pause; it does not replace the first audio.
                    if has_audio {
                        deadline = Instant::now() + IDLE_TIMEOUT;
                    }
                    match control {
                        Control::KeepAlive | Control::Configure => {}
                        Control::Finalize if service.habit == Some(Habit::NoFinalize) => {}
                        Control::Finalize => session.finalize(&mut out),
                        Control::CloseStream => session.close(&mut out),
                    }
                }
            },
        }
        for output in out.drain(..) {
            match output {
                Output::Send(message) if disruption.is_some() && messages::has_words(&message) => {
                    if disruption != Some(Disruption::Break) {
                        ignore(stream, stop).await;
                    }
                    return None;
                }
                Output::Send(message) => {
                    if let Some(load) = speech.load() {
                        load.record_transcript(&message);
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

    const TELEPHONE: [(&str, &str); 3] =
        [("model", "nova-3"), ("encoding", "mulaw"), ("sample_rate", "8000")];

    fn telephone() -> ListenOptions {
        ListenOptions::parse(&TELEPHONE.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap()
    }

    /// Sends these messages and then nothing; returns how the stream is closed, and after which time.
    async fn closed(messages: Vec<(Duration, Message)>) -> (u16, String, Duration) {
        let session = Session::new(telephone(), "r1".to_owned(), false);
        let speech = Speech::connect("http://127.0.0.1:9").unwrap();
        let stream = stream::iter(messages).then(async |(wait, message)| {
            tokio::time::sleep(wait).await;
            Ok::<_, Error>(message)
        });
        let mut stream = Box::pin(stream.chain(stream::pending()));
        let mut sink = Box::pin(sink::drain());
        let started = Instant::now();
        let stop = CancellationToken::new();
        let close =
            run(session, &speech, &Treatment::default(), &mut stream, &mut sink, &stop).await.unwrap();
        (close.code, close.reason.to_string(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_audio_is_closed_after_ten_seconds() {
        let (code, reason, after) = closed(vec![]).await;
        assert_eq!((code, after), (1011, Duration::from_secs(10)));
        assert!(reason.starts_with("NET-0001"), "{reason}");
    }

    #[tokio::test(start_paused = true)]
    async fn keep_alive_and_audio_keep_a_stream_open_but_pings_do_not() {
        let wait = Duration::from_secs(6);
        let keep_alive = Message::text(r#"{"type":"KeepAlive"}"#);
        let audio = Message::binary(vec![crate::audio::SILENCE; 160]);
        let ping = Message::Ping(bytes::Bytes::new());
        let (code, _, after) = closed(vec![(wait, audio), (wait, keep_alive.clone()), (wait, ping)]).await;
        assert_eq!((code, after), (1011, Duration::from_secs(22)));
        let (code, _, after) = closed(vec![(wait, keep_alive.clone()), (wait, keep_alive)]).await;
        assert_eq!((code, after), (1011, Duration::from_secs(10)), "without any audio");
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_binary_message_ends_the_stream_like_close_stream() {
        for end in [Message::binary(vec![]), Message::text(r#"{"type":"CloseStream"}"#)] {
            let (code, _, after) = closed(vec![(Duration::ZERO, end)]).await;
            assert_eq!((code, after), (1000, Duration::ZERO));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_message_ends_the_stream() {
        let (code, reason, _) = closed(vec![(Duration::ZERO, Message::text("hello"))]).await;
        assert_eq!(code, 1008);
        assert!(reason.starts_with("DATA-0000"), "{reason}");
    }
}
