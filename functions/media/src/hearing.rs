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
/// Waits before connecting again; after the last one the call goes on without hearing.
const RETRIES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// How long the last words and the usage may take after the call.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Length of a frame of the carrier.
const FRAME: Duration = Duration::from_millis(20);

/// The call's end of its transcriber.
#[derive(Debug)]
pub(crate) struct Ears {
    frames: mpsc::Sender<(CallTime, Bytes)>,
    events: mpsc::Receiver<Heard>,
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
}

impl Ears {
    /// Begins to connect at once.
    pub(crate) fn open(providers: Providers, transcriber: Transcriber) -> Self {
        let (frames, audio) = mpsc::channel(WAITING_FRAMES);
        let (sender, events) = mpsc::channel(WAITING_EVENTS);
        let mut task = JoinSet::new();
        task.spawn(keep_connected(providers, transcriber, audio, sender));
        Self { frames, events, task }
    }

    /// A frame that arrived at `at`. Never waits.
    pub(crate) fn hear(&self, at: CallTime, mulaw: Bytes) {
        // Full: the transcriber has been gone for five seconds, and newer audio is no use without the older.
        let _ = self.frames.try_send((at, mulaw));
    }

    /// The next thing heard; never, once hearing is lost. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.events.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    /// No more audio comes: waits shortly for what will be paid for.
    pub(crate) async fn finish(self) -> Duration {
        let Self { frames, mut events, mut task } = self;
        drop(frames);
        let mut used = Duration::ZERO;
        let _ = timeout(LAST_WORDS, async {
            while let Some(heard) = events.recv().await {
                if let Heard::Usage(audio) = heard {
                    used += audio;
                }
            }
        })
        .await;
        task.shutdown().await;
        used
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
        let Some(wait) = wait else { return };
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
