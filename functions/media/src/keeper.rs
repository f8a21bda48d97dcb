//! Keeps the pieces of a call's recording, off the audio path.

use std::time::Duration;

use aws::recordings::Recordings;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use crate::{address::Address, recorder::Piece};

/// Pieces waiting to be stored: a minute and a half of a call.
const WAITING: usize = 9;
/// How often a piece is tried, and the wait between two tries.
const TRIES: usize = 3;
const RETRY: Duration = Duration::from_secs(1);

/// Stores one call's pieces one after the other.
#[derive(Debug)]
pub(crate) struct Keeper {
    address: Address,
    pieces: mpsc::Sender<Piece>,
    task: JoinSet<()>,
}

impl Keeper {
    /// Ready to store.
    pub(crate) fn open(recordings: Recordings, address: Address) -> Self {
        let (pieces, mut waiting) = mpsc::channel(WAITING);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(piece) = waiting.recv().await {
                store(&recordings, address, piece).await;
            }
        });
        Self { address, pieces, task }
    }

    /// Stores a piece soon. Never waits; a piece is lost (and silent) when storing lags a minute behind.
    pub(crate) fn keep(&self, piece: Piece) {
        if self.pieces.try_send(piece).is_err() {
            tracing::error!(conversation = %self.address.conversation, "a piece of the recording was lost");
        }
    }

    /// Stores the last pieces.
    pub(crate) async fn finish(mut self, last: Vec<Piece>) {
        for piece in last {
            // Fails only if the task is gone.
            let _ = self.pieces.send(piece).await;
        }
        drop(self.pieces);
        self.task.join_next().await;
    }
}

async fn store(recordings: &Recordings, address: Address, piece: Piece) {
    for attempt in 1..=TRIES {
        let put =
            recordings.put_piece(address.account, address.conversation, piece.start, piece.audio.clone());
        match put.await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(conversation = %address.conversation, %error, attempt, "a piece was not stored");
            }
        }
        sleep(RETRY).await;
    }
}
