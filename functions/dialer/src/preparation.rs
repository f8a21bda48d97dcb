//! Synthesizes the greeting of a queued call before it is dialled, so that the person who answers is greeted at once.
//! If it fails or takes too long, the call is dialled all the same.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use switchboard_aws::queue::CallJob;
use switchboard_calls::prepare_clips;
use switchboard_model::{
    conversations::{Snapshot, State},
    event_names::EventName,
};
use tokio::time::timeout;

use crate::{Dialer, dial::in_time};

/// Maximum time that a call is delayed for it.
pub(crate) const DELAY_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum time in all. The rest passes while the carrier is asked for the call, and serves the agent's next call.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for reading the conversation, and for storing the count.
pub(crate) const TABLE_TIMEOUT: Duration = Duration::from_secs(2);

impl Dialer {
    /// Synthesizes and stores the missing clips of a queued call. `characters` counts the characters that are sent to
    /// the synthesizer, all of them before the first is synthesized.
    pub(crate) async fn prepare(&self, job: CallJob, characters: &AtomicU64) {
        let CallJob { account_id, conversation_id } = job;
        let reading = self.backend.table.conversation(account_id, conversation_id);
        let Ok(Some(Snapshot { conversation, agent })) = &in_time(TABLE_TIMEOUT, reading).await else {
            return;
        };
        let is_dialled = matches!(conversation.state, State::Queued)
            && !conversation.hook_hangs_up(agent, EventName::ConnectionRequested);
        if is_dialled {
            let Self { backend, preparation, .. } = self;
            prepare_clips(backend, preparation, account_id, agent, TOTAL_TIMEOUT, characters).await;
        }
    }

    /// Waits for [`Dialer::prepare`] as long as a call may be delayed, and stores the count of characters. Returns
    /// whether the preparation has ended.
    pub(crate) async fn wait_for_preparation(
        &self,
        job: CallJob,
        preparing: impl Future<Output = ()>,
        characters: &AtomicU64,
    ) -> bool {
        let has_ended = timeout(DELAY_TIMEOUT, preparing).await.is_ok();
        if !has_ended {
            tracing::warn!("call dialled before its clips are prepared");
        }
        let characters = characters.load(Ordering::Relaxed);
        if characters == 0 {
            return has_ended;
        }
        let counting = self.transition(job, |Snapshot { conversation, agent }| {
            conversation.record_prepared(self.preparation.stand_in(agent).as_ref(), characters)
        });
        if let Err(error) = in_time(TABLE_TIMEOUT, counting).await {
            tracing::warn!(%error, characters, "prepared characters not counted");
        }
        has_ended
    }
}
