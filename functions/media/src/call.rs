//! One call: lets the carrier's stream in, then moves bytes between it, the providers and the
//! dialogue engine until the engine says that it is over.
//!
//! One task owns everything here. It never waits for a provider or the table: their work comes back
//! as inputs, and what cannot be taken at once is dropped or ends the call.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use aws::{store::Outcome, system};
use axum::extract::ws::WebSocket;
use bytes::{Bytes, BytesMut};
use domain::{
    accounts::sha256_hex,
    agents::AgentConfig,
    conversations::{EndedReason, NotPossible, Snapshot},
    costs::Usage,
    dialogue::{CallTime, Clause, Engine, Happening, Input, Output, Request, Settings},
    events::{self, EventName},
    substitutions::{self, Serving},
    time::Timestamp,
};
use futures_util::{Stream, StreamExt, stream::SelectAll};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use vendors::{
    language_models::{self, Answer, ModelEvent},
    twilio::CallSid,
    voices::{SpeechEvent, Synthesizer},
};

use crate::{
    Worker,
    carrier::{Carrier, FromCarrier, StreamStart},
    conversation_log,
    estimate::Estimate,
    hearing::{Ears, Heard},
    journal::{Address, Ending, Journal},
    keeper::Keeper,
    recorder::Recorder,
};

/// How long the carrier may take to say which call a stream belongs to.
const START: Duration = Duration::from_secs(10);
/// How long the carrier may take to hang up.
const HANG_UP: Duration = Duration::from_secs(5);
/// How long the recording may hold up the conversation's end.
const RECORDING: Duration = Duration::from_secs(15);

/// Serves one stream of the carrier, from its first message to the end of its conversation.
pub(crate) async fn serve(worker: Arc<Worker>, socket: WebSocket, shutdown: CancellationToken) {
    let Ok(Some((carrier, start))) = timeout(START, Carrier::accept(socket)).await else {
        tracing::warn!("a stream did not say which call it is");
        return;
    };
    let address = Address { account: start.account, conversation: start.conversation };
    let (began, began_at) = (Instant::now(), system::now());
    let Some(snapshot) = admit(&worker, &start).await else {
        tracing::warn!(conversation = %address.conversation, "a stream was not let in");
        return carrier.close().await;
    };
    tracing::info!(conversation = %address.conversation, "media flows");
    let call = Call::new(&worker, address, &snapshot, carrier, (began, began_at));
    call.run(&start.call, &shutdown).await;
    tracing::info!(conversation = %address.conversation, "ended");
}

/// Checks the stream's one-use token and marks the conversation as started, in one conditional
/// write: of two streams with the same token one is let in.
async fn admit(worker: &Worker, start: &StreamStart) -> Option<Snapshot> {
    let token = sha256_hex(&start.token);
    let changed = worker.store.transition(start.account, start.conversation, |snapshot| {
        // Both are hashes, so comparing them in variable time tells nothing of the token.
        if snapshot.conversation.media_token_sha256.as_ref() != Some(&token) {
            return Err(NotPossible);
        }
        snapshot.conversation.started(&snapshot.agent, start.call.as_str(), system::now())
    });
    match changed.await {
        Ok(Outcome::Changed(snapshot)) => Some(snapshot),
        Ok(Outcome::Unchanged(_) | Outcome::NotFound) => None,
        Err(error) => {
            tracing::error!(%error, "the conversation could not be started");
            None
        }
    }
}

type Speaking = std::pin::Pin<Box<dyn Stream<Item = (Clause, Spoken)> + Send>>;

enum Spoken {
    Audio(Bytes),
    Characters(u64),
    Finished,
    Failed(vendors::Error),
}

/// A question to the model that is still being answered.
struct Asking {
    request: Request,
    answer: Answer,
    /// What it would cost if the vendor never says, as it does not when we cancel.
    estimate: Estimate,
}

/// What woke the call.
enum Woken {
    Carrier(FromCarrier),
    Heard(Heard),
    Model(Option<Result<ModelEvent, vendors::Error>>),
    Voice(Clause, Spoken),
    Deadline,
    Shutdown,
}

struct Call<'a> {
    worker: &'a Worker,
    address: Address,
    agent: &'a AgentConfig,
    serving: Serving,
    carrier: Carrier,
    began: Instant,
    began_at: Timestamp,
    engine: Engine,
    ears: Ears,
    asking: Option<Asking>,
    voice: Option<Synthesizer>,
    speaking: SelectAll<Speaking>,
    /// Audio the voice delivered and the engine has not sent. Clauses are spoken at the same time and
    /// may be asked for again, so they neither come nor are sent in the order of their numbers.
    unsent: BTreeMap<Clause, BytesMut>,
    journal: Journal,
    recording: Option<(Recorder, Keeper)>,
    usage: Usage,
    ended: Option<EndedReason>,
}

impl<'a> Call<'a> {
    fn new(
        worker: &'a Worker,
        address: Address,
        snapshot: &'a Snapshot,
        carrier: Carrier,
        (began, began_at): (Instant, Timestamp),
    ) -> Self {
        let Snapshot { conversation, agent } = snapshot;
        let serving = substitutions::serving(agent);
        let voice = Synthesizer::new(&worker.providers, &serving.voice)
            .inspect_err(|error| tracing::error!(%error, "no voice"))
            .ok();
        let settings = Settings {
            greeting: agent.initial_message.clone(),
            max_duration: agent.max_duration_seconds.map(Duration::from_secs),
        };
        Self {
            worker,
            address,
            agent,
            carrier,
            began,
            began_at,
            engine: Engine::new(settings),
            ears: Ears::open(worker.providers.clone(), serving.transcriber.clone()),
            asking: None,
            voice,
            speaking: SelectAll::new(),
            unsent: BTreeMap::new(),
            journal: Journal::open(
                worker.store.clone(),
                worker.prices.clone(),
                address,
                conversation.next_sequence,
            ),
            recording: agent
                .recording
                .then(|| (Recorder::default(), Keeper::open(worker.recordings.clone(), address))),
            usage: Usage::default(),
            serving,
            ended: None,
        }
    }

    async fn run(mut self, carrier_call: &CallSid, shutdown: &CancellationToken) {
        let mut draining = false;
        self.feed(Input::Started);
        // A hook may hang up on what happened before media flowed.
        if [EventName::Accepted, EventName::Started]
            .into_iter()
            .any(|name| events::hangs_up(self.agent, name))
        {
            self.feed(Input::HangUp);
        }
        while self.ended.is_none() {
            let woken = self.woken(shutdown, draining).await;
            draining |= matches!(woken, Woken::Shutdown);
            self.handle(woken);
        }
        self.close(carrier_call).await;
    }

    /// Waits for the next thing to do. Cancel-safe: each branch either takes a whole item or nothing.
    async fn woken(&mut self, shutdown: &CancellationToken, draining: bool) -> Woken {
        let deadline = self.engine.deadline().map(|at| self.began + Duration::from_micros(at.0));
        let deadline = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if !draining => Woken::Shutdown,
            message = self.carrier.next() => Woken::Carrier(message),
            // Audio that is due goes out before more is taken in.
            () = sleep_until(deadline) => Woken::Deadline,
            heard = self.ears.next() => Woken::Heard(heard),
            event = next_of(&mut self.asking) => Woken::Model(event),
            Some((clause, spoken)) = self.speaking.next() => Woken::Voice(clause, spoken),
        }
    }

    fn handle(&mut self, woken: Woken) {
        match woken {
            Woken::Shutdown => self.feed(Input::HangUp),
            Woken::Deadline => self.feed(Input::Wake),
            Woken::Carrier(message) => self.carrier_says(message),
            Woken::Heard(Heard::Input(input)) => self.feed(input),
            Woken::Heard(Heard::Usage(audio)) => self.usage.transcriber_ms += millis(audio),
            Woken::Model(event) => self.model_says(event),
            Woken::Voice(clause, spoken) => self.voice_says(clause, spoken),
        }
    }

    fn carrier_says(&mut self, message: FromCarrier) {
        match message {
            FromCarrier::Media { at, audio } => {
                let now = self.now();
                if let Some((recorder, keeper)) = &mut self.recording {
                    recorder.heard(now, at, &audio);
                    if let Some(piece) = recorder.piece(now) {
                        keeper.keep(piece);
                    }
                }
                self.ears.hear(now, audio);
            }
            FromCarrier::Played(mark) => self.feed(Input::Played { mark }),
            // Keys become words later.
            FromCarrier::Dtmf => {}
            FromCarrier::Stopped => self.feed(Input::Closed),
        }
    }

    fn model_says(&mut self, event: Option<Result<ModelEvent, vendors::Error>>) {
        let Some(asking) = &mut self.asking else { return };
        let request = asking.request;
        match event {
            Some(Ok(ModelEvent::Text(text))) => {
                asking.estimate.received(&text);
                self.feed(Input::ModelText { request, text });
            }
            Some(Ok(ModelEvent::ToolCall(call))) => {
                asking.estimate.received(&call.arguments);
                let call =
                    domain::dialogue::ToolCall { id: call.id, name: call.name, arguments: call.arguments };
                self.feed(Input::ModelToolCall { request, call });
            }
            Some(Ok(ModelEvent::Usage { input_tokens, output_tokens, cached_tokens })) => {
                asking.estimate.reported();
                self.usage.input_tokens += input_tokens;
                self.usage.output_tokens += output_tokens;
                self.usage.cached_input_tokens += cached_tokens;
            }
            Some(Ok(ModelEvent::Finished(_))) => {
                self.stop_asking();
                self.feed(Input::ModelFinished { request });
            }
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::warn!(conversation = %self.address.conversation, %error, "the model failed");
                }
                self.stop_asking();
                self.feed(Input::ModelFailed { request });
            }
        }
    }

    fn voice_says(&mut self, clause: Clause, spoken: Spoken) {
        match spoken {
            Spoken::Characters(count) => self.usage.characters += count,
            Spoken::Audio(audio) => {
                let bytes = u32::try_from(audio.len()).unwrap_or(u32::MAX);
                self.unsent.entry(clause).or_default().extend_from_slice(&audio);
                self.feed(Input::VoiceAudio { clause, bytes });
            }
            Spoken::Finished => self.feed(Input::VoiceFinished { clause }),
            Spoken::Failed(error) => {
                tracing::warn!(conversation = %self.address.conversation, %error, "the voice failed");
                self.feed(Input::VoiceFailed { clause });
            }
        }
    }

    /// Tells the engine what happened and does what it says, until nothing more follows.
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut outputs = vec![];
        while let Some(input) = inputs.pop_front() {
            self.engine.on(self.now(), input, &mut outputs);
            for output in outputs.drain(..) {
                self.perform(output, &mut inputs);
            }
        }
    }

    fn perform(&mut self, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Ask { request } => self.ask(request),
            Output::CancelAsk { request } => {
                if self.asking.as_ref().is_some_and(|asking| asking.request == request) {
                    self.stop_asking();
                }
            }
            Output::Speak { clause, text } => self.speak(clause, &text, inputs),
            Output::CancelSpeech => {
                self.speaking.clear();
                self.unsent.clear();
            }
            Output::Send { clause, bytes } => self.send(clause, bytes, inputs),
            Output::Mark(mark) => self.tell_carrier(|carrier| carrier.mark(mark), inputs),
            Output::Clear => {
                let now = self.now();
                if let Some((recorder, _)) = &mut self.recording {
                    recorder.cleared(now);
                }
                self.tell_carrier(Carrier::clear, inputs);
            }
            // The first matching webhook's answer will be the result; without one the call just succeeded.
            Output::CallTool(call) => {
                inputs.push_back(Input::ToolResult { call: call.id, content: r#"{"ok": true}"#.into() });
            }
            Output::Event(happening) => self.log(happening, inputs),
            Output::End { reason } => self.ended = Some(reason),
        }
    }

    fn ask(&mut self, request: Request) {
        self.stop_asking();
        let lines = self.engine.history();
        let estimate = Estimate::of(self.agent, &lines);
        let (model, prompt) = (&self.serving.language_model, self.agent.prompt.as_deref());
        let answer = language_models::ask(&self.worker.providers, model, prompt, &lines);
        self.asking = Some(Asking { request, answer, estimate });
    }

    /// Drops the current answer, and counts what the vendor did not.
    fn stop_asking(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.estimate.count(&mut self.usage);
        }
    }

    fn speak(&mut self, clause: Clause, text: &str, inputs: &mut VecDeque<Input>) {
        let Some(voice) = &self.voice else {
            inputs.push_back(Input::VoiceFailed { clause });
            return;
        };
        let speech = voice.speak(text).map(move |event| match event {
            Ok(SpeechEvent::Audio(audio)) => (clause, Spoken::Audio(audio)),
            Ok(SpeechEvent::Characters { count, .. }) => (clause, Spoken::Characters(count)),
            Err(error) => (clause, Spoken::Failed(error)),
        });
        // A failed speech ends with its error; the engine takes no more of that clause after it.
        let finished = futures_util::stream::once(async move { (clause, Spoken::Finished) });
        self.speaking.push(Box::pin(speech.chain(finished)));
    }

    fn send(&mut self, clause: Clause, bytes: u32, inputs: &mut VecDeque<Input>) {
        let Entry::Occupied(mut unsent) = self.unsent.entry(clause) else { return };
        let left = unsent.get().len();
        let audio = unsent.get_mut().split_to(left.min(bytes as usize)).freeze();
        if audio.len() == left {
            unsent.remove();
        }
        let now = self.now();
        if let Some((recorder, _)) = &mut self.recording {
            recorder.sent(now, &audio);
        }
        self.tell_carrier(|carrier| carrier.media(&audio), inputs);
    }

    fn tell_carrier(&mut self, message: impl FnOnce(&mut Carrier) -> bool, inputs: &mut VecDeque<Input>) {
        if !message(&mut self.carrier) {
            tracing::warn!(conversation = %self.address.conversation, "the carrier takes no more audio");
            inputs.push_back(Input::Closed);
        }
    }

    fn log(&mut self, happening: Happening, inputs: &mut VecDeque<Input>) {
        let now = self.now();
        let entry = conversation_log::entry(happening, self.began_at, now);
        if events::hangs_up(self.agent, entry.name) {
            inputs.push_back(Input::HangUp);
        }
        if events::is_stored(self.agent, entry.name) && !self.journal.note(entry, &self.usage) {
            tracing::error!(conversation = %self.address.conversation, "nothing could be stored for minutes");
            inputs.push_back(Input::HangUp);
        }
    }

    /// The call is over: hang up, keep the recording, write the end.
    async fn close(mut self, carrier_call: &CallSid) {
        let reason = self.ended.unwrap_or(EndedReason::Unknown);
        let now = self.now();
        let at = self.began_at.after(Duration::from_micros(now.0));
        self.stop_asking();
        if reason != EndedReason::UserEnded {
            match timeout(HANG_UP, self.worker.calls.hang_up(carrier_call)).await {
                Ok(Ok(())) => {}
                // Closing the stream ends the call as well: nothing follows it in its TwiML.
                Ok(Err(error)) => tracing::warn!(%error, "the carrier did not hang up"),
                Err(_) => tracing::warn!("the carrier took too long to hang up"),
            }
        }
        let Self { address, carrier, ears, recording, journal, mut usage, .. } = self;
        let recording = async {
            let Some((recorder, keeper)) = recording else { return };
            if timeout(RECORDING, keeper.finish(recorder.finish(now))).await.is_err() {
                tracing::warn!(conversation = %address.conversation, "the recording is not joined yet");
            }
        };
        let ((), heard, ()) = tokio::join!(carrier.close(), ears.finish(), recording);
        usage.transcriber_ms += millis(heard);
        journal.finish(Ending { reason, usage, at }).await;
    }

    fn now(&self) -> CallTime {
        CallTime(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// The next piece of the current answer; never, while nothing is asked.
async fn next_of(asking: &mut Option<Asking>) -> Option<Result<ModelEvent, vendors::Error>> {
    match asking {
        Some(asking) => asking.answer.next().await,
        None => std::future::pending().await,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
