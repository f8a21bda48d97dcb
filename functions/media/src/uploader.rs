//! Keeps what a call leaves in the bucket, off the audio path: its recording and its replay log.

use std::time::Duration;

use switchboard_aws::recordings::Recordings;
use switchboard_model::time::Timestamp;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use crate::{conversation_key::ConversationKey, recorder::RecordingPiece};

/// Pieces waiting to be stored: a minute and a half of a call.
const WAITING: usize = 9;
/// How often a piece is tried, and the wait between two tries.
const TRIES: usize = 3;
const RETRY: Duration = Duration::from_secs(1);

/// Something to be kept.
#[derive(Debug)]
pub(crate) enum Upload {
    /// A piece of the recording.
    RecordingPiece(RecordingPiece),
    /// A part of the replay log.
    ReplayLogPart(Vec<u8>),
}

/// Where one worker's part of a call is kept.
struct Place {
    recordings: Recordings,
    address: ConversationKey,
    /// When this worker began: each has a log of its own.
    began_at: Timestamp,
    /// Parts of the log so far.
    parts: u32,
}

/// Stores one call's pieces one after the other.
#[derive(Debug)]
pub(crate) struct Uploader {
    address: ConversationKey,
    pieces: mpsc::Sender<Upload>,
    task: JoinSet<()>,
}

impl Uploader {
    /// Ready to store.
    pub(crate) fn open(recordings: Recordings, address: ConversationKey, began_at: Timestamp) -> Self {
        let (pieces, mut waiting) = mpsc::channel(WAITING);
        let mut task = JoinSet::new();
        let mut place = Place { recordings, address, began_at, parts: 0 };
        task.spawn(async move {
            while let Some(kept) = waiting.recv().await {
                place.store(kept).await;
            }
        });
        Self { address, pieces, task }
    }

    /// Stores a piece soon. Never waits; a piece is lost (and silent) when storing lags a minute behind.
    pub(crate) fn keep(&self, kept: Upload) {
        if self.pieces.try_send(kept).is_err() {
            tracing::error!(conversation = %self.address.conversation, "a piece of the recording was lost");
        }
    }

    /// Stores the last pieces.
    pub(crate) async fn finish(mut self, last: Vec<Upload>) {
        for kept in last {
            // Fails only if the task is gone.
            let _ = self.pieces.send(kept).await;
        }
        drop(self.pieces);
        self.task.join_next().await;
    }
}

impl Place {
    async fn store(&mut self, kept: Upload) {
        for attempt in 1..=TRIES {
            match self.put(&kept).await {
                Ok(()) => break,
                Err(error) => {
                    let conversation = self.address.conversation;
                    tracing::warn!(%conversation, %error, attempt, "a piece was not stored");
                }
            }
            sleep(RETRY).await;
        }
        self.parts += u32::from(matches!(kept, Upload::ReplayLogPart(_)));
    }

    async fn put(&self, kept: &Upload) -> Result<(), switchboard_aws::ServiceError> {
        let ConversationKey { account, conversation } = self.address;
        match kept {
            Upload::RecordingPiece(RecordingPiece { start, audio }) => {
                self.recordings.put_piece(account, conversation, *start, audio.clone()).await
            }
            Upload::ReplayLogPart(part) => {
                let place = (self.began_at, self.parts);
                self.recordings.put_replay_part(account, conversation, place, part.clone()).await
            }
        }
    }
}
