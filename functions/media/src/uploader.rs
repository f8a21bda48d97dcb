//! Uploads a call's recording and replay log to the bucket, off the audio path.

use std::time::Duration;

use switchboard_aws::{ServiceError, recordings::Recordings};
use switchboard_model::time::Timestamp;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tracing::Instrument as _;

use crate::{conversation_key::ConversationKey, recorder::RecordingPiece};

/// Uploads waiting for their turn: 9 pieces of 10 s = 90 s of a call. When the queue is full the newest is dropped,
/// and that part of the recording stays silent.
const QUEUED_UPLOADS: usize = 9;
/// Attempts at one upload, and the delay between two of them.
const ATTEMPTS: usize = 3;
const RETRY_DELAY: Duration = Duration::from_secs(1);

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
}

impl Uploader {
    /// Starts the task. `began_at` is when this worker's stream began: each stream has a replay log of its own.
    pub(crate) fn new(recordings: Recordings, key: ConversationKey, began_at: Timestamp) -> Self {
        let (uploads, mut queue) = mpsc::channel(QUEUED_UPLOADS);
        let mut destination = Destination { recordings, key, began_at, log_parts: 0 };
        let mut task = JoinSet::new();
        let run = async move {
            while let Some(upload) = queue.recv().await {
                destination.upload(upload).await;
            }
        };
        task.spawn(run.in_current_span());
        Self { uploads, task }
    }

    /// Queues an upload. Never waits.
    pub(crate) fn upload(&self, upload: Upload) {
        if self.uploads.try_send(upload).is_err() {
            tracing::error!("upload dropped");
        }
    }

    /// Makes the queued uploads and the `last` ones.
    pub(crate) async fn finish(mut self, last: Vec<Upload>) {
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
    async fn upload(&mut self, upload: Upload) {
        for attempt in 1..=ATTEMPTS {
            match self.put(&upload).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, attempt, "upload failed"),
            }
            sleep(RETRY_DELAY).await;
        }
        self.log_parts += u32::from(matches!(upload, Upload::ReplayLogPart(_)));
    }

    async fn put(&self, upload: &Upload) -> Result<(), ServiceError> {
        let ConversationKey { account, conversation } = self.key;
        match upload {
            Upload::RecordingPiece(RecordingPiece { start, audio }) => {
                self.recordings.put_piece(account, conversation, *start, audio.clone()).await
            }
            Upload::ReplayLogPart(part) => {
                let place = (self.began_at, self.log_parts);
                self.recordings.put_replay_part(account, conversation, place, part.clone()).await
            }
        }
    }
}
