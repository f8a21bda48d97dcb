//! What a call says first is spoken before it is placed, unless it was for an earlier one: whoever answers is
//! greeted at once. It is a convenience: whatever goes wrong, the call is placed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aws::{queue::CallJob, store::Outcome, system};
use domain::{conversations::Snapshot, receivers::Receivers};
use tokio::time::timeout;
use vendors::voices::Recorder;

use crate::{Dialer, calls::in_time};

/// How long a call is held back for it.
pub(crate) const HOLD_BACK: Duration = Duration::from_secs(3);
/// How long it may take in all: the rest while the carrier is asked, and for the next call if not for this one.
const ALL: Duration = Duration::from_secs(10);
/// With [`HOLD_BACK`] no longer than opening the customer's account at the carrier may take beside it.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// How a call stands that was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// It can be placed.
    Ready,
    /// It can be placed, and more of it is prepared meanwhile.
    Underway,
    /// It was ended meanwhile.
    Over,
}

impl Dialer {
    /// Sees to it that the first words are there. `characters` grows by what the voice is asked to speak, all of
    /// it before anything is spoken.
    pub(crate) async fn prepare(&self, marked: &Snapshot, characters: &AtomicU64) {
        let Snapshot { conversation, agent } = marked;
        let conversation_id = conversation.id;
        let keys = (&self.store, &self.sealer);
        let preparing =
            self.clips.prepare(keys, conversation.account_id, agent, system::now(), |voice, own| {
                let recorder = Recorder::new(&self.providers, Receivers::PublicOnly, voice, own, characters)?;
                Ok(move |text: &str| recorder.record(text))
            });
        match timeout(ALL, preparing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%conversation_id, %error, "its first words are not prepared"),
            Err(_elapsed) => tracing::warn!(%conversation_id, "its first words are not prepared in time"),
        }
    }

    /// Waits for [`Dialer::prepare`] as long as a call may be held back, and counts what it used.
    pub(crate) async fn hold_back(
        &self,
        job: CallJob,
        preparing: impl Future<Output = ()>,
        characters: &AtomicU64,
    ) -> Held {
        let conversation_id = job.conversation_id;
        let is_done = timeout(HOLD_BACK, preparing).await.is_ok();
        if !is_done {
            tracing::warn!(%conversation_id, "dialled before its first words are prepared");
        }
        let asked = characters.load(Ordering::Relaxed);
        if asked == 0 {
            // Not even a question is under way.
            return Held::Ready;
        }
        let counting = self.change(job, |snapshot| snapshot.conversation.prepared(asked));
        match in_time(COUNT_TIMEOUT, counting).await {
            Ok(Outcome::Unchanged(snapshot)) if snapshot.conversation.ended().is_some() => return Held::Over,
            Ok(Outcome::NotFound) => return Held::Over,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%conversation_id, %error, asked, "characters were not counted");
            }
        }
        if is_done { Held::Ready } else { Held::Underway }
    }
}
