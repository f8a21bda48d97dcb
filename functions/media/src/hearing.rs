//! The transcriber of one call: kept connected for as long as the call lasts.
//!
//! A task of its own connects while the greeting plays and connects again when the session breaks.
//! Audio that comes meanwhile waits in the channel, up to five seconds of it; the call never waits.

use std::time::Duration;

use bytes::Bytes;
use domain::{
    agents::Transcriber,
    dialogue::{CallTime, Input},
};
use futures_util::StreamExt;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use vendors::{
    Error, Providers,
    transcribers::{self, AudioSink, Hearing, HearingEvent},
};

/// Audio waiting for a session: 250 frames = 5 s. When it is full the newest frame is lost.
const WAITING_FRAMES: usize = 250;
/// Events waiting for the call's loop, which takes them at once.
const WAITING_EVENTS: usize = 64;
/// Waits before connecting again; after the last one the transcriber is lost.
const RETRIES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// How long the transcriber may take, after the call, to say what will be paid for.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Telephone audio.
const BYTES_PER_MS: u64 = 8;
/// Length of a frame of the carrier.
const FRAME: Duration = Duration::from_millis(20);

/// The call's end of its transcriber.
#[derive(Debug)]
pub(crate) struct Ears {
    frames: mpsc::Sender<(CallTime, Bytes)>,
    events: mpsc::Receiver<Heard>,
    /// Bytes of audio handed over so far; the transcriber's own count comes at its end, if at all.
    handed_over: u64,
    /// Ends the session when the call is dropped.
    task: JoinSet<()>,
}

/// What the transcriber tells the call.
#[derive(Debug)]
pub(crate) enum Heard {
    /// For the dialogue.
    Input(Input),
    /// Audio that will be paid for.
    Usage(Duration),
    /// The transcriber is gone for good.
    Lost,
}

impl Ears {
    /// Begins to connect at once.
    pub(crate) fn open(providers: Providers, transcriber: Transcriber) -> Self {
        let (frames, audio) = mpsc::channel(WAITING_FRAMES);
        let (sender, events) = mpsc::channel(WAITING_EVENTS);
        let mut task = JoinSet::new();
        task.spawn(keep_connected(providers, transcriber, audio, sender));
        Self { frames, events, handed_over: 0, task }
    }

    /// A frame that arrived at `at`. Never waits.
    pub(crate) fn hear(&mut self, at: CallTime, mulaw: Bytes) {
        let bytes = mulaw.len() as u64;
        // Full: the transcriber has been gone for five seconds, and newer audio is no use without the older.
        if self.frames.try_send((at, mulaw)).is_ok() {
            self.handed_over += bytes;
        }
    }

    /// How much audio was handed over so far, in milliseconds.
    pub(crate) fn audio_ms(&self) -> u64 {
        self.handed_over / BYTES_PER_MS
    }

    /// The next thing heard; nothing comes after [`Heard::Lost`]. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.events.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    /// No more audio comes: how many milliseconds will be paid for, by the transcriber's count if it
    /// gives one in time, else by ours. `reported` is what it said before.
    pub(crate) async fn finish(self, reported: Duration) -> u64 {
        let audio_ms = self.audio_ms();
        let Self { frames, mut events, mut task, .. } = self;
        drop(frames);
        let mut reported = reported;
        let last = timeout(LAST_WORDS, async {
            loop {
                match events.recv().await {
                    Some(Heard::Usage(audio)) => reported += audio,
                    Some(Heard::Lost) | None => return,
                    Some(Heard::Input(_)) => {}
                }
            }
        });
        let complete = last.await.is_ok() && reported > Duration::ZERO;
        task.shutdown().await;
        if complete { u64::try_from(reported.as_millis()).unwrap_or(u64::MAX) } else { audio_ms }
    }
}

async fn keep_connected(
    providers: Providers,
    transcriber: Transcriber,
    mut audio: mpsc::Receiver<(CallTime, Bytes)>,
    events: mpsc::Sender<Heard>,
) {
    let mut failures = 0;
    loop {
        let result = match transcribers::connect(&providers, &transcriber).await {
            Ok((sink, hearing)) => session(sink, hearing, &mut audio, &events, &mut failures).await,
            Err(error) => Err(error),
        };
        let Err(error) = result else { return };
        let wait = RETRIES.get(failures).copied().filter(|_| error.is_retryable());
        failures += 1;
        tracing::warn!(%error, again = wait.is_some(), "the transcriber is gone");
        let Some(wait) = wait else {
            // Fails only if the call is over.
            let _ = events.send(Heard::Lost).await;
            return;
        };
        sleep(wait).await;
    }
}

/// One session, until the call is over (`Ok`) or the session breaks.
async fn session(
    sink: AudioSink,
    mut hearing: Hearing,
    audio: &mut mpsc::Receiver<(CallTime, Bytes)>,
    events: &mpsc::Sender<Heard>,
    failures: &mut usize,
) -> Result<(), Error> {
    let mut sink = Some(sink);
    // Where the session's first byte lies in the call.
    let mut began = None;
    loop {
        tokio::select! {
            biased;
            event = hearing.next() => {
                let Some(event) = event else { return Ok(()) };
                let event = event?;
                if matches!(event, HearingEvent::Words { .. }) {
                    *failures = 0;
                }
                if events.send(neutral(event, began)).await.is_err() {
                    return Ok(());
                }
            }
            frame = audio.recv(), if sink.is_some() => match (frame, &mut sink) {
                (Some((at, mulaw)), Some(sink)) => {
                    began.get_or_insert(CallTime(at.0.saturating_sub(micros(FRAME))));
                    sink.send(mulaw)?;
                }
                _ => sink = None,
            },
        }
    }
}

fn neutral(event: HearingEvent, began: Option<CallTime>) -> Heard {
    match event {
        HearingEvent::SpeechStarted => Heard::Input(Input::SpeechBegan),
        HearingEvent::Words { text, is_final, words_end } => {
            let spoken_until = began.zip(words_end).map(|(began, end)| began + end);
            Heard::Input(Input::Words { text, is_final, spoken_until })
        }
        HearingEvent::TurnEnded => Heard::Input(Input::TurnEnded),
        HearingEvent::Usage { audio, .. } => Heard::Usage(audio),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
