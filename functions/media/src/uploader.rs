//! Uploads a call's recording and replay log to the bucket, off the audio path.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use switchboard_aws::{ServiceError, recordings::Recordings};
use switchboard_model::time::Timestamp;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tracing::Instrument as _;

use crate::{
    conversation_key::ConversationKey,
    recorder::{PIECE, RecordingPiece},
};

/// Uploads waiting for their turn while the bucket is away: 18 pieces of 10 s, about 3 MB of a phone call and 12 MB of a
/// web call. When the queue is full the newest is dropped, that part of the recording stays silent, and the gap is
/// recorded on the conversation.
const QUEUED_UPLOADS: usize = 18;
/// Attempts at an upload that the bucket refuses. One that fails otherwise is tried until it succeeds.
const ATTEMPTS: u32 = 3;
/// The first delay between two attempts, and the longest: it doubles with each attempt.
const RETRY_DELAY: Duration = Duration::from_secs(1);
const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(8);

/// Data for the bucket.
#[derive(Debug)]
pub(crate) enum Upload {
    /// A piece of the recording.
    RecordingPiece(RecordingPiece),
    /// The next part of the replay log.
    ReplayLogPart(Vec<u8>),
}

/// Uploads one call's data, one upload after the other.
#[derive(Debug)]
pub(crate) struct Uploader {
    uploads: mpsc::Sender<Upload>,
    task: JoinSet<()>,
    pieces: PieceCount,
}

/// The pieces of a call's recording that are not stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct PieceCount(Arc<AtomicU64>);

impl PieceCount {
    fn add(&self, upload: &Upload) {
        if let Upload::RecordingPiece(_) = upload {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stored(&self, upload: &Upload) {
        if let Upload::RecordingPiece(_) = upload {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The fault to record on the conversation once all uploads are made or given up; none if every piece is stored.
    pub(crate) fn fault(&self) -> Option<String> {
        let missing = self.0.load(Ordering::Relaxed);
        let seconds = missing.saturating_mul(PIECE.as_secs());
        (missing > 0)
            .then(|| format!("recording: up to {seconds} s are missing, the bucket did not take them"))
    }
}

impl Uploader {
    /// Starts the task. `began_at` is when this worker's stream began: each stream has a replay log of its own.
    pub(crate) fn new(recordings: Recordings, key: ConversationKey, began_at: Timestamp) -> Self {
        let (uploads, mut queue) = mpsc::channel(QUEUED_UPLOADS);
        let mut destination = Destination { recordings, key, began_at, log_parts: 0 };
        let mut task = JoinSet::new();
        let pieces = PieceCount::default();
        let stored = pieces.clone();
        let run = async move {
            while let Some(upload) = queue.recv().await {
                if destination.upload(&upload).await {
                    stored.stored(&upload);
                }
            }
        };
        task.spawn(run.in_current_span());
        Self { uploads, task, pieces }
    }

    /// The count of missing pieces, which outlives the uploader.
    pub(crate) fn pieces(&self) -> PieceCount {
        self.pieces.clone()
    }

    /// Queues an upload. Never waits.
    pub(crate) fn upload(&self, upload: Upload) {
        self.pieces.add(&upload);
        if self.uploads.try_send(upload).is_err() {
            tracing::error!("upload dropped");
        }
    }

    /// Makes the queued uploads and the `last` ones.
    pub(crate) async fn finish(mut self, last: Vec<Upload>) {
        for upload in &last {
            self.pieces.add(upload);
        }
        for upload in last {
            // Fails only if the task panicked.
            let _ = self.uploads.send(upload).await;
        }
        drop(self.uploads);
        self.task.join_next().await;
    }
}

/// The part of the bucket that belongs to one stream of a call.
struct Destination {
    recordings: Recordings,
    key: ConversationKey,
    began_at: Timestamp,
    /// Parts of the replay log so far.
    log_parts: u32,
}

impl Destination {
    /// Makes an upload. Returns whether it is stored.
    async fn upload(&mut self, upload: &Upload) -> bool {
        let mut attempt = 1;
        let is_stored = loop {
            let error = match self.put(upload).await {
                Ok(()) => break true,
                Err(error) => error,
            };
            tracing::warn!(%error, attempt, "upload failed");
            if attempt >= ATTEMPTS && matches!(error, ServiceError::Refused(_)) {
                break false;
            }
            let delay = RETRY_DELAY * 2_u32.saturating_pow(attempt - 1).min(8);
            sleep(delay.min(LONGEST_RETRY_DELAY)).await;
            attempt += 1;
        };
        self.log_parts += u32::from(matches!(upload, Upload::ReplayLogPart(_)));
        is_stored
    }

    async fn put(&self, upload: &Upload) -> Result<(), ServiceError> {
        let ConversationKey { account, conversation } = self.key;
        match upload {
            Upload::RecordingPiece(RecordingPiece { format, start, audio }) => {
                self.recordings.put_piece(account, conversation, (*format, *start), audio.clone()).await
            }
            Upload::ReplayLogPart(part) => {
                let place = (self.began_at, self.log_parts);
                self.recordings.put_replay_part(account, conversation, place, part.clone()).await
            }
        }
    }
}
