//! Recordings that were left in pieces: the worker of their call died, or was stopped before it joined them.

use std::time::Duration;

use switchboard_aws::table::{DueItem, TableError};
use switchboard_runtime::{now, spans};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use crate::{POSTPONEMENT, SweepError, Sweeper, TABLE_TIMEOUT};

/// Recordings of one sweep. One of four hours at 16 kHz takes half a minute, and some 40 MB of memory.
const MOST: usize = 20;
/// Maximum time to join one recording.
const JOIN_TIMEOUT: Duration = Duration::from_secs(50);

impl Sweeper {
    /// Joins recordings that wait for it, one after the other, and returns their number.
    pub(crate) async fn sweep_recordings(&self, deadline: Instant) -> Result<usize, TableError> {
        let Ok(found) = timeout_at(deadline, self.backend.table.due_recordings(now(), MOST)).await else {
            return Ok(0);
        };
        let mut joined = 0;
        for item in found? {
            if Instant::now() >= deadline {
                break;
            }
            let span = spans::job(item.account, item.conversation);
            joined += usize::from(self.join_or_postpone(item).instrument(span).await);
        }
        Ok(joined)
    }

    async fn join_or_postpone(&self, item: DueItem) -> bool {
        let error = match timeout(JOIN_TIMEOUT, self.join(item)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it took longer than {} s", JOIN_TIMEOUT.as_secs()),
        };
        tracing::error!(error, "recording not joined");
        let until = now().after(POSTPONEMENT);
        let postponing = self.backend.table.postpone_recording(item.account, item.conversation, until);
        if !matches!(timeout(TABLE_TIMEOUT, postponing).await, Ok(Ok(()))) {
            tracing::error!("recording not postponed");
        }
        false
    }

    async fn join(&self, DueItem { account, conversation, .. }: DueItem) -> Result<(), SweepError> {
        let is_there = self.recordings.join(account, conversation).await?;
        self.backend.table.forget_recording(account, conversation).await?;
        // A `DELETE` may have removed the conversation meanwhile.
        if self.backend.table.is_deleted(account, conversation).await? {
            self.recordings.remove(account, conversation).await?;
        }
        tracing::info!(is_there, "recording joined");
        Ok(())
    }
}
