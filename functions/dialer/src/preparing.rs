//! What a call says first is spoken before it is placed, unless it was for an earlier one: whoever answers is
//! greeted at once. It is a convenience: whatever goes wrong, the call is placed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use switchboard_aws::queue::CallJob;
use switchboard_model::{
    conversations::{Snapshot, State},
    egress_policy::EgressPolicy,
    events::EventName,
};
use switchboard_providers::clips::ClipSynthesizer;
use switchboard_runtime as system;
use tokio::time::timeout;

use crate::{Dialer, calls::in_time};

/// How long a call is held back for it.
const HOLD_BACK: Duration = Duration::from_secs(3);
/// How long it may take in all: the rest while the carrier is asked, and for the next call if not for this one.
const ALL: Duration = Duration::from_secs(10);
/// How long the table may take to say what the call says first, and to count what that used.
const TABLE_TIMEOUT: Duration = Duration::from_secs(2);

impl Dialer {
    /// Sees to it that the first words of a queued call are there. `characters` grows by what the voice is
    /// asked to speak, all of it before anything is spoken.
    pub(crate) async fn prepare(&self, job: CallJob, characters: &AtomicU64) {
        let CallJob { account_id, conversation_id } = job;
        let found = in_time(TABLE_TIMEOUT, self.table.conversation(account_id, conversation_id)).await;
        let Ok(Some(Snapshot { conversation, agent })) = &found else { return };
        let is_dialled = matches!(conversation.state, State::Queued)
            && !conversation.hook_hangs_up(agent, EventName::ConnectionRequested);
        if !is_dialled {
            return;
        }
        let keys = (&self.table, &self.sealer);
        let preparing = self.clips.prepare(
            keys,
            conversation.account_id,
            switchboard_calls::clip_sets(agent),
            system::now(),
            |voice, own| {
                let clips =
                    ClipSynthesizer::new(&self.providers, EgressPolicy::PublicOnly, voice, own, characters)?;
                Ok(move |text: &str| clips.synthesize(text))
            },
        );
        match timeout(ALL, preparing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%conversation_id, %error, "its first words are not prepared"),
            Err(_elapsed) => tracing::warn!(%conversation_id, "its first words are not prepared in time"),
        }
    }

    /// Waits for [`Dialer::prepare`] as long as a call may be held back, and counts what it used. Whether it
    /// is done.
    pub(crate) async fn hold_back(
        &self,
        job: CallJob,
        preparing: impl Future<Output = ()>,
        characters: &AtomicU64,
    ) -> bool {
        let conversation_id = job.conversation_id;
        let is_done = timeout(HOLD_BACK, preparing).await.is_ok();
        if !is_done {
            tracing::warn!(%conversation_id, "dialled before its first words are prepared");
        }
        let asked = characters.load(Ordering::Relaxed);
        if asked == 0 {
            return is_done;
        }
        let counting = self.change(job, |snapshot| snapshot.conversation.record_prepared(asked));
        if let Err(error) = in_time(TABLE_TIMEOUT, counting).await {
            tracing::warn!(%conversation_id, %error, asked, "characters were not counted");
        }
        is_done
    }
}
