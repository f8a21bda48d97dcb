//! The transcriber of one call, kept connected until the call ends.
//!
//! A task of its own connects while the greeting plays, and connects again when a session breaks, or when the engine's
//! watchdog asks for a replacement because the session returns nothing. Audio that the last session did not transcribe,
//! up to five seconds, is sent to the next one, faster than real time. The call never waits for it.

mod audio_backlog;

use std::{
    mem,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use switchboard_dialogue::{CallTime, Input};
use switchboard_model::catalogue::StandIn;
use switchboard_providers::{
    Error,
    audio::AudioFormat,
    stand_in_report::StandInReport,
    transcriber::{AudioSink, Transcriber, TranscriberSession, TranscriptEvent},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::Instrument as _;

use self::audio_backlog::AudioBacklog;
use crate::{provider_faults::fault, resampling::Converter};

/// Commands waiting for the task, which takes them at once: 50 frames = 1 s. When the queue is full the newest frame is
/// dropped.
const QUEUED_FRAMES: usize = 50;
/// Updates waiting for the call's loop, which takes them at once. When the queue is full the session waits.
const QUEUED_UPDATES: usize = 64;
/// Delays before connecting again, by the number of consecutive failures; after the last one the transcriber is lost.
const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Maximum delay that a vendor's `Retry-After` causes.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);
/// A session that lasts this long resets the count of failures.
const STABLE_SESSION: Duration = Duration::from_secs(30);
/// Maximum time for the transcriber to report the billed audio after the call.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The call's end of its transcriber.
#[derive(Debug)]
pub(crate) struct CallTranscriber {
    format: AudioFormat,
    commands: mpsc::Sender<Command>,
    updates: mpsc::Receiver<TranscriberUpdate>,
    /// Bytes of audio that were sent to all sessions of the present provider. It reports its own count at the end of a
    /// session, if at all.
    sent: Arc<AtomicU64>,
    /// Ends the session when the call is dropped.
    task: JoinSet<()>,
}

#[derive(Debug)]
enum Command {
    /// A frame that arrived at this time.
    Send(CallTime, Bytes),
    /// Make the interim words final.
    Finalize,
    /// Replace a session that returns nothing.
    Replace,
}

/// A report of the transcriber to its call.
#[derive(Debug)]
pub(crate) enum TranscriberUpdate {
    /// An input of the engine.
    Input(Input),
    /// Audio that the provider bills, and whether it was counted here.
    Usage(Duration, bool),
    /// The provider of the sessions from now on, and the audio that was sent to the one before.
    Fallback(StandInReport, Duration),
    /// The session broke or could not be opened; another one is being opened.
    Failed(Error),
    /// Another session is open, after this time without one.
    Restored(Duration),
    /// No other session will be opened.
    Lost(Error),
}

impl CallTranscriber {
    /// Starts to connect, for audio of this format. Each session gets it in the format that it takes.
    /// `provider` is for the log.
    pub(crate) fn new(
        transcriber: Arc<dyn Transcriber>,
        provider: &'static str,
        format: AudioFormat,
    ) -> Self {
        let (commands, queue) = mpsc::channel(QUEUED_FRAMES);
        let (sender, updates) = mpsc::channel(QUEUED_UPDATES);
        let sent = Arc::new(AtomicU64::new(0));
        let sessions = Sessions {
            format,
            transcriber,
            provider,
            commands: queue,
            updates: sender,
            backlog: AudioBacklog::new(format),
            sent: Arc::clone(&sent),
            stand_in: None,
            converter: Converter::between(format, format),
        };
        let mut task = JoinSet::new();
        task.spawn(sessions.keep_open().in_current_span());
        Self { format, commands, updates, sent, task }
    }

    /// Sends a frame that arrived at `at`. Never waits.
    pub(crate) fn send(&mut self, at: CallTime, audio: Bytes) {
        // A full queue means that the session is stuck, a closed one that the transcriber is lost. Both are reported.
        let _ = self.commands.try_send(Command::Send(at, audio));
    }

    /// Has the session make its interim words final, if the vendor can.
    pub(crate) fn finalize(&mut self) {
        // See `send`.
        let _ = self.commands.try_send(Command::Finalize);
    }

    /// Replaces the session. The next one receives the last seconds again.
    pub(crate) fn replace(&mut self) {
        // See `send`.
        let _ = self.commands.try_send(Command::Replace);
    }

    /// Milliseconds of audio that were sent to all sessions of the present provider so far.
    pub(crate) fn audio_ms(&self) -> u64 {
        duration_ms(self.format, self.sent.load(Ordering::Relaxed))
    }

    /// The next update; none after [`TranscriberUpdate::Lost`]. Cancel-safe.
    pub(crate) async fn next(&mut self) -> TranscriberUpdate {
        match self.updates.recv().await {
            Some(update) => update,
            None => std::future::pending().await,
        }
    }

    /// Ends the session, and returns the milliseconds of audio that are billed: as the vendor reports them if it does
    /// in time, else as sent; and whether they were counted here. `reported` is the vendor's report so far.
    pub(crate) async fn finish(self, reported: Duration) -> (u64, bool) {
        let Self { format, commands, mut updates, sent, mut task, .. } = self;
        drop(commands);
        let (mut reported, mut is_estimated) = (reported, false);
        let report = timeout(USAGE_TIMEOUT, async {
            loop {
                match updates.recv().await {
                    Some(TranscriberUpdate::Usage(audio, estimated)) => {
                        reported += audio;
                        is_estimated |= estimated;
                    }
                    Some(TranscriberUpdate::Lost(_)) | None => return,
                    Some(
                        TranscriberUpdate::Input(_)
                        | TranscriberUpdate::Fallback(..)
                        | TranscriberUpdate::Failed(_)
                        | TranscriberUpdate::Restored(_),
                    ) => {}
                }
            }
        });
        let is_complete = report.await.is_ok() && reported > Duration::ZERO;
        task.shutdown().await;
        if is_complete {
            (u64::try_from(reported.as_millis()).unwrap_or(u64::MAX), is_estimated)
        } else {
            let sent = sent.load(Ordering::Relaxed);
            (duration_ms(format, sent), sent > 0)
        }
    }
}

/// The task: one session after the other.
struct Sessions {
    format: AudioFormat,
    transcriber: Arc<dyn Transcriber>,
    provider: &'static str,
    commands: mpsc::Receiver<Command>,
    updates: mpsc::Sender<TranscriberUpdate>,
    backlog: AudioBacklog,
    sent: Arc<AtomicU64>,
    /// The provider of the last session; none: the one that the catalogue chooses.
    stand_in: Option<StandIn>,
    /// From the call's format to that of the session.
    converter: Converter,
}

/// How a session ended.
enum SessionEnd {
    /// The call is over.
    CallEnded,
    /// The call requested another session.
    Replaced,
    Broken(Error),
}

impl Sessions {
    async fn keep_open(mut self) {
        // Consecutive failures, the time since when there is no session, and whether the call knows of the failure.
        let (mut failures, mut without_session, mut is_reported) = (0, None, false);
        loop {
            let connecting = self.transcriber.connect_for(self.format);
            let ControlFlow::Continue(connected) = self.buffer_during(connecting).await else { return };
            let end = match connected {
                Ok((mut sink, events)) => {
                    is_reported = false;
                    if self.report_fallback(sink.take_fallback()).await.is_break() {
                        return;
                    }
                    let restored = without_session
                        .take()
                        .map(|since: Instant| TranscriberUpdate::Restored(since.elapsed()));
                    if let Some(restored) = restored
                        && self.updates.send(restored).await.is_err()
                    {
                        return;
                    }
                    let began = Instant::now();
                    let end = self.run_session(sink, events, &mut failures).await;
                    if began.elapsed() > STABLE_SESSION {
                        failures = 0;
                    }
                    end
                }
                Err(error) => SessionEnd::Broken(error),
            };
            let error = match end {
                SessionEnd::CallEnded => return,
                SessionEnd::Replaced => {
                    without_session.get_or_insert_with(Instant::now);
                    continue;
                }
                SessionEnd::Broken(error) => error,
            };
            let delay = RETRY_DELAYS.get(failures).filter(|_| error.is_retryable());
            failures += 1;
            let provider =
                self.stand_in.as_ref().map_or(self.provider, |stand_in| stand_in.provider.as_str());
            tracing::warn!(
                provider,
                error = fault(&error),
                attempt = failures,
                retries = delay.is_some(),
                "transcriber failed"
            );
            let Some(delay) = delay else {
                // Fails only if the call is over.
                let _ = self.updates.send(TranscriberUpdate::Lost(error)).await;
                return;
            };
            let delay = retry_after(&error).max(*delay).min(MAX_RETRY_DELAY);
            without_session.get_or_insert_with(Instant::now);
            if !mem::replace(&mut is_reported, true)
                && self.updates.send(TranscriberUpdate::Failed(error)).await.is_err()
            {
                return;
            }
            if self.buffer_during(sleep(delay)).await.is_break() {
                return;
            }
        }
    }

    /// Tells the call which provider serves from now on, if that changes or has a reason to be recorded.
    async fn report_fallback(&mut self, fallback: Option<StandInReport>) -> ControlFlow<()> {
        let Some(fallback) = fallback else { return ControlFlow::Continue(()) };
        let is_same = fallback.stand_in == self.stand_in;
        if is_same && fallback.failed.is_empty() {
            return ControlFlow::Continue(());
        }
        let sent = if is_same { 0 } else { self.sent.swap(0, Ordering::Relaxed) };
        self.stand_in.clone_from(&fallback.stand_in);
        let update = TranscriberUpdate::Fallback(fallback, self.format.duration_of(sent));
        match self.updates.send(update).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Waits for `work`, and keeps the audio that arrives meanwhile. Breaks off when the call is over.
    async fn buffer_during<T>(&mut self, work: impl Future<Output = T>) -> ControlFlow<(), T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return ControlFlow::Continue(done),
                command = self.commands.recv() => match command {
                    Some(Command::Send(at, audio)) => self.backlog.push(at, audio),
                    // There is no session.
                    Some(Command::Finalize | Command::Replace) => {}
                    None => return ControlFlow::Break(()),
                },
            }
        }
    }

    /// Runs one session until it breaks, is replaced, or the call is over.
    async fn run_session(
        &mut self,
        sink: AudioSink,
        mut events: TranscriberSession,
        failures: &mut usize,
    ) -> SessionEnd {
        self.converter = Converter::between(self.format, sink.format());
        let mut sink = Some(sink);
        // The place of the session's first byte, and its number of bytes.
        let (start, backlog) = self.backlog.untranscribed();
        let mut bytes = 0;
        for audio in backlog {
            if let Err(error) = self.send(&mut sink, audio, &mut bytes) {
                return self.abandon_session(bytes, SessionEnd::Broken(error)).await;
            }
        }
        loop {
            tokio::select! {
                biased;
                event = events.next() => {
                    let event = match event {
                        Some(Ok(event)) => event,
                        Some(Err(error)) => return SessionEnd::Broken(error),
                        None => return SessionEnd::CallEnded,
                    };
                    if matches!(event, TranscriptEvent::Transcript { .. }) {
                        *failures = 0;
                    }
                    let Some(update) = self.convert(event, start) else { continue };
                    if self.updates.send(update).await.is_err() {
                        return SessionEnd::CallEnded;
                    }
                }
                command = self.commands.recv(), if sink.is_some() => match command {
                    Some(Command::Send(at, audio)) => {
                        self.backlog.push(at, audio.clone());
                        if let Err(error) = self.send(&mut sink, audio, &mut bytes) {
                            return self.abandon_session(bytes, SessionEnd::Broken(error)).await;
                        }
                    }
                    Some(Command::Finalize) => {
                        if let Some(sink) = &sink {
                            sink.finalize();
                        }
                    }
                    Some(Command::Replace) => return self.abandon_session(bytes, SessionEnd::Replaced).await,
                    None => sink = None,
                },
            }
        }
    }

    /// Counts the audio of a session that is dropped without its last words: the vendor does not report it.
    async fn abandon_session(&self, bytes: u64, end: SessionEnd) -> SessionEnd {
        let usage = TranscriberUpdate::Usage(self.format.duration_of(bytes), true);
        match self.updates.send(usage).await {
            Ok(()) => end,
            Err(_) => SessionEnd::CallEnded,
        }
    }

    fn send(&mut self, sink: &mut Option<AudioSink>, audio: Bytes, bytes: &mut u64) -> Result<(), Error> {
        let length = audio.len() as u64;
        if let Some(sink) = sink {
            sink.send(if self.converter.is_identity() {
                audio
            } else {
                Bytes::copy_from_slice(self.converter.convert(&audio))
            })?;
        }
        *bytes += length;
        self.sent.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    /// An event for the call; none if it makes no difference. `start` is the place of the session's first byte.
    fn convert(&mut self, event: TranscriptEvent, start: Duration) -> Option<TranscriberUpdate> {
        Some(match event {
            TranscriptEvent::SpeechStarted => TranscriberUpdate::Input(Input::SpeechStarted),
            TranscriptEvent::Transcript { text, is_final, words_end } => {
                let end = words_end.map(|end| start + end);
                if is_final {
                    self.backlog.mark_transcribed(end);
                }
                let spoken_until = end.map(|end| self.backlog.time(end));
                TranscriberUpdate::Input(Input::Transcript { text, is_final, spoken_until })
            }
            TranscriptEvent::Withdrawn => TranscriberUpdate::Input(Input::TranscriptWithdrawn),
            TranscriptEvent::TurnEnded => TranscriberUpdate::Input(Input::TurnEnded),
            // The engine prepares no replies ahead, so an end that is only expected changes nothing.
            TranscriptEvent::TurnEndExpected | TranscriptEvent::TurnResumed => return None,
            TranscriptEvent::Usage { audio, estimated } => TranscriberUpdate::Usage(audio, estimated),
        })
    }
}

fn duration_ms(format: AudioFormat, bytes: u64) -> u64 {
    u64::try_from(format.duration_of(bytes).as_millis()).unwrap_or(u64::MAX)
}

/// The delay that the vendor asks for.
fn retry_after(error: &Error) -> Duration {
    match error {
        Error::Unavailable { retry_after: Some(delay), .. } => *delay,
        _ => Duration::ZERO,
    }
}
