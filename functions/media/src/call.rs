//! One call: moves bytes between the carrier's stream, the providers and the dialogue engine until the
//! engine says that it is over, or that another worker is to go on.
//!
//! One task owns everything here. It never waits for a provider or the table: their work comes back
//! as inputs, and what cannot be taken at once is dropped or ends the call.
//!
//! Here is what wakes it. What the engine decides is done in `performing.rs`; `asking.rs` is the model's
//! side, `speaking.rs` the voice's.

mod generation;
mod performing;
mod speech;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use futures_util::{StreamExt, stream::SelectAll};
use switchboard_dialogue::{CallTime, ClauseId, Input, Output, ProviderRole, Settings};
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, JournalEntry, Snapshot, UtteranceProgress},
    costs::Usage,
    events::EventName,
    time::Timestamp,
};
use switchboard_providers::{language_models::ModelEvent, voices::Synthesizer};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    generation::{Asking, next_of},
    speech::{Speeches, Spoken},
};
use crate::{
    admission::{Admitted, Held},
    call_providers::CallProviders,
    clips::Clips,
    conversation_key::ConversationKey,
    dialogue::Dialogue,
    journal::Journal,
    lease::HeldLease,
    media_stream::{MediaStream, StreamEvent},
    outgoing_audio::OutgoingAudio,
    provider_faults::ProviderFaults,
    recorder::Recorder,
    response_times::ResponseTimes,
    tool_calls::{ToolCalls, ToolOutcome},
    transcriber::{CallTranscriber, TranscriberUpdate},
    uploader::{Upload, Uploader},
    voice_activity::{Frame, VoiceActivity},
    worker::Worker,
    worker_signals::WorkerSignal,
};

/// How often what the agent is saying is noted for a worker that might take over.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// What woke the call.
enum Woken {
    Stream(StreamEvent),
    Heard(TranscriberUpdate),
    Model(Option<Result<ModelEvent, switchboard_providers::Error>>),
    Voice(ClauseId, Spoken),
    Tool(ToolOutcome),
    Deadline,
    Checkpoint,
    Signal(WorkerSignal),
    LostLease,
    Shutdown,
}

/// How a call is over for this worker.
pub(crate) enum CallOutcome {
    /// The conversation is over.
    Ended(EndedReason),
    /// Another worker goes on with it, and says this first.
    HandedOver(Option<String>),
    /// Another worker already has it.
    LeaseLost,
}

/// What a call leaves behind.
pub(crate) struct FinishedCall {
    pub(crate) over: CallOutcome,
    pub(crate) at: Timestamp,
    pub(crate) carrier: MediaStream,
    pub(crate) transcriber: CallTranscriber,
    /// Audio the transcriber has counted itself so far.
    pub(crate) counted: Duration,
    pub(crate) lease: HeldLease,
    pub(crate) journal: Journal,
    /// Whether the call was recorded.
    pub(crate) recording: bool,
    /// What is still to be kept.
    pub(crate) kept: (Vec<Upload>, Uploader),
    /// All that was used, but for what the transcriber heard in this worker.
    pub(crate) usage: Usage,
    /// What the log does not say yet.
    pub(crate) notes: Vec<String>,
    pub(crate) response_times: ResponseTimes,
}

pub(crate) struct Call<'a> {
    address: ConversationKey,
    lease: HeldLease,
    signals: mpsc::Receiver<WorkerSignal>,
    checkpoint: Interval,
    /// As it was when media began; of what came later it knows which filters failed, and who answered.
    conversation: Conversation,
    agent: &'a AgentConfig,
    providers: &'a CallProviders,
    carrier: MediaStream,
    began: Instant,
    began_at: Timestamp,
    dialogue: Dialogue,
    transcriber: CallTranscriber,
    asking: Option<Asking>,
    voice: Option<Synthesizer>,
    speaking: SelectAll<Speeches>,
    /// Clauses that the engine waits for.
    at_voice: BTreeSet<ClauseId>,
    /// What need not be spoken.
    clips: &'a Clips,
    outgoing: OutgoingAudio,
    voice_activity: VoiceActivity,
    /// Whether the caller's last frame was speech.
    heard_speech: bool,
    journal: Journal,
    tools: ToolCalls<'a>,
    recorder: Option<Recorder>,
    uploader: Uploader,
    /// What was used, but for what the transcriber of this worker heard.
    usage: Usage,
    /// Audio the transcriber has counted itself so far.
    counted: Duration,
    faults: ProviderFaults,
    response_times: ResponseTimes,
    /// The greeting is still to begin.
    greets: bool,
    /// Room for what is fed to the engine, and for what it decides.
    inputs: VecDeque<Input>,
    outputs: Vec<Output>,
    /// Something failed that ends the call: nobody wanted its end.
    failed: bool,
    over: Option<CallOutcome>,
}

impl<'a> Call<'a> {
    /// Nothing is said before [`Call::run`].
    pub(crate) fn new(
        worker: &'a Worker,
        admitted: &'a Admitted,
        carrier: MediaStream,
        Held { lease, transcriber }: Held,
    ) -> Self {
        let Admitted { address, snapshot, providers, clips, account, began, began_at, elapsed, resumed } =
            admitted;
        let Snapshot { conversation, agent } = snapshot;
        let serving = &providers.serving;
        let voice = Synthesizer::new(&providers.voice, &serving.voice)
            .inspect_err(|error| tracing::error!(%error, "no voice"))
            .ok();
        let settings = Settings {
            greeting: agent.initial_message.clone(),
            max_duration: agent.max_duration_seconds.map(Duration::from_secs),
            language: serving.transcriber.language().to_owned(),
            takeover: resumed.clone(),
        };
        let (store, prices) = (worker.store.clone(), worker.prices.clone());
        let journal = Journal::open(store, prices, snapshot.clone(), &lease);
        Self {
            address: *address,
            lease,
            signals: worker.signals.subscribe(*address),
            checkpoint: interval(CHECKPOINT),
            conversation: conversation.clone(),
            agent,
            carrier,
            began: *began,
            began_at: *began_at,
            dialogue: Dialogue::new(settings),
            transcriber,
            asking: None,
            voice,
            speaking: SelectAll::new(),
            at_voice: BTreeSet::new(),
            clips,
            outgoing: OutgoingAudio::default(),
            voice_activity: VoiceActivity::new(),
            heard_speech: false,
            journal,
            tools: ToolCalls::new(&worker.sender, account.as_ref(), snapshot),
            recorder: agent.recording.then(|| Recorder::beginning_at(*elapsed)),
            uploader: Uploader::open(worker.recordings.clone(), *address, *began_at),
            usage: conversation.usage.clone(),
            counted: Duration::ZERO,
            faults: ProviderFaults::of(serving),
            response_times: ResponseTimes::default(),
            greets: agent.initial_message.is_some() && resumed.is_none(),
            inputs: VecDeque::new(),
            outputs: vec![],
            failed: false,
            providers,
            over: None,
        }
    }

    /// Talks until the call is over for this worker.
    pub(crate) async fn run(
        mut self,
        first_words: Option<JournalEntry>,
        shutdown: &CancellationToken,
    ) -> FinishedCall {
        let mut draining = false;
        // A hook may hang up on what happened before media flowed.
        let mut hangs_up = [EventName::Accepted, EventName::Started]
            .into_iter()
            .any(|name| self.conversation.hook_hangs_up(self.agent, name));
        if let Some(entry) = first_words {
            let matches = self.matching(&entry);
            hangs_up |= matches.hangs_up;
            self.note(entry, matches);
        }
        self.feed(Input::MediaStarted);
        if hangs_up {
            self.feed(Input::HangUp);
        }
        loop {
            if let Some(over) = self.over.take() {
                return self.finished(over).await;
            }
            let woken = self.woken(shutdown, draining).await;
            draining |= matches!(woken, Woken::Shutdown);
            self.handle(woken);
        }
    }

    async fn finished(mut self, over: CallOutcome) -> FinishedCall {
        self.stop_asking();
        for delivery in self.tools.stop().await {
            self.journal.answered(delivery);
        }
        let now = self.now();
        let recording = self.recorder.is_some();
        let pieces =
            self.recorder.into_iter().flat_map(|recorder| recorder.finish(now)).map(Upload::RecordingPiece);
        let left = pieces.chain([Upload::ReplayLogPart(self.dialogue.finish())]).collect();
        FinishedCall {
            over,
            at: self.began_at.after(Duration::from_micros(now.0)),
            carrier: self.carrier,
            transcriber: self.transcriber,
            counted: self.counted,
            lease: self.lease,
            journal: self.journal,
            recording,
            kept: (left, self.uploader),
            usage: self.usage,
            notes: self.faults.take(),
            response_times: self.response_times,
        }
    }

    /// Waits for the next thing to do. Cancel-safe: each branch either takes a whole item or nothing.
    async fn woken(&mut self, shutdown: &CancellationToken, draining: bool) -> Woken {
        let deadline = self.dialogue.deadline().map(|at| self.began + Duration::from_micros(at.0));
        let deadline = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        tokio::select! {
            biased;
            () = self.lease.lost() => Woken::LostLease,
            () = shutdown.cancelled(), if !draining => Woken::Shutdown,
            Some(signal) = self.signals.recv() => Woken::Signal(signal),
            message = self.carrier.next() => Woken::Stream(message),
            // Audio that is due goes out before more is taken in.
            () = sleep_until(deadline) => Woken::Deadline,
            _ = self.checkpoint.tick() => Woken::Checkpoint,
            heard = self.transcriber.next() => Woken::Heard(heard),
            event = next_of(&mut self.asking) => Woken::Model(event),
            Some((clause, spoken)) = self.speaking.next() => Woken::Voice(clause, spoken),
            Some(answered) = self.tools.next() => Woken::Tool(answered),
        }
    }

    fn handle(&mut self, woken: Woken) {
        match woken {
            Woken::LostLease | Woken::Signal(WorkerSignal::Ended) => self.over = Some(CallOutcome::LeaseLost),
            Woken::Signal(WorkerSignal::EndRequested) => self.feed(Input::HangUp),
            Woken::Signal(WorkerSignal::CarrierEnded) => self.feed(Input::StreamClosed),
            Woken::Signal(WorkerSignal::AnsweredBy(verdict)) => {
                self.tools.answered_by(verdict.clone());
                if let Some(call) = &mut self.conversation.phone_call {
                    call.answered_by = Some(verdict);
                }
            }
            Woken::Shutdown => self.feed(Input::Drain),
            Woken::Deadline => self.feed(Input::Wake),
            Woken::Checkpoint => self.lease.note(self.speaking()),
            Woken::Stream(message) => self.carrier_says(message),
            Woken::Heard(heard) => self.heard(heard),
            Woken::Model(event) => self.model_says(event),
            Woken::Voice(clause, spoken) => self.voice_says(clause, spoken),
            Woken::Tool(ToolOutcome { call, content, delivery }) => {
                if let Some(delivery) = delivery {
                    self.journal.answered(delivery);
                }
                self.feed(Input::ToolResult { call, content });
            }
        }
    }

    fn carrier_says(&mut self, message: StreamEvent) {
        match message {
            StreamEvent::Media { at, audio } => {
                let now = self.now();
                if let Some(recorder) = &mut self.recorder {
                    recorder.heard(now, at, &audio);
                    if let Some(piece) = recorder.piece(now) {
                        self.uploader.keep(Upload::RecordingPiece(piece));
                    }
                }
                if let Some(part) = self.dialogue.part() {
                    self.uploader.keep(Upload::ReplayLogPart(part));
                }
                let frame = self.voice_activity.frame(now, &audio);
                self.hears(now, frame);
                self.transcriber.hear(now, audio);
            }
            StreamEvent::Played(mark) => self.feed(Input::Played { mark }),
            StreamEvent::Key(key) => self.feed(Input::Dtmf(key)),
            StreamEvent::Stopped => self.feed(Input::StreamClosed),
            // The call may live on: the carrier connects it again.
            StreamEvent::Lost => self.feed(Input::StreamLost),
        }
    }

    /// A frame of the caller's. While the agent is silent its engine need not know of silence.
    fn hears(&mut self, now: CallTime, frame: Frame) {
        let matters = frame.is_speech || self.heard_speech || self.dialogue.is_audible(now);
        self.heard_speech = frame.is_speech;
        if matters {
            self.feed(frame.into());
        }
    }

    fn heard(&mut self, heard: TranscriberUpdate) {
        match heard {
            TranscriberUpdate::Input(input) => self.feed(input),
            TranscriberUpdate::Usage(audio) => self.counted += audio,
            TranscriberUpdate::Failed(error) => {
                self.faults.failed(ProviderRole::Transcriber, &error);
                self.feed(Input::TranscriberFailed);
            }
            TranscriberUpdate::Restored(after) => {
                let after = format_args!("connected again after {} ms", after.as_millis());
                self.faults.note(ProviderRole::Transcriber, after);
            }
            TranscriberUpdate::Lost(error) => {
                self.faults.failed(ProviderRole::Transcriber, &error);
                self.feed(Input::TranscriberLost);
            }
        }
    }

    /// What the agent is saying now.
    fn speaking(&self) -> Option<UtteranceProgress> {
        let (heard, unheard, started_at) = self.dialogue.speaking(self.now())?;
        let started_at = self.began_at.after(Duration::from_micros(started_at.0));
        Some(UtteranceProgress { heard, unheard, started_at })
    }

    fn now(&self) -> CallTime {
        CallTime(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
