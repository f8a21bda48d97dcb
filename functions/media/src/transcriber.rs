//! The transcriber of one call: kept connected for as long as the call lasts.
//!
//! A task of its own connects while the greeting plays, and connects again when the session breaks or is
//! deaf. What the session before did not understand to the end, up to five seconds, is heard again by the
//! next one, faster than it was said; the call never waits.

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
use switchboard_model::agents::Transcriber;
use switchboard_providers::{
    Error, Providers,
    transcribers::{self, AudioSink, Hearing, HearingEvent},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use self::audio_backlog::{AudioBacklog, Position};

/// Audio on its way to the task, which takes it at once: 50 frames = 1 s. When it is full the newest frame
/// is lost.
const WAITING_FRAMES: usize = 50;
/// Events waiting for the call's loop, which takes them at once.
const WAITING_EVENTS: usize = 64;
/// Waits before connecting again; after the last one the transcriber is lost.
const RETRIES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// So long a transcriber that asks to be left alone is.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A session that lasted this long was none of a row of failures.
const STABLE: Duration = Duration::from_secs(30);
/// How long the transcriber may take, after the call, to say what will be paid for.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Telephone audio.
const BYTES_PER_MS: u64 = 8;

/// The call's end of its transcriber.
#[derive(Debug)]
pub(crate) struct CallTranscriber {
    orders: mpsc::Sender<Order>,
    events: mpsc::Receiver<TranscriberUpdate>,
    /// Bytes of audio that the sessions got; the transcriber's own count comes at their end, if at all.
    sent: Arc<AtomicU64>,
    /// Ends the session when the call is dropped.
    task: JoinSet<()>,
}

/// What the call tells its transcriber.
#[derive(Debug)]
enum Order {
    /// A frame that came at this time.
    Hear(CallTime, Bytes),
    /// The session hears nothing: another one.
    Replace,
}

/// What the transcriber tells the call.
#[derive(Debug)]
pub(crate) enum TranscriberUpdate {
    /// For the dialogue.
    Input(Input),
    /// Audio that will be paid for.
    Usage(Duration),
    /// The session broke, or could not be opened; another one is being opened.
    Failed(Error),
    /// It is open, after so long without.
    Restored(Duration),
    /// The transcriber is gone for good.
    Lost(Error),
}

impl CallTranscriber {
    /// Begins to connect at once.
    pub(crate) fn open(providers: Providers, transcriber: Transcriber) -> Self {
        let (orders, waiting) = mpsc::channel(WAITING_FRAMES);
        let (sender, events) = mpsc::channel(WAITING_EVENTS);
        let sent = Arc::new(AtomicU64::new(0));
        let listener = Listener {
            providers,
            transcriber,
            orders: waiting,
            events: sender,
            backlog: AudioBacklog::default(),
            sent: Arc::clone(&sent),
        };
        let mut task = JoinSet::new();
        task.spawn(listener.keep_connected());
        Self { orders, events, sent, task }
    }

    /// A frame that arrived at `at`. Never waits.
    pub(crate) fn hear(&mut self, at: CallTime, mulaw: Bytes) {
        // Full or closed: the task is stuck or the transcriber lost, and the call learns of both.
        let _ = self.orders.try_send(Order::Hear(at, mulaw));
    }

    /// The session that is open hears nothing: another one is opened and hears the last seconds again.
    pub(crate) fn replace(&mut self) {
        // As above.
        let _ = self.orders.try_send(Order::Replace);
    }

    /// How much audio the transcriber got so far, in milliseconds.
    pub(crate) fn audio_ms(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) / BYTES_PER_MS
    }

    /// The next thing heard; nothing comes after [`TranscriberUpdate::Lost`]. Safe to cancel.
    pub(crate) async fn next(&mut self) -> TranscriberUpdate {
        match self.events.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    /// No more audio comes: how many milliseconds will be paid for, by the transcriber's count if it
    /// gives one in time, else by ours. `reported` is what it said before.
    pub(crate) async fn finish(self, reported: Duration) -> u64 {
        let Self { orders, mut events, sent, mut task } = self;
        drop(orders);
        let mut reported = reported;
        let last = timeout(LAST_WORDS, async {
            loop {
                match events.recv().await {
                    Some(TranscriberUpdate::Usage(audio)) => reported += audio,
                    Some(TranscriberUpdate::Lost(_)) | None => return,
                    Some(
                        TranscriberUpdate::Input(_)
                        | TranscriberUpdate::Failed(_)
                        | TranscriberUpdate::Restored(_),
                    ) => {}
                }
            }
        });
        let complete = last.await.is_ok() && reported > Duration::ZERO;
        task.shutdown().await;
        if complete {
            u64::try_from(reported.as_millis()).unwrap_or(u64::MAX)
        } else {
            sent.load(Ordering::Relaxed) / BYTES_PER_MS
        }
    }
}

/// The task's side.
struct Listener {
    providers: Providers,
    transcriber: Transcriber,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<TranscriberUpdate>,
    backlog: AudioBacklog,
    sent: Arc<AtomicU64>,
}

/// How a session ended.
enum Ended {
    /// With the call.
    Over,
    /// The call wants another one.
    Replaced,
    Broken(Error),
}

impl Listener {
    async fn keep_connected(mut self) {
        // Failures in a row, since when there is no session, and whether the call knows that it failed.
        let (mut failures, mut without, mut told) = (0, None, false);
        loop {
            let (providers, transcriber) = (self.providers.clone(), self.transcriber.clone());
            let connecting = async move { transcribers::connect(&providers, &transcriber).await };
            let ControlFlow::Continue(connected) = self.meanwhile(connecting).await else { return };
            let ended = match connected {
                Ok((sink, hearing)) => {
                    told = false;
                    let restored =
                        without.take().map(|since: Instant| TranscriberUpdate::Restored(since.elapsed()));
                    if let Some(restored) = restored
                        && self.events.send(restored).await.is_err()
                    {
                        return;
                    }
                    let began = Instant::now();
                    let ended = self.session(sink, hearing, &mut failures).await;
                    if began.elapsed() > STABLE {
                        failures = 0;
                    }
                    ended
                }
                Err(error) => Ended::Broken(error),
            };
            let error = match ended {
                Ended::Over => return,
                Ended::Replaced => {
                    without.get_or_insert_with(Instant::now);
                    continue;
                }
                Ended::Broken(error) => error,
            };
            let wait = RETRIES.get(failures).filter(|_| error.is_retryable());
            failures += 1;
            tracing::warn!(%error, again = wait.is_some(), "the transcriber is gone");
            let Some(wait) = wait else {
                // Fails only if the call is over.
                let _ = self.events.send(TranscriberUpdate::Lost(error)).await;
                return;
            };
            let wait = wait.max(&asked(&error)).min(&LONGEST_WAIT).to_owned();
            without.get_or_insert_with(Instant::now);
            if !mem::replace(&mut told, true)
                && self.events.send(TranscriberUpdate::Failed(error)).await.is_err()
            {
                return;
            }
            if self.meanwhile(sleep(wait)).await.is_break() {
                return;
            }
        }
    }

    /// Waits for `what`, and keeps what is to be heard. Breaks off when the call is over.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> ControlFlow<(), T> {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return ControlFlow::Continue(done),
                order = self.orders.recv() => match order {
                    Some(Order::Hear(at, mulaw)) => self.backlog.push(at, mulaw),
                    // That is being done.
                    Some(Order::Replace) => {}
                    None => return ControlFlow::Break(()),
                },
            }
        }
    }

    /// One session, until the call is over or wants another one, or it breaks.
    async fn session(&mut self, sink: AudioSink, mut hearing: Hearing, failures: &mut usize) -> Ended {
        let mut sink = Some(sink);
        // Where the session's first byte lies, and how many it got.
        let (began, again) = self.backlog.unsettled();
        let mut bytes = 0;
        for audio in again {
            if let Err(error) = self.send(&mut sink, audio, &mut bytes) {
                return self.abandoned(bytes, Ended::Broken(error)).await;
            }
        }
        loop {
            tokio::select! {
                biased;
                event = hearing.next() => {
                    let event = match event {
                        Some(Ok(event)) => event,
                        Some(Err(error)) => return Ended::Broken(error),
                        None => return Ended::Over,
                    };
                    if matches!(event, HearingEvent::Words { .. }) {
                        *failures = 0;
                    }
                    let heard = self.neutral(event, began);
                    if self.events.send(heard).await.is_err() {
                        return Ended::Over;
                    }
                }
                order = self.orders.recv(), if sink.is_some() => match order {
                    Some(Order::Hear(at, mulaw)) => {
                        self.backlog.push(at, mulaw.clone());
                        if let Err(error) = self.send(&mut sink, mulaw, &mut bytes) {
                            return self.abandoned(bytes, Ended::Broken(error)).await;
                        }
                    }
                    Some(Order::Replace) => return self.abandoned(bytes, Ended::Replaced).await,
                    None => sink = None,
                },
            }
        }
    }

    /// A session that is not asked to finish does not say what it costs, so that is counted here.
    async fn abandoned(&self, bytes: u64, ended: Ended) -> Ended {
        match self.events.send(TranscriberUpdate::Usage(Duration::from_millis(bytes / BYTES_PER_MS))).await {
            Ok(()) => ended,
            Err(_) => Ended::Over,
        }
    }

    fn send(&self, sink: &mut Option<AudioSink>, audio: Bytes, bytes: &mut u64) -> Result<(), Error> {
        let length = audio.len() as u64;
        if let Some(sink) = sink {
            sink.send(audio)?;
        }
        *bytes += length;
        self.sent.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    fn neutral(&mut self, event: HearingEvent, began: Position) -> TranscriberUpdate {
        match event {
            HearingEvent::SpeechStarted => TranscriberUpdate::Input(Input::SpeechStarted),
            HearingEvent::Words { text, is_final, words_end } => {
                let end = words_end.map(|end| began + u64::try_from(end.as_micros() / 125).unwrap_or(0));
                if is_final {
                    self.backlog.settle(end);
                }
                let spoken_until = end.map(|end| self.backlog.time(end));
                TranscriberUpdate::Input(Input::Transcript { text, is_final, spoken_until })
            }
            HearingEvent::TurnEnded => TranscriberUpdate::Input(Input::TurnEnded),
            HearingEvent::Usage { audio, .. } => TranscriberUpdate::Usage(audio),
        }
    }
}

/// How long a transcriber asks to be left alone.
fn asked(error: &Error) -> Duration {
    match error {
        Error::Unavailable { retry_after: Some(wait), .. } => *wait,
        _ => Duration::ZERO,
    }
}
