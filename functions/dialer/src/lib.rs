//! Dials what was queued, at most once.
//!
//! A message of the queue names a stored conversation; it may come twice, late, or after a crash. What
//! makes it one call is the order of writes: a call is marked as dialled *before* the carrier is asked,
//! and only a certain "no" of the carrier takes the mark away again. What a crash leaves behind:
//!
//! 1. before the mark: nothing happened; the message comes again.
//! 2. after the mark, before the request: marked, never dialled. The message comes again and is
//!    dropped. Silence is the price of never ringing twice; nobody can tell this from 3.
//! 3. during the request, or its answer is lost: perhaps dialled. Dropped likewise; the carrier's
//!    callbacks, which know the conversation from their path, go on from there.
//! 4. after the carrier took it, before its id is stored: the callbacks bring the id.
//! 5. after a certain "not now", before the mark is gone: as 2.
//! 6. the mark gone, the later message not sent: the old message comes again and dials.
//! 7. the later message sent, the old one not acknowledged: both come; the first one marks.
//! 8. after a refusal, before the end is stored: as 2.
//!
//! A call that may not be dialled yet, since its account has as many live calls or has started as many in
//! this second as it may, stays as it is: a new message, seen some seconds later, takes the place of the
//! old one. The slot for a live call is taken by the write that marks, and given back by the one that ends
//! the conversation or takes the mark away.
//!
//! Whatever stays marked without a callback (2, 5, 8) is past its deadline two minutes later: the
//! sweeper then asks the carrier and ends it.

mod calls;
mod config;
mod preparing;

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use switchboard_aws::queue::CallJob;
use switchboard_runtime::{jobs::JobOutcome, spans};
use tokio::task::JoinSet;
use tracing::Instrument;

pub use self::{calls::Dialer, config::Config};

impl Dialer {
    /// Works on all messages of a batch at the same time. The response lists those that the queue is to show again.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let mut tasks = JoinSet::new();
        let mut unsettled: Vec<String> = Vec::new();
        for message in event.records {
            let id = message.message_id.clone().unwrap_or_default();
            unsettled.push(id.clone());
            let dialer = self.clone();
            tasks.spawn(async move { (id, dialer.handle_message(&message).await) });
        }
        // A task that panicked does not settle its message, so the queue shows it again.
        while let Some(finished) = tasks.join_next().await {
            if let Ok((id, outcome)) = finished
                && outcome.is_settled()
            {
                unsettled.retain(|other| *other != id);
            }
        }
        let mut response = SqsBatchResponse::default();
        response.set_failures(unsettled);
        response
    }

    async fn handle_message(&self, message: &SqsMessage) -> JobOutcome {
        let Some(job) = message.body.as_deref().and_then(CallJob::from_body) else {
            tracing::error!(message_id = message.message_id, "message dropped: it is not a call");
            return JobOutcome::Drop;
        };
        let span = spans::job(job.account_id, job.conversation_id);
        self.dial(job).instrument(span).await
    }
}

/// How long a call waits before it is tried again: as long as the carrier said, else half as long as
/// it has waited already, with up to a fifth added by `random`; 5 s to a minute.
#[must_use]
fn backoff(waited: Duration, retry_after: Option<Duration>, random: u8) -> Duration {
    const SHORTEST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_mins(1);
    let wait = retry_after.unwrap_or(waited / 2).clamp(SHORTEST, LONGEST);
    (wait + wait * u32::from(random) / (5 * 256)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_tried_again_after_five_seconds_to_a_minute_and_not_before_the_carrier_wants() {
        let seconds = Duration::from_secs;
        for random in [0, 100, 255] {
            let after = |waited, said: Option<u64>| backoff(seconds(waited), said.map(seconds), random);
            assert!((5..=6).contains(&after(0, None).as_secs()));
            assert!((20..=24).contains(&after(40, None).as_secs()));
            assert_eq!(after(3_000, None), seconds(60));
            assert!((30..=36).contains(&after(0, Some(30)).as_secs()));
            assert!(after(0, Some(30)) >= seconds(30));
            assert_eq!(after(0, Some(3_600)), seconds(60));
        }
        assert_ne!(backoff(seconds(40), None, 0), backoff(seconds(40), None, 255));
    }
}
