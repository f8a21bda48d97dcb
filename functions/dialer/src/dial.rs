//! One call: mark it, ask the carrier for it, store the carrier's answer.

use std::{future::Future, pin::pin, sync::atomic::AtomicU64, time::Duration};

use switchboard_aws::{
    queue::CallJob,
    table::{Admission, CallStart, Outcome, TableError},
};
use switchboard_calls::hang_up;
use switchboard_model::{
    accounts::sha256_hex,
    conversations::{
        Conversation, InvalidTransition, LegId, QUEUED, RING, RejectReason, Snapshot, State, Transition,
    },
    costs::Prices,
    event_names::EventName,
    limits::{Rate, is_spent},
    time::Timestamp,
};
use switchboard_providers::{
    AnyCarrier,
    carrier::{
        Carrier as _, CarrierCallId,
        calls::{OrderError, PlaceCall},
    },
};
use switchboard_runtime::{backoff::jitter, jobs::JobOutcome, now, random_hex, spans};
use tokio::{join, time::timeout};

use crate::{Dialer, retry_delay};

/// Added to the conversation's own limit, which the worker keeps. The carrier ends the call if the worker does not.
const TIME_LIMIT_MARGIN: Duration = Duration::from_mins(1);
/// The longest call that the carrier allows .
const LONGEST_CALL: Duration = Duration::from_hours(4);

/// Maximum time of each step. The test `the_steps_of_a_call_fit_into_the_time_of_the_function` adds them up.
const FLEET_TIMEOUT: Duration = Duration::from_secs(2);
const MARK_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(5);
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(4);

impl Dialer {
    /// Dials a queued call, or ends it, or postpones it. A call that is no longer queued is left as it is.
    /// `hops` counts the messages for it that this function sent one after the other.
    pub async fn dial(&self, job: CallJob, hops: u32) -> JobOutcome {
        // The token is in the TwiML only; the table has its hash.
        let token = random_hex::<32>();
        // The preparation comes before the mark: a crash in it loses nothing, since the message comes again.
        let characters = AtomicU64::new(0);
        let mut preparing = pin!(self.prepare(job, &characters));
        let is_prepared = self.wait_for_preparation(job, preparing.as_mut(), &characters).await;
        let marked = match self.mark(job, hops, &sha256_hex(&token)).await {
            Ok(marked) => marked,
            Err(outcome) => return outcome,
        };
        let finding = self.backend.carrier_of(job.account_id, marked.conversation.legs.caller());
        let carrier = match in_time(STORE_TIMEOUT, finding).await {
            Ok(carrier) => carrier,
            Err(error) => {
                tracing::warn!(%error, "carrier account of the call not read");
                return self.return_to_queue(job, hops, &marked.conversation, None).await;
            }
        };
        let placing = self.place(job, hops, &marked, carrier, &token);
        if is_prepared { placing.await } else { join!(placing, preparing).0 }
    }

    /// Marks the call as `dialing` if its turn has come. Otherwise, returns what becomes of the message.
    async fn mark(&self, job: CallJob, hops: u32, token_sha256: &str) -> Result<Snapshot, JobOutcome> {
        let CallJob { account_id, conversation_id } = job;
        let (table, now) = (&self.backend.table, now());
        if !self.fleet_has_room(now).await {
            tracing::warn!("call postponed: no media worker has room");
            return Err(self.try_later(job, hops, retry_delay(Duration::ZERO, None, jitter())).await);
        }
        let marking = async {
            let limits = table.limits(account_id).await?;
            if is_spent(table.spent(account_id, now).await?, &limits) {
                return Ok((None, limits, false));
            }
            let mut imported = false;
            let transition = |snapshot: &Snapshot| {
                let phone_call = &snapshot.conversation.legs.caller().phone_call;
                imported = phone_call.as_ref().is_some_and(|call| call.imported);
                mark_transition(snapshot, token_sha256, now)
            };
            let start = CallStart { deployment: Rate::carrier_calls(self.calls_per_second), at: now };
            let admission = table.dial(&limits, start, account_id, conversation_id, transition).await?;
            Ok((Some(admission), limits, imported))
        };
        let outcome = match in_time(MARK_TIMEOUT, marking).await {
            // The sweeper looks at it again every two minutes, until it has waited for too long.
            Ok((None, ..)) => {
                tracing::info!("call waits: the account has reached its spend limit of the day");
                self.leave_queue(job).await;
                return Err(JobOutcome::Done);
            }
            Ok((Some(Admission::Admitted(outcome)), ..)) => *outcome,
            Ok((Some(Admission::MustWait(calls)), limits, _)) if calls.room(&limits) == 0 => {
                tracing::info!(calls.live, calls.waiting, "call waits for a free slot of its account");
                self.wait_for_slot(job, &limits).await;
                return Err(JobOutcome::Done);
            }
            Ok((Some(Admission::MustWait(calls)), limits, imported)) => {
                tracing::info!(
                    calls.live,
                    calls.waiting,
                    "call postponed: no more calls may start in this second"
                );
                let per_second = self.calls_per_second(&limits, imported);
                let delay = calls.try_again_after(&limits, per_second, jitter());
                return Err(self.try_later(job, hops, delay).await);
            }
            // Every write attempt lost the race to other calls that are dialled now. Nothing is written.
            Err(StepError::Table(TableError::Conflict)) => {
                tracing::warn!("call postponed: too many calls are dialled at the same time");
                return Err(self.try_later(job, hops, retry_delay(Duration::ZERO, None, jitter())).await);
            }
            // If the mark was written nevertheless, the message is dropped when it comes again.
            Err(error) => {
                tracing::warn!(%error, "call not marked");
                return Err(JobOutcome::Retry);
            }
        };
        match outcome {
            Outcome::Changed(snapshot) if snapshot.conversation.ended().is_none() => Ok(snapshot),
            Outcome::Changed(_) => {
                tracing::info!("call ended without being dialled");
                Err(JobOutcome::Done)
            }
            Outcome::Unchanged(_) | Outcome::LostLease | Outcome::NotFound => {
                tracing::info!("call no longer queued");
                Err(JobOutcome::Done)
            }
        }
    }

    /// Whether a media worker has room. If the reports cannot be read, the mark decides: it needs the table too.
    async fn fleet_has_room(&self, now: Timestamp) -> bool {
        match in_time(FLEET_TIMEOUT, self.backend.table.fleet(now)).await {
            Ok(fleet) => fleet.has_room(now),
            Err(error) => {
                tracing::warn!(%error, "reports of the media workers not read");
                true
            }
        }
    }

    /// Asks the carrier for a marked call, and stores its answer.
    async fn place(
        &self,
        job: CallJob,
        hops: u32,
        marked: &Snapshot,
        carrier: Option<AnyCarrier>,
        token: &str,
    ) -> JobOutcome {
        let created = match &carrier {
            Some(carrier) => self.create(carrier, marked, token).await,
            None => Err(OrderError::Refused { code: 0, message: "the number was released".to_owned() }),
        };
        let stored = match created {
            Ok(call) => {
                spans::record_call_sid(call.id());
                tracing::info!("call placed");
                self.record_placed(job, &call).await
            }
            Err(error @ (OrderError::Refused { .. } | OrderError::Unauthorized(_))) => {
                tracing::warn!(%error, "call refused by the carrier");
                let ending = self.transition(job, |snapshot| reject(snapshot, RejectReason::Failed, now()));
                in_time(STORE_TIMEOUT, ending).await.map(drop)
            }
            Err(error @ OrderError::Uncertain(_)) => {
                tracing::error!(%error, "call perhaps placed; left to the carrier's callbacks");
                return JobOutcome::Done;
            }
            Err(OrderError::NotNow(error)) => {
                tracing::warn!(%error, "call postponed: the carrier takes no call for now");
                return self.return_to_queue(job, hops, &marked.conversation, error.retry_after()).await;
            }
        };
        // A retry would not help: the message would find the call marked.
        if let Err(error) = stored {
            tracing::error!(%error, "carrier's answer not stored");
        }
        JobOutcome::Done
    }

    async fn create(
        &self,
        carrier: &AnyCarrier,
        marked: &Snapshot,
        token: &str,
    ) -> Result<CarrierCallId, OrderError> {
        let Conversation { id, account_id, legs, .. } = &marked.conversation;
        let Some(phone_call) = &legs.caller().phone_call else {
            // A web call is never marked.
            return Err(OrderError::Refused { code: 0, message: "not a phone call".to_owned() });
        };
        let urls = self.urls.conversation(*account_id, *id);
        let document = self.urls.connect_stream(carrier, *account_id, *id, token);
        let limit = marked.agent.max_duration_seconds.map(Duration::from_secs);
        carrier
            .place(PlaceCall {
                to: phone_call.to_number.as_str(),
                from: phone_call.from_number.as_str(),
                document: &document,
                status_callback: &urls.status,
                detection_callback: marked.agent.asks_who_answered().then_some(&*urls.detection),
                ring_timeout: RING,
                time_limit: limit.map(|limit| limit.saturating_add(TIME_LIMIT_MARGIN).min(LONGEST_CALL)),
            })
            .await
    }

    /// Stores the id of a placed call. If this fails, a callback brings the id. If the conversation was ended while the
    /// call was placed, the call is hung up.
    async fn record_placed(&self, job: CallJob, call: &CarrierCallId) -> Result<(), StepError> {
        let placing =
            self.transition(job, |snapshot| snapshot.conversation.record_placed(LegId::CALLER, call));
        // A callback may have been faster.
        let Outcome::Unchanged(snapshot) = in_time(STORE_TIMEOUT, placing).await? else { return Ok(()) };
        if snapshot.conversation.ended().is_some() {
            match hang_up(&self.backend, &snapshot.conversation, call, HANG_UP_TIMEOUT).await {
                Ok(()) => tracing::info!("call of an ended conversation hung up"),
                // The call's next status report finds the conversation ended, and the call is hung up then.
                Err(error) => tracing::error!(%error, "call of an ended conversation not hung up"),
            }
        }
        Ok(())
    }

    async fn try_later(&self, job: CallJob, hops: u32, delay: Duration) -> JobOutcome {
        match self.postpone(job, hops, delay).await {
            Ok(()) => JobOutcome::Done,
            Err(error) => {
                tracing::error!(%error, "later message not sent");
                JobOutcome::Retry
            }
        }
    }

    /// Takes the mark of a call back that certainly was not placed, and has it tried again later.
    async fn return_to_queue(
        &self,
        job: CallJob,
        hops: u32,
        marked: &Conversation,
        retry_after: Option<Duration>,
    ) -> JobOutcome {
        let delay = retry_delay(now().since(marked.created_at), retry_after, jitter());
        let returning = self.transition(job, |snapshot| snapshot.conversation.return_to_queue(LegId::CALLER));
        let returned = match in_time(STORE_TIMEOUT, returning).await {
            Ok(Outcome::Changed(_)) => {
                join!(self.postpone(job, hops, delay), self.wake_later(job.account_id, delay)).0
            }
            // The conversation was ended meanwhile, and there is nothing to dial.
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match returned {
            Ok(()) => JobOutcome::Done,
            // Without a mark, the message dials the call when it comes again. With a mark, it is dropped though the
            // call was never placed: the call ends at its deadline.
            Err(error) => {
                tracing::error!(%error, "call not returned to the queue");
                JobOutcome::Retry
            }
        }
    }

    pub(crate) async fn transition(
        &self,
        job: CallJob,
        transition: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) -> Result<Outcome, TableError> {
        self.backend.table.transition(job.account_id, job.conversation_id, transition).await
    }
}

/// The transition of a queued call whose turn has come: marked as `dialing`, or ended at once.
fn mark_transition(
    snapshot: &Snapshot,
    token_sha256: &str,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    let Snapshot { conversation, agent } = snapshot;
    if !matches!(conversation.state, State::Queued) || conversation.legs.caller().phone_call.is_none() {
        return Err(InvalidTransition);
    }
    if now.since(conversation.created_at) > QUEUED {
        return reject(snapshot, RejectReason::Failed, now);
    }
    if conversation.hook_hangs_up(agent, EventName::ConnectionRequested) {
        return reject(snapshot, RejectReason::HungUp, now);
    }
    conversation.mark_dialing(LegId::CALLER, agent, token_sha256.to_owned(), now)
}

fn reject(
    snapshot: &Snapshot,
    reason: RejectReason,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    // The call never began, so there are no minutes to charge for.
    snapshot.conversation.reject(LegId::CALLER, &snapshot.agent, reason, &Prices::default(), now)
}

/// A step failed or took too long.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error(transparent)]
    Table(#[from] TableError),
}

pub(crate) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, TableError>>,
) -> Result<T, StepError> {
    timeout(limit, work).await.map_err(|_| StepError::TimedOut(limit))?.map_err(StepError::Table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preparation::{DELAY_TIMEOUT, TABLE_TIMEOUT};

    /// The time that a carrier takes at most, which `crates/providers` sets.
    const CARRIER_TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn the_steps_of_a_call_fit_into_the_time_of_the_function() {
        let template = include_str!("../../../template.yaml");
        let dialer = template.split_once("\n  Dialer:\n").unwrap().1;
        let timeout = dialer.split_once("      Timeout: ").unwrap().1.lines().next().unwrap();
        let timeout = Duration::from_secs(timeout.parse().unwrap());
        let marked = [DELAY_TIMEOUT, TABLE_TIMEOUT, FLEET_TIMEOUT, MARK_TIMEOUT];
        // To find the carrier's account, to place the call, to store the answer.
        let placed = [STORE_TIMEOUT, CARRIER_TIMEOUT, STORE_TIMEOUT];
        // To release the message, to read the counters again and wake the account.
        let waits = [STORE_TIMEOUT, STORE_TIMEOUT];
        let sum = |parts: &[&[Duration]]| parts.iter().copied().flatten().sum::<Duration>();
        let spare = Duration::from_secs(2);
        for longest in [
            sum(&[&marked, &waits]),
            sum(&[&marked, &placed, &[HANG_UP_TIMEOUT]]),
            // The carrier takes no call for now: a later message is sent while the account is woken.
            sum(&[&marked, &placed, &[STORE_TIMEOUT]]),
        ] {
            assert!(longest + spare <= timeout, "{longest:?}");
        }
    }
}
