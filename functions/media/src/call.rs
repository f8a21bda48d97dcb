//! The loop of one call: moves audio and events between the media stream, the providers and the dialogue engine, until
//! the engine ends the call or another worker continues it.
//!
//! One task owns everything here. It never waits for a provider or the table: their work returns as an event. Each
//! queue says whether an item that does not fit is dropped or ends the call. The engine's outputs are carried out in
//! `call/outputs.rs`; `call/generation.rs` is the language model's side, `call/speech.rs` the voice's.

mod generation;
mod outputs;
mod speech;

use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    time::Duration,
};

use switchboard_dialogue::{
    CallTime, ClauseId, EngineSettings, Input, Output, ProviderRole, UtteranceInProgress,
};
use switchboard_model::{
    agents::AgentConfig,
    catalogue::StandIn,
    conversations::{Conversation, EndedReason, JournalEntry, Quality, Snapshot, UtteranceProgress},
    costs::Usage,
    event_names::EventName,
    time::Timestamp,
};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, Sleep, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    generation::{GenerationUpdate, Generations},
    speech::{ClauseEvent, ClauseSynthesis},
};
use crate::{
    admission::{AdmittedCall, CallResources},
    call_timeline::CallTimeline,
    dialogue::{Dialogue, message_kind},
    journal::Journal,
    lease::HeldLease,
    media_stream::{MediaEvent, MediaStream},
    provider_faults::ProviderFaults,
    recorder::Recorder,
    resampling::Converter,
    response_times::ResponseTimes,
    stored_text::{self, MAX_MESSAGE_BYTES, MAX_UNHEARD_BYTES},
    takeover::with_disclosure,
    tool_calls::{ToolCalls, ToolOutcome},
    transcriber::{CallTranscriber, TranscriberUpdate},
    uploader::{Upload, Uploader},
    voice_activity::{FrameActivity, VoiceActivityDetector},
    worker::Worker,
    worker_signals::WorkerSignal,
};

/// Time between two looks at the agent's words, of which the lease stores checkpoints.
const WORDS_INTERVAL: Duration = Duration::from_secs(1);

/// The loss of the lease, the worker's shutdown, and the engine's deadline, which the loop waits for all the time.
type Waits<'w, Lost, Shutdown> = (Pin<&'w mut Lost>, Pin<&'w mut Shutdown>, Pin<&'w mut Sleep>);

/// An event that the loop waits for.
enum CallEvent {
    LeaseLost,
    Shutdown,
    Signal(WorkerSignal),
    Stream(MediaEvent),
    Deadline,
    Checkpoint,
    Transcriber(TranscriberUpdate),
    Generation(GenerationUpdate),
    Speech(ClauseId, ClauseEvent),
    Tool(ToolOutcome),
}

/// The end of the call for this worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// The conversation is over.
    Ended(EndedReason),
    /// Another worker continues it, with these unspoken words.
    HandedOver(Option<String>),
    /// The lease is gone: another worker has the call, or the conversation has ended without this one.
    LeaseLost,
    /// The conversation has ended without this worker.
    EndedElsewhere,
}

impl CallOutcome {
    /// For the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ended(_) => "ended",
            Self::HandedOver(_) => "handed_over",
            Self::LeaseLost => "lease_lost",
            Self::EndedElsewhere => "ended_elsewhere",
        }
    }
}

/// A call whose loop has ended, on its way to [`teardown`](crate::teardown).
pub(crate) struct FinishedCall {
    pub(crate) outcome: CallOutcome,
    /// When the loop ended.
    pub(crate) at: Timestamp,
    pub(crate) stream: MediaStream,
    pub(crate) transcriber: CallTranscriber,
    /// Audio that the transcriber has reported as billed so far.
    pub(crate) counted: Duration,
    /// Which stand-in transcribes, if one does.
    pub(crate) transcribes: Option<StandIn>,
    pub(crate) lease: HeldLease,
    pub(crate) journal: Journal,
    pub(crate) is_recorded: bool,
    /// Uploads that are still to be made, and their uploader.
    pub(crate) uploads: (Vec<Upload>, Uploader),
    /// Everything that was used, without the audio of this worker's transcriber.
    pub(crate) usage: Usage,
    /// Faults that are on no event yet.
    pub(crate) faults: Vec<String>,
    pub(crate) response_times: ResponseTimes,
    /// The turn-taking so far; none if media never flowed.
    pub(crate) quality: Option<Quality>,
}

/// The conversions of a call's audio. The recording has one format, whatever the stream's: the next stream of the call
/// may have another one.
struct Converters {
    caller_to_recording: Converter,
    voice_to_recording: Converter,
    voice_to_stream: Converter,
}

/// A live call.
pub(crate) struct Call<'a> {
    lease: HeldLease,
    signals: mpsc::Receiver<WorkerSignal>,
    checkpoint: Interval,
    /// As it was when the stream started, with later failures of filters and the later verdict on who answered.
    conversation: Conversation,
    agent: &'a AgentConfig,
    stream: MediaStream,
    began: Instant,
    began_at: Timestamp,
    dialogue: Dialogue,
    transcriber: CallTranscriber,
    generations: Generations<'a>,
    speech: ClauseSynthesis<'a>,
    voice_activity: VoiceActivityDetector,
    /// Whether the caller's last frame was speech.
    was_speech: bool,
    journal: Journal,
    tools: ToolCalls<'a>,
    recorder: Option<Recorder>,
    converters: Converters,
    uploader: Uploader,
    /// Everything that was used, without the audio of this worker's transcriber.
    usage: Usage,
    /// Audio that the transcriber has reported as billed so far.
    counted: Duration,
    /// Which stand-in transcribes, if one does.
    transcribes: Option<StandIn>,
    faults: ProviderFaults,
    response_times: ResponseTimes,
    timeline: CallTimeline,
    /// The greeting has not started yet.
    awaits_greeting: bool,
    /// Empty between events: kept so that their memory is reused.
    inputs: VecDeque<Input>,
    outputs: Vec<Output>,
    /// The journal's queue is full: the call ends, with an unknown reason.
    has_failed: bool,
    outcome: Option<CallOutcome>,
    /// The entry to store before all others.
    first_entry: Option<JournalEntry>,
}

impl<'a> Call<'a> {
    /// The agent says nothing before [`Call::run`].
    pub(crate) fn new(
        worker: &'a Worker,
        admitted: &'a AdmittedCall,
        stream: MediaStream,
        resources: CallResources,
    ) -> Self {
        let AdmittedCall {
            key,
            snapshot,
            providers,
            clips,
            account,
            began,
            began_at,
            elapsed,
            takeover,
            earlier,
            ..
        } = admitted;
        let CallResources { lease, transcriber, first_entry } = resources;
        let Snapshot { conversation, agent } = snapshot;
        let format = stream.format();
        let resolved = &providers.resolved;
        let settings = EngineSettings {
            disclosure: None,
            greeting: agent.initial_message.clone(),
            max_duration: agent.max_duration_seconds.map(Duration::from_secs),
            language: resolved.transcriber.language().to_owned(),
            takeover: takeover.clone(),
            transcriber: providers.transcriber_profile,
            watches_model: true,
            weighs_sounds: true,
        };
        let settings = with_disclosure(settings, agent);
        let (table, prices) = (worker.table.clone(), worker.prices.clone());
        let journal = Journal::new(table, prices, snapshot.clone(), &lease);
        let mut faults = ProviderFaults::new(resolved);
        faults.count_in(worker.counts.clone());
        // The worker before this one has recorded them.
        if takeover.is_none() {
            faults.record_adjustments(&resolved.adjustments);
        } else {
            faults.record_takeover();
        }
        let speech = ClauseSynthesis::new(providers, clips, format);
        let recording_format = conversation.kind.recording_format();
        let converters = Converters {
            caller_to_recording: Converter::between(format, recording_format),
            voice_to_recording: Converter::between(speech.format(), recording_format),
            voice_to_stream: Converter::between(speech.format(), format),
        };
        Self {
            lease,
            signals: worker.signals.subscribe(*key),
            checkpoint: interval(WORDS_INTERVAL),
            conversation: conversation.clone(),
            agent,
            stream,
            began: *began,
            began_at: *began_at,
            dialogue: Dialogue::new(settings),
            transcriber,
            generations: Generations::new(
                agent,
                providers,
                conversation.legs.caller().resumes,
                takeover.as_ref().map_or(&[][..], |takeover| takeover.history.as_slice()),
            ),
            speech,
            voice_activity: VoiceActivityDetector::new(format),
            was_speech: false,
            journal,
            tools: ToolCalls::new(&*worker.webhooks, account.as_ref(), snapshot, worker.clock),
            recorder: agent.recording.then(|| Recorder::new(recording_format, *elapsed)),
            converters,
            uploader: Uploader::new(worker.recordings.clone(), *key, *began_at),
            usage: conversation.usage.clone(),
            counted: Duration::ZERO,
            transcribes: None,
            faults,
            response_times: ResponseTimes::default(),
            timeline: CallTimeline::new(*elapsed, earlier, conversation.started_at()),
            awaits_greeting: takeover.is_none()
                && (agent.disclosure.is_some() || agent.initial_message.is_some()),
            inputs: VecDeque::new(),
            outputs: vec![],
            has_failed: false,
            outcome: None,
            first_entry,
        }
    }

    /// Runs the call until it is over for this worker.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> FinishedCall {
        let mut is_draining = false;
        // Waited for across all events: to begin anew with each frame would cost more than the frame itself.
        let lost = self.lease.lost_token();
        let mut lost = pin!(lost.cancelled());
        let mut shutdown = pin!(shutdown.cancelled());
        let mut deadline = pin!(sleep_until(self.began));
        // A hook may hang up because of an event from before the stream started.
        let mut hangs_up = [EventName::Accepted, EventName::Started]
            .into_iter()
            .any(|name| self.conversation.hook_hangs_up(self.agent, name));
        if let Some(entry) = self.first_entry.take() {
            let recipients = self.recipients(&entry);
            hangs_up |= recipients.hangs_up;
            self.record(entry, recipients);
        }
        self.feed(Input::MediaStarted);
        if hangs_up {
            self.feed(Input::HangUp);
        }
        loop {
            if let Some(outcome) = self.outcome.take() {
                return self.finish(outcome).await;
            }
            let waits = (lost.as_mut(), shutdown.as_mut(), deadline.as_mut());
            let event = self.next(waits, is_draining).await;
            is_draining |= matches!(event, CallEvent::Shutdown);
            self.handle(event);
        }
    }

    async fn finish(mut self, outcome: CallOutcome) -> FinishedCall {
        self.generations.cancel(&mut self.usage);
        for delivery in self.tools.stop().await {
            self.journal.record_delivery(delivery);
        }
        let now = self.now();
        let is_recorded = self.recorder.is_some();
        let pieces =
            self.recorder.into_iter().flat_map(|recorder| recorder.finish(now)).map(Upload::RecordingPiece);
        let last_uploads = pieces.chain([Upload::ReplayLogPart(self.dialogue.finish())]).collect();
        FinishedCall {
            outcome,
            at: self.began_at.after(Duration::from_micros(now.0)),
            stream: self.stream,
            transcriber: self.transcriber,
            counted: self.counted,
            transcribes: self.transcribes,
            lease: self.lease,
            journal: self.journal,
            is_recorded,
            uploads: (last_uploads, self.uploader),
            usage: self.usage,
            faults: self.faults.take(),
            response_times: self.response_times,
            quality: self.timeline.quality(now, self.conversation.started_at()),
        }
    }

    /// Waits for the next event. Cancel-safe: each branch takes a whole event or nothing.
    async fn next(
        &mut self,
        (lost, shutdown, mut deadline): Waits<'_, impl Future<Output = ()>, impl Future<Output = ()>>,
        is_draining: bool,
    ) -> CallEvent {
        let due = self.dialogue.deadline().map(|at| self.began + Duration::from_micros(at.0));
        let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        if deadline.deadline() != due {
            deadline.as_mut().reset(due);
        }
        let wants_model = self.dialogue.wants_model();
        tokio::select! {
            biased;
            () = lost => CallEvent::LeaseLost,
            () = shutdown, if !is_draining => CallEvent::Shutdown,
            Some(signal) = self.signals.recv() => CallEvent::Signal(signal),
            event = self.stream.next() => CallEvent::Stream(event),
            // Due audio is sent before more input is read.
            () = deadline => CallEvent::Deadline,
            _ = self.checkpoint.tick() => CallEvent::Checkpoint,
            update = self.transcriber.next() => CallEvent::Transcriber(update),
            update = self.generations.next(wants_model) => CallEvent::Generation(update),
            Some((clause, event)) = self.speech.next() => CallEvent::Speech(clause, event),
            Some(outcome) = self.tools.next() => CallEvent::Tool(outcome),
        }
    }

    fn handle(&mut self, event: CallEvent) {
        match event {
            CallEvent::LeaseLost => self.outcome = Some(CallOutcome::LeaseLost),
            CallEvent::Signal(WorkerSignal::Ended) => self.outcome = Some(CallOutcome::EndedElsewhere),
            CallEvent::Signal(WorkerSignal::EndRequested) => self.feed(Input::HangUp),
            CallEvent::Signal(WorkerSignal::CarrierEnded) => self.feed(Input::StreamClosed),
            CallEvent::Signal(WorkerSignal::AnsweredBy(verdict)) => {
                self.tools.set_answered_by(verdict.clone());
                if let Some(call) = &mut self.conversation.legs.caller_mut().phone_call {
                    call.answered_by = Some(verdict);
                }
            }
            CallEvent::Shutdown => self.feed(Input::Drain),
            CallEvent::Deadline => self.feed(Input::Wake),
            CallEvent::Checkpoint => self.lease.checkpoint(self.speaking()),
            CallEvent::Stream(event) => self.handle_stream(event),
            CallEvent::Transcriber(update) => self.handle_transcriber(update),
            CallEvent::Generation(update) => {
                let input = self.generations.apply(update, &mut self.usage, &mut self.faults);
                self.feed_any(input);
            }
            CallEvent::Speech(clause, event) => {
                let input = self.speech.apply((clause, event), &mut self.usage, &mut self.faults);
                self.feed_any(input);
            }
            CallEvent::Tool(ToolOutcome { call, content, delivery }) => {
                if let Some(delivery) = delivery {
                    self.journal.record_delivery(delivery);
                }
                self.feed(Input::ToolResult { call, content });
            }
        }
    }

    fn handle_stream(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Media { at, audio } => {
                let now = self.now();
                if let Some(recorder) = &mut self.recorder {
                    recorder.record_caller(now, at, self.converters.caller_to_recording.convert(&audio));
                    if let Some(piece) = recorder.next_piece(now) {
                        self.uploader.upload(Upload::RecordingPiece(piece));
                    }
                }
                if let Some(part) = self.dialogue.part() {
                    self.uploader.upload(Upload::ReplayLogPart(part));
                }
                let frame = self.voice_activity.detect(now, &audio);
                self.handle_frame(now, frame);
                self.transcriber.send(now, audio);
            }
            MediaEvent::Played(mark) => self.feed(Input::Played { mark }),
            MediaEvent::Dtmf(digit) => self.feed(Input::Dtmf(digit)),
            MediaEvent::Stopped => self.feed(Input::StreamClosed),
            // The carrier's call may live on: the carrier then opens another stream.
            MediaEvent::Lost => self.feed(Input::StreamLost),
        }
    }

    /// Feeds a frame of the caller. Frames of silence are fed only after speech and while the agent is audible.
    fn handle_frame(&mut self, now: CallTime, frame: FrameActivity) {
        let matters = frame.is_speech || self.was_speech || self.dialogue.is_audible(now);
        self.was_speech = frame.is_speech;
        self.timeline.record_frame(now, frame.is_callers(self.dialogue.is_audible(now)));
        if matters {
            self.feed(frame.into());
        }
    }

    fn handle_transcriber(&mut self, update: TranscriberUpdate) {
        match update {
            TranscriberUpdate::Input(input) => self.feed(input),
            TranscriberUpdate::Usage(audio, estimated) => {
                self.counted += audio;
                self.usage.of(self.transcribes.as_ref()).transcriber_estimated |= estimated;
            }
            TranscriberUpdate::Fallback(fallback, sent) => {
                self.faults.record_fallback(ProviderRole::Transcriber, &fallback);
                if fallback.stand_in != self.transcribes {
                    // Audio that the provider before has not reported counts as it was sent.
                    let counted = std::mem::take(&mut self.counted);
                    let used = if counted.is_zero() { sent } else { counted };
                    let usage = self.usage.of(self.transcribes.as_ref());
                    usage.transcriber_ms += u64::try_from(used.as_millis()).unwrap_or(u64::MAX);
                    self.transcribes = fallback.stand_in;
                }
            }
            TranscriberUpdate::Failed(error) => {
                self.faults.record_error(ProviderRole::Transcriber, &error);
                self.feed(Input::TranscriberFailed);
            }
            TranscriberUpdate::Restored(after) => {
                let fault = format_args!("connected again after {} ms", after.as_millis());
                self.faults.record(ProviderRole::Transcriber, fault);
            }
            TranscriberUpdate::Lost(error) => {
                self.faults.record_error(ProviderRole::Transcriber, &error);
                self.feed(Input::TranscriberLost);
            }
        }
    }

    /// The agent's current words.
    fn speaking(&self) -> Option<UtteranceProgress> {
        let UtteranceInProgress { heard, unheard, started_at, kind } =
            self.dialogue.in_progress(self.now())?;
        let (mut heard, mut unheard) = (heard, unheard);
        stored_text::cut(&mut heard, MAX_MESSAGE_BYTES);
        stored_text::cut(&mut unheard, MAX_UNHEARD_BYTES);
        let started_at = self.began_at.after(Duration::from_micros(started_at.0));
        Some(UtteranceProgress { heard, unheard, started_at, kind: message_kind(kind) })
    }

    fn now(&self) -> CallTime {
        CallTime(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
