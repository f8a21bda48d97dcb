//! Scripted providers: a transcriber, a language model and a voice that follow the test's script, without a socket.

use std::{
    collections::VecDeque,
    fmt,
    future::ready,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use serde_json::Value;
use switchboard_providers::{
    Error,
    audio::AudioFormat,
    language_model::{
        self, ChatMessage, Conversation, FinishReason, Generation, GenerationEvent, LanguageModel, ToolCall,
    },
    synthesizer::{self, CallContext, SpeechEvent, SpeechStream, Synthesizer, VoiceSession},
    transcriber::{AudioSink, Transcriber, TranscriberSession, TranscriptEvent},
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{sleep, timeout},
};

use crate::support::{
    TEST_TIMEOUT,
    scripts::{Response, VoiceFault},
    tone,
};

/// Time until a stream breaks that is scripted to break.
const BREAK_DELAY: Duration = Duration::from_millis(50);
/// Time between two events of a recorded voice.
const RECORDED_EVENT: Duration = Duration::from_millis(40);
/// Maximum audio in one event of the voice: 250 ms.
const CHUNK: usize = 2_000;

/// The requests that the providers received.
#[derive(Clone, Default)]
pub(crate) struct Requests {
    /// The messages of each generation, each with its role and content.
    pub(crate) generations: Vec<Vec<(String, String)>>,
    /// The clauses, in the order in which they were requested.
    pub(crate) clauses: Vec<String>,
    /// Bytes of audio in all sessions of the transcriber.
    pub(crate) audio_bytes: u64,
    /// The audio of each session of the transcriber, in the order in which they were opened.
    pub(crate) session_audio: Vec<Vec<u8>>,
    /// Sessions of the transcriber that are open now.
    pub(crate) open_sessions: usize,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audio: Vec<_> = self.session_audio.iter().map(Vec::len).collect();
        let last: Vec<_> = self.generations.iter().filter_map(|messages| messages.last()).collect();
        f.debug_struct("Requests")
            .field("generations", &last)
            .field("clauses", &self.clauses)
            .field("session_audio", &audio)
            .field("open_sessions", &self.open_sessions)
            .finish_non_exhaustive()
    }
}

/// The providers of one test.
#[derive(Clone)]
pub(crate) struct ScriptedProviders(pub(super) Arc<Script>);

pub(super) struct Script {
    requests: watch::Sender<Requests>,
    responses: Mutex<VecDeque<Response>>,
    /// Events for all sessions of the transcriber.
    transcripts: broadcast::Sender<Vec<TranscriptEvent>>,
    /// Whether the transcriber serves.
    is_open: watch::Sender<bool>,
    /// The number of times that all sessions were broken.
    breaks: watch::Sender<u32>,
    /// Errors of the next handshakes.
    refusals: Mutex<VecDeque<u16>>,
    voice_faults: Mutex<VecDeque<VoiceFault>>,
    pub(super) bytes_per_character: usize,
    /// The providers that stand in for these ones.
    pub(super) stand_in: OnceLock<ScriptedProviders>,
    /// Whether the deployment has keys for the stand-ins only.
    pub(super) has_lost_keys: AtomicBool,
    /// Whether the transcriber and the voice take a browser's audio too.
    has_wideband: AtomicBool,
    recorded_voice: Mutex<Option<Box<dyn RecordedVoice>>>,
}

/// The events of clauses that another voice has spoken.
pub(crate) trait RecordedVoice: fmt::Debug + Send {
    /// All events of a clause.
    fn speak(&self, clause: &str) -> Vec<SpeechEvent>;
}

impl ScriptedProviders {
    /// With a voice that takes this many bytes (eighths of a millisecond) for a character.
    pub(crate) fn new(bytes_per_character: usize) -> Self {
        Self(Arc::new(Script {
            requests: watch::Sender::default(),
            responses: Mutex::default(),
            transcripts: broadcast::Sender::new(16),
            is_open: watch::Sender::new(true),
            breaks: watch::Sender::default(),
            refusals: Mutex::default(),
            voice_faults: Mutex::default(),
            bytes_per_character,
            recorded_voice: Mutex::default(),
            stand_in: OnceLock::new(),
            has_lost_keys: AtomicBool::new(false),
            has_wideband: AtomicBool::new(false),
        }))
    }

    /// Lets the transcriber and the voice take a browser's audio.
    pub(crate) fn allow_wideband(&self) {
        self.0.has_wideband.store(true, Ordering::Relaxed);
    }

    /// Speaks all clauses from now on as another voice has spoken them.
    pub(crate) fn speak_with(&self, voice: impl RecordedVoice + 'static) {
        *self.0.recorded_voice.lock().unwrap() = Some(Box::new(voice));
    }

    /// Queues a response of the language model. Without one it fails.
    pub(crate) fn respond_with(&self, response: Response) {
        self.0.responses.lock().unwrap().push_back(response);
    }

    /// Waits for a session of the transcriber, and has it transcribe a whole turn.
    pub(crate) async fn transcribe(&self, words: &str) {
        self.until("a session of the transcriber", |requests| requests.open_sessions > 0).await;
        self.send_transcript(words, true, None, true);
    }

    /// Like [`transcribe`](Self::transcribe), with an interim transcript.
    pub(crate) async fn transcribe_interim(&self, words: &str) {
        self.until("a session of the transcriber", |requests| requests.open_sessions > 0).await;
        self.send_transcript(words, false, None, false);
    }

    /// Has all sessions send a final transcript whose last word ends there in the session's audio.
    pub(crate) fn transcribe_until(&self, words: &str, end: Duration, is_turn: bool) {
        self.send_transcript(words, true, Some(end), is_turn);
    }

    fn send_transcript(&self, text: &str, is_final: bool, words_end: Option<Duration>, is_turn: bool) {
        let mut events = vec![TranscriptEvent::Transcript { text: text.to_owned(), is_final, words_end }];
        events.extend(is_turn.then_some(TranscriptEvent::TurnEnded));
        // Without a session it is lost.
        let _ = self.0.transcripts.send(events);
    }

    /// Breaks the connections of all sessions of the transcriber.
    pub(crate) fn break_sessions(&self) {
        self.0.breaks.send_modify(|breaks| *breaks += 1);
    }

    /// Refuses the next handshake of the transcriber with this status.
    pub(crate) fn refuse_session(&self, status: u16) {
        self.0.refusals.lock().unwrap().push_back(status);
    }

    /// Ends all sessions of the transcriber, and refuses all others.
    pub(crate) fn close_transcriber(&self) {
        self.0.is_open.send_replace(false);
    }

    /// Queues a fault of the voice.
    pub(crate) fn fail_voice(&self, fault: VoiceFault) {
        self.0.voice_faults.lock().unwrap().push_back(fault);
    }

    /// Waits until the requests are as expected.
    pub(crate) async fn until(&self, expected: &str, is_so: impl FnMut(&Requests) -> bool) {
        let mut requests = self.0.requests.subscribe();
        let waited = timeout(TEST_TIMEOUT, requests.wait_for(is_so)).await.is_ok();
        assert!(waited, "not received: {expected}; but {:?}", self.requests());
    }

    pub(crate) fn requests(&self) -> Requests {
        self.0.requests.borrow().clone()
    }

    /// The messages of the last generation, each with its role and content.
    pub(crate) fn last_messages(&self) -> Vec<(String, String)> {
        self.requests().generations.last().unwrap().clone()
    }
}

impl fmt::Debug for ScriptedProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScriptedProviders")
    }
}

fn unavailable(vendor: &'static str, reason: impl Into<String>) -> Error {
    Error::Unavailable { vendor, reason: reason.into(), retry_after: None, source: None }
}

fn silent(vendor: &'static str, limit: Duration) -> Error {
    unavailable(vendor, format!("it sent nothing for {} ms", limit.as_millis()))
}

impl Transcriber for ScriptedProviders {
    fn connect_for(
        &self,
        format: AudioFormat,
    ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
        let script = Arc::clone(&self.0);
        async move {
            let format =
                if script.has_wideband.load(Ordering::Relaxed) { format } else { AudioFormat::TELEPHONE };
            let refusal = if *script.is_open.borrow() {
                script.refusals.lock().unwrap().pop_front()
            } else {
                Some(503)
            };
            match refusal {
                None => {}
                Some(status @ (401 | 403)) => {
                    let (code, message) = (status.to_string(), "Invalid credentials.".to_owned());
                    return Err(Error::Rejected { vendor: "deepgram", code, message });
                }
                Some(status) => {
                    let reason = format!("it answered the handshake with {status}");
                    let retry_after = Some(Duration::from_secs(1));
                    return Err(Error::Unavailable { vendor: "deepgram", reason, retry_after, source: None });
                }
            }
            let (sink, frames) = AudioSink::new("deepgram");
            Ok((sink.of_format(format), Session::open(script, format, frames).events()))
        }
        .boxed()
    }
}

/// An open session of the transcriber. Dropping it closes it.
struct Session {
    script: Arc<Script>,
    place: usize,
    bytes: u64,
    format: AudioFormat,
    frames: mpsc::Receiver<Bytes>,
    transcripts: broadcast::Receiver<Vec<TranscriptEvent>>,
    breaks: watch::Receiver<u32>,
    is_open: watch::Receiver<bool>,
}

impl Session {
    fn open(script: Arc<Script>, format: AudioFormat, frames: mpsc::Receiver<Bytes>) -> Self {
        let mut place = 0;
        script.requests.send_modify(|requests| {
            place = requests.session_audio.len();
            requests.session_audio.push(vec![]);
            requests.open_sessions += 1;
        });
        let transcripts = script.transcripts.subscribe();
        let (breaks, is_open) = (script.breaks.subscribe(), script.is_open.subscribe());
        Self { script, place, bytes: 0, format, frames, transcripts, breaks, is_open }
    }

    fn events(self) -> TranscriberSession {
        let batches = stream::unfold(Some(self), async |session| {
            let mut session = session?;
            let (events, is_over) = session.next().await;
            Some((stream::iter(events), (!is_over).then_some(session)))
        });
        batches.flatten().boxed()
    }

    /// The next events, and whether they are the last.
    async fn next(&mut self) -> (Vec<Result<TranscriptEvent, Error>>, bool) {
        loop {
            tokio::select! {
                biased;
                _ = self.breaks.changed() => return self.broken("the connection was lost"),
                () = closed(&mut self.is_open) => return self.broken("NET-0000 (1011)"),
                frame = self.frames.recv() => match frame {
                    Some(audio) => {
                        self.bytes += audio.len() as u64;
                        let place = self.place;
                        self.script.requests.send_modify(|requests| {
                            requests.audio_bytes += audio.len() as u64;
                            requests.session_audio[place].extend_from_slice(&audio);
                        });
                    }
                    None => return (vec![Ok(self.usage(false))], true),
                },
                Ok(events) = self.transcripts.recv() => {
                    return (events.into_iter().map(Ok).collect(), false);
                }
            }
        }
    }

    fn broken(&self, reason: &str) -> (Vec<Result<TranscriptEvent, Error>>, bool) {
        (vec![Ok(self.usage(true)), Err(unavailable("deepgram", reason))], true)
    }

    fn usage(&self, estimated: bool) -> TranscriptEvent {
        TranscriptEvent::Usage { audio: self.format.duration_of(self.bytes), estimated }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.script.requests.send_modify(|requests| requests.open_sessions -= 1);
    }
}

impl LanguageModel for ScriptedProviders {
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn generate(&self, conversation: &Conversation<'_>) -> Generation {
        let prompt = conversation.prompt.map(|prompt| ("system".to_owned(), prompt.to_owned()));
        let messages = prompt.into_iter().chain(conversation.messages.iter().map(role_and_content)).collect();
        let script = Arc::clone(&self.0);
        // A request is sent when its generation is polled.
        let events = stream::once(async move {
            script.requests.send_modify(|requests| requests.generations.push(messages));
            let response = script.responses.lock().unwrap().pop_front();
            respond(response.unwrap_or(Response::Failure))
        });
        events.flatten().boxed()
    }
}

fn role_and_content(message: &ChatMessage) -> (String, String) {
    let (role, content) = match message {
        ChatMessage::User(text) => ("user", text.clone()),
        ChatMessage::Agent(text) => ("assistant", text.clone()),
        ChatMessage::System(text) => ("system", text.clone()),
        ChatMessage::ToolCalls(_) => ("assistant", String::new()),
        ChatMessage::ToolResult { content, .. } => ("tool", content.clone()),
    };
    (role.to_owned(), content)
}

#[expect(clippy::needless_pass_by_value, reason = "each response is used once")]
fn respond(response: Response) -> BoxStream<'static, Result<GenerationEvent, Error>> {
    let words =
        |words: &'static str| words.split_inclusive(' ').map(|word| GenerationEvent::Text(word.into()));
    let failed = |error| stream::iter([Err(error)]).boxed();
    let limits = language_model::TIMEOUTS;
    match response {
        Response::Words(text) => {
            stream::iter(words(text).chain(finished(FinishReason::Stop)).map(Ok)).boxed()
        }
        Response::Call(text, function) => called(words(text).collect(), &[function]),
        Response::Calls(text, functions) => called(words(text).collect(), functions),
        Response::CallWith(name, arguments) => {
            let (name, arguments) = (name.to_owned(), arguments.to_owned());
            let call = ToolCall { id: "call_1".to_owned(), name, arguments, provider_state: None };
            let events =
                [GenerationEvent::ToolCall(call)].into_iter().chain(finished(FinishReason::ToolCalls));
            stream::iter(events.map(Ok).collect::<Vec<_>>()).boxed()
        }
        Response::Silence => later(limits.first, silent("openai", limits.first)),
        Response::Failure => failed(unavailable("openai", "error (500): server_error")),
        Response::Busy => failed(Error::Unavailable {
            vendor: "openai",
            reason: "error (429): too many requests".to_owned(),
            retry_after: Some(Duration::from_secs(1)),
            source: None,
        }),
        Response::Refused => failed(Error::Rejected {
            vendor: "openai",
            code: "401".to_owned(),
            message: "Incorrect API key provided: sk-1234".to_owned(),
        }),
        Response::Broken(text) => {
            let error = unavailable("openai", "the connection was lost");
            stream::iter(words(text).map(Ok)).chain(later(BREAK_DELAY, error)).boxed()
        }
        Response::Stalled(text) => {
            stream::iter(words(text).map(Ok)).chain(later(limits.idle, silent("openai", limits.idle))).boxed()
        }
        Response::Endless(text) => {
            stream::iter(std::iter::repeat_with(move || Ok(GenerationEvent::Text(text.into())))).boxed()
        }
        Response::Dripping(text) => {
            let drip = move || async move {
                sleep(Duration::from_secs(1)).await;
                Some((Ok(GenerationEvent::Text(text.into())), ()))
            };
            stream::unfold((), move |()| drip()).boxed()
        }
        Response::Panic => panic!("a defect, as the test wants it"),
    }
}

fn called(
    words: Vec<GenerationEvent>,
    functions: &[&str],
) -> BoxStream<'static, Result<GenerationEvent, Error>> {
    let calls = functions.iter().enumerate().map(|(index, name)| {
        GenerationEvent::ToolCall(ToolCall {
            id: format!("call_{}", index + 1),
            name: (*name).to_owned(),
            arguments: "{}".to_owned(),
            provider_state: Some(Value::Null),
        })
    });
    let events: Vec<_> =
        words.into_iter().chain(calls).chain(finished(FinishReason::ToolCalls)).map(Ok).collect();
    stream::iter(events).boxed()
}

fn finished(reason: FinishReason) -> [GenerationEvent; 2] {
    let usage = GenerationEvent::Usage {
        input_tokens: 100,
        output_tokens: 10,
        cached_tokens: 0,
        cache_write_tokens: 0,
    };
    [usage, GenerationEvent::Finished(reason)]
}

fn later<T: Send + 'static>(delay: Duration, error: Error) -> BoxStream<'static, Result<T, Error>> {
    stream::once(async move {
        sleep(delay).await;
        Err(error)
    })
    .boxed()
}

impl Synthesizer for ScriptedProviders {
    fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn speaks(&self, format: AudioFormat) -> bool {
        format == AudioFormat::TELEPHONE || self.0.has_wideband.load(Ordering::Relaxed)
    }

    fn open(&self, _call: &CallContext) -> Box<dyn VoiceSession> {
        Box::new(self.clone())
    }
}

impl VoiceSession for ScriptedProviders {
    fn request(&mut self, clause: &str) -> SpeechStream {
        let (script, clause) = (Arc::clone(&self.0), clause.to_owned());
        // See the transcriber's handshake.
        stream::once(async move { speak(&script, &clause) }).flatten().boxed()
    }
}

fn speak(script: &Script, text: &str) -> SpeechStream {
    let characters = text.chars().count();
    let mut place = 0;
    script.requests.send_modify(|requests| {
        place = requests.clauses.len();
        requests.clauses.push(text.to_owned());
    });
    if let Some(voice) = &*script.recorded_voice.lock().unwrap() {
        let events = stream::iter(voice.speak(text)).then(async |event| {
            sleep(RECORDED_EVENT).await;
            Ok(event)
        });
        return events.boxed();
    }
    let count = SpeechEvent::Characters { count: characters as u64, estimated: false };
    let audio = |length: usize| {
        let audio = Bytes::from(vec![tone(place); length]);
        let chunks: Vec<_> = audio.chunks(CHUNK).map(|chunk| audio.slice_ref(chunk)).collect();
        chunks.into_iter().map(SpeechEvent::Audio).map(Ok)
    };
    let begun = |rest: BoxStream<'static, Result<SpeechEvent, Error>>| {
        stream::iter([Ok(count.clone())].into_iter().chain(audio(4_000))).chain(rest).boxed()
    };
    let limits = synthesizer::TIMEOUTS;
    let failed = |error| stream::iter([Err(error)]).boxed();
    let fault = script.voice_faults.lock().unwrap().pop_front();
    match fault {
        None => {}
        Some(VoiceFault::Silent) => return later(limits.first, silent("deepgram", limits.first)),
        Some(VoiceFault::Refused) => return failed(unavailable("deepgram", "503: unavailable")),
        Some(VoiceFault::Busy) => return failed(unavailable("deepgram", "429: too many requests")),
        Some(VoiceFault::Broken) => {
            return begun(later(BREAK_DELAY, unavailable("deepgram", "the connection was lost")));
        }
        Some(VoiceFault::Stalled) => return begun(later(limits.idle, silent("deepgram", limits.idle))),
    }
    // Whole frames of the carrier, so that the tests can count them.
    let length = (characters * script.bytes_per_character).next_multiple_of(160);
    stream::iter([Ok(count.clone())].into_iter().chain(audio(length))).boxed()
}

async fn closed(is_open: &mut watch::Receiver<bool>) {
    // This fails only when the test is over.
    let _ = is_open.wait_for(|is_open| !is_open).await;
}
