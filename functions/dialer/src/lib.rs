//! Dials stored calls, at most once each.
//!
//! A message of the queue names a stored conversation. It may come twice, late, or after a crash. The order of writes
//! makes it one call: the conversation is marked as `dialing` *before* the carrier is asked for a call, and the mark is
//! taken back only after the carrier certainly refused. A crash leaves behind:
//!
//! 1. before the mark: nothing. The message comes again.
//! 2. after the mark, before the request: marked, never dialled. The message comes again and is dropped. That a call is
//!    sometimes lost is the price of never ringing twice; this case cannot be told from 3.
//! 3. during the request, or if its response is lost: perhaps dialled. The message is dropped likewise; the carrier's
//!    callbacks have the conversation in their path and continue from there.
//! 4. after the carrier accepted the call, before its id is stored: the callbacks bring the id.
//! 5. after the carrier refused for now, before the mark is taken back: as 2.
//! 6. after the mark is taken back, before the next message is sent: the old message comes again and dials.
//! 7. after the next message is sent, before the old one is deleted: both come; the first one marks.
//! 8. after a final refusal, before the end is stored: as 2.
//!
//! The write that marks the call takes the slot of a live call; the write that ends the conversation, or takes the mark
//! back, returns it. If the account has as many live calls as its limits allow, the call leaves the queue and waits in the
//! table. The end of a conversation, which the relay reports, wakes the account: as many of its oldest waiting calls are
//! queued again as there are free slots. Nothing polls. If as many calls were started as the carrier allows its account in
//! this second (the deployment's account there, or the customer's own), or as the account may of them, a new message, delivered some seconds later, replaces the old one; at most twelve times, so
//! that every chain ends. A call whose message is lost, or whose
//! chain ends, is due after two minutes: the sweeper wakes its account.
//!
//! A call that stays marked without a callback (2, 5, 8) is past its deadline two minutes later. The sweeper then asks
//! the carrier and ends it.
//!
//! The function knows nothing of what is said on a call. Start reading at [`Dialer::dial`].
//!
//! | error | outcome of the message |
//! |---|---|
//! | the message is not a call | retried, so that the queue moves it to its dead-letter queue; counted |
//! | the table does not respond before the mark | retried |
//! | no media worker has room | replaced by a later message |
//! | the account has no free slot | done: a returned slot, or the sweeper, wakes the account |
//! | no more calls may start in this second, or the carrier certainly refused for now | replaced by a later message |
//! | the later message cannot be sent | retried |
//! | the carrier's answer is lost, or cannot be stored | done: the callbacks, or the sweeper, continue |

mod config;
mod dial;
mod preparation;
mod waiting;

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use switchboard_aws::queue::{CallMessage, Queue};
use switchboard_calls::{Backend, CallbackUrls, ClipPreparation};
use switchboard_runtime::{
    backoff::{Jitter, proportional},
    jobs::{self, JobOutcome},
    now, spans,
};
use tokio::task::JoinSet;
use tracing::Instrument;

pub use self::config::Config;

/// The shortest and the longest delay before a call is tried again.
const SHORTEST_DELAY: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_mins(1);
/// Up to a fifth of a delay is added at random.
const JITTER_SHARE: u32 = 5;

/// Maximum number of messages for one call that this function sends one after the other: every chain ends.
const MAX_HOPS: u32 = 12;

/// Dials calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// The table, the sealing key and the carrier.
    pub backend: Backend,
    /// The queue of calls, for those that are dialled later.
    pub queue: Queue<CallMessage>,
    /// Synthesizes greetings.
    pub preparation: ClipPreparation,
    /// The addresses that the carrier is given.
    pub urls: CallbackUrls,
    /// The calls per second that the deployment's account at the carrier may start.
    pub calls_per_second: u32,
}

impl Dialer {
    /// Works on all messages of a batch at the same time. The response lists those that the queue is to show again.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let mut tasks = JoinSet::new();
        let mut unsettled: Vec<String> = Vec::new();
        for message in event.records {
            let id = message.message_id.clone().unwrap_or_default();
            unsettled.push(id.clone());
            let dialer = self.clone();
            tasks.spawn(async move { (id, Box::pin(dialer.handle_message(&message)).await) });
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
        match message.body.as_deref().and_then(CallMessage::from_body) {
            Some(CallMessage::Place { job, hops }) => {
                let span = spans::job(job.account_id, job.conversation_id);
                Box::pin(self.dial(job, hops).instrument(span)).await
            }
            Some(CallMessage::Wake { account_id }) => {
                self.wake(account_id).instrument(spans::account_job(account_id)).await
            }
            None => {
                tracing::error!(message_id = message.message_id, "message is not a call");
                jobs::poison(1).write(now());
                JobOutcome::Poison
            }
        }
    }
}

/// The delay before a call is tried again, 5 s to a minute: the carrier's own, else half of the time that the call has
/// waited already.
#[must_use]
fn retry_delay(waited: Duration, retry_after: Option<Duration>, jitter: Jitter) -> Duration {
    let delay = match retry_after {
        Some(delay) => delay.clamp(SHORTEST_DELAY, LONGEST_DELAY),
        None => proportional(waited, SHORTEST_DELAY, LONGEST_DELAY),
    };
    jitter.above(delay, JITTER_SHARE).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_waits_as_long_as_the_carrier_asks_at_most_a_minute() {
        let seconds = Duration::from_secs;
        for jitter in [0, 100 << 24, u32::MAX].map(Jitter::new) {
            let after = |waited, said: Option<u64>| retry_delay(seconds(waited), said.map(seconds), jitter);
            assert!((5..=6).contains(&after(0, None).as_secs()));
            assert!((20..=24).contains(&after(40, None).as_secs()));
            assert_eq!(after(3_000, None), seconds(60));
            assert!((30..=36).contains(&after(0, Some(30)).as_secs()));
            assert!(after(0, Some(30)) >= seconds(30));
            assert_eq!(after(0, Some(3_600)), seconds(60));
        }
        let [none, most] = [0, u32::MAX].map(|random| retry_delay(seconds(40), None, Jitter::new(random)));
        assert_ne!(none, most);
    }
}
