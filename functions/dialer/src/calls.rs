//! One call: decide, mark, ask the carrier, store what it said.

use std::{future::Future, pin::pin, sync::atomic::AtomicU64, time::Duration};

use anyhow::Context as _;
use switchboard_aws::{
    clips::Clips,
    provider_keys::ProviderKeys,
    queue::{CallJob, Queue},
    sealing::Sealer,
    table::{Admission, Outcome, Table, TableError},
};
use switchboard_model::{
    accounts::sha256_hex,
    conversations::{
        Conversation, InvalidTransition, QUEUED, RING, RejectReason, Snapshot, State, Transition,
    },
    costs::Prices,
    events::EventName,
    time::Timestamp,
};
use switchboard_providers::{
    AnyCarrier, Providers,
    carrier::{
        Carrier as _, CarrierCallId,
        calls::{OrderError, PlaceCall},
        documents::{ConnectStream, Instructions},
    },
    egress,
    keys::Keys,
};
use switchboard_runtime::{self as system, jobs::JobOutcome};
use tokio::{join, time::timeout};

use crate::{Config, backoff};

/// Beyond the conversation's own limit, which the worker keeps: a net under it.
const TIME_LIMIT_MARGIN: Duration = Duration::from_mins(1);
/// The carrier's own limit and the longest that can be asked for.
const LONGEST_CALL: Duration = Duration::from_hours(4);

/// Each step's time; with the carrier's own 10 s and what is before the mark they stay below the function's limit
/// of 45 s.
const MARK_TIMEOUT: Duration = Duration::from_secs(10);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(4);

/// Dials calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// Where conversations are.
    pub table: Table,
    /// Where calls wait that are to be tried later.
    pub queue: Queue<CallJob>,
    /// Opens the customers' secrets.
    pub sealer: Sealer,
    /// The carrier.
    pub carrier: AnyCarrier,
    /// Where the first words of calls are kept.
    pub clips: Clips,
    /// The voices that speak them.
    pub providers: Providers,
    /// Base of the callbacks.
    pub public_url: String,
    /// The websocket that talks.
    pub media_url: String,
}

impl Dialer {
    /// Makes the clients and fetches the carrier's key.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        let sdk = switchboard_aws::sdk_config().await;
        let keys =
            ProviderKeys::load(&sdk, &config.secrets.provider_keys).await.context("PROVIDER_KEYS_SECRET")?;
        let keys = Keys::parse(keys.json()).context("PROVIDER_KEYS_SECRET")?;
        let providers = Providers { http: egress::client(), endpoints: config.endpoints, keys };
        Ok(Self {
            table: Table::new(&sdk, config.table),
            queue: Queue::new(&sdk, config.calls_queue),
            sealer: Sealer::new(&sdk, config.secrets.sealing_key),
            carrier: AnyCarrier::new(&providers),
            clips: Clips::new(&sdk, config.bucket),
            providers,
            public_url: config.callbacks.public_url,
            media_url: config.callbacks.media_url,
        })
    }

    /// Dials a queued call, or ends it, or puts it off; a call that is not queued any more is left alone.
    pub async fn dial(&self, job: CallJob) -> JobOutcome {
        let conversation_id = job.conversation_id;
        // It exists in the TwiML alone; the table has its hash.
        let token = system::random_hex::<32>();
        // Before the mark: whoever dies over it has lost nothing, since the message comes again.
        let characters = AtomicU64::new(0);
        let mut preparing = pin!(self.prepare(job, &characters));
        let is_prepared = self.hold_back(job, preparing.as_mut(), &characters).await;
        let marked = match self.mark(job, &sha256_hex(&token)).await {
            Ok(marked) => marked,
            Err(verdict) => return verdict,
        };
        let opening = self.table.call_account(&self.sealer, &marked.conversation);
        let carrier = match in_time(SETTLE_TIMEOUT, opening).await {
            Ok(account) => self.carrier.through(&account),
            Err(error) => {
                tracing::warn!(%conversation_id, %error, "the customer's account at the carrier was not opened");
                return self.put_off(job, &marked.conversation, None).await;
            }
        };
        let placing = self.place(job, &marked, carrier, &token);
        if is_prepared { placing.await } else { join!(placing, preparing).0 }
    }

    /// Asks the carrier for a marked call, and stores what it said.
    async fn place(
        &self,
        job: CallJob,
        marked: &Snapshot,
        carrier: Option<AnyCarrier>,
        token: &str,
    ) -> JobOutcome {
        let conversation_id = job.conversation_id;
        let created = match &carrier {
            Some(carrier) => self.create(carrier, marked, token).await,
            None => Err(OrderError::Refused { code: 0, message: "the number was released".to_owned() }),
        };
        let settled = match created {
            Ok(call) => {
                tracing::info!(%conversation_id, carrier_call_id = %call, "dialled");
                // A callback may have been faster, and if this is not written, one will bring it.
                let placing = self.change(job, |snapshot| snapshot.conversation.record_placed(call.id()));
                let placed = in_time(SETTLE_TIMEOUT, placing).await;
                if let Ok(Outcome::Unchanged(snapshot)) = &placed
                    && snapshot.conversation.ended().is_some()
                    && let Some(carrier) = &carrier
                {
                    hang_up(carrier, job, &call).await;
                }
                placed
            }
            Err(error @ (OrderError::Refused { .. } | OrderError::Unauthorized(_))) => {
                tracing::warn!(%conversation_id, %error, "refused by the carrier");
                let ending =
                    self.change(job, |snapshot| reject(snapshot, RejectReason::Failed, system::now()));
                in_time(SETTLE_TIMEOUT, ending).await
            }
            Err(error @ OrderError::Uncertain(_)) => {
                tracing::error!(%conversation_id, %error, "perhaps dialled: left to the carrier's callbacks");
                return JobOutcome::Done;
            }
            Err(OrderError::NotNow(error)) => {
                tracing::warn!(%conversation_id, %error, "the carrier takes no call for now");
                return self.put_off(job, &marked.conversation, error.retry_after()).await;
            }
        };
        // The message coming again could not mend this: it would find the call marked.
        if let Err(error) = settled {
            tracing::error!(%conversation_id, %error, "what the carrier said could not be stored");
        }
        JobOutcome::Done
    }

    /// Marks a call as dialled whose turn has come; of all others, what is to become of the message.
    async fn mark(&self, job: CallJob, token_sha256: &str) -> Result<Snapshot, JobOutcome> {
        let CallJob { account_id, conversation_id } = job;
        let now = system::now();
        let marking = async {
            let limits = self.table.limits(account_id).await?;
            let change = |snapshot: &Snapshot| mark(snapshot, token_sha256, now);
            Ok((self.table.dial(&limits, now, account_id, conversation_id, change).await?, limits))
        };
        let outcome = match in_time(MARK_TIMEOUT, marking).await {
            Ok((Admission::Admitted(outcome), _)) => *outcome,
            Ok((Admission::MustWait(calls), limits)) => {
                tracing::info!(%conversation_id, calls.live, calls.waiting, "waits for its turn");
                let delay = calls.try_again_after(&limits, system::random::<1>()[0]);
                return Err(self.wait(job, delay).await);
            }
            // So many others are dialled at this moment that its turn does not come; nothing is written.
            Err(NotDone::Table(TableError::Conflict)) => {
                tracing::warn!(%conversation_id, "not marked, among many others: waits for its turn");
                let delay = backoff(Duration::ZERO, None, system::random::<1>()[0]);
                return Err(self.wait(job, delay).await);
            }
            // If the mark was written nevertheless, the message is dropped when it comes again.
            Err(error) => {
                tracing::warn!(%conversation_id, %error, "not marked: tried again");
                return Err(JobOutcome::Retry);
            }
        };
        match outcome {
            Outcome::Changed(snapshot) if snapshot.conversation.ended().is_none() => Ok(snapshot),
            Outcome::Changed(_) => {
                tracing::info!(%conversation_id, "ended without being dialled");
                Err(JobOutcome::Done)
            }
            Outcome::Unchanged(_) | Outcome::LostLease | Outcome::NotFound => {
                tracing::info!(%conversation_id, "not queued any more: dropped");
                Err(JobOutcome::Done)
            }
        }
    }

    async fn create(
        &self,
        carrier: &AnyCarrier,
        marked: &Snapshot,
        token: &str,
    ) -> Result<CarrierCallId, OrderError> {
        let Conversation { id, account_id, phone_call, .. } = &marked.conversation;
        let Some(phone_call) = phone_call else {
            // A web call is never marked.
            return Err(OrderError::Refused { code: 0, message: "not a phone call".to_owned() });
        };
        let (id, account_id) = (id.to_string(), account_id.to_string());
        let parameters = [("account_id", &*account_id), ("conversation_id", &*id), ("token", token)];
        let base = format!("{}/twilio/{account_id}/{id}", self.public_url);
        let detection = marked.agent.asks_who_answered().then(|| format!("{base}/amd"));
        let document = carrier.document(&Instructions::Connect(ConnectStream {
            url: &self.media_url,
            parameters: &parameters,
            status_callback: &format!("{base}/stream"),
            then: &format!("{base}/resume"),
        }));
        let limit = marked.agent.max_duration_seconds.map(Duration::from_secs);
        carrier
            .place(PlaceCall {
                to: phone_call.to_number.as_str(),
                from: phone_call.from_number.as_str(),
                document: &document,
                status_callback: &format!("{base}/status"),
                detection_callback: detection.as_deref(),
                ring_timeout: RING,
                time_limit: limit.map(|limit| limit.saturating_add(TIME_LIMIT_MARGIN).min(LONGEST_CALL)),
            })
            .await
    }

    /// Has a call that is still queued tried again. Its deadline goes on: it does not wait for ever.
    async fn wait(&self, job: CallJob, delay: Duration) -> JobOutcome {
        let later = async { self.queue.send(&job, delay).await.map_err(TableError::from) };
        match in_time(SETTLE_TIMEOUT, later).await {
            Ok(()) => JobOutcome::Done,
            Err(error) => {
                let conversation_id = job.conversation_id;
                tracing::error!(%conversation_id, %error, "not put off: left to this message");
                JobOutcome::Retry
            }
        }
    }

    /// The call certainly was not placed: takes the mark away and has it tried later.
    async fn put_off(
        &self,
        job: CallJob,
        marked: &Conversation,
        retry_after: Option<Duration>,
    ) -> JobOutcome {
        let conversation_id = job.conversation_id;
        let delay = backoff(system::now().since(marked.created_at), retry_after, system::random::<1>()[0]);
        let later = async {
            let outcome = self.change(job, |snapshot| snapshot.conversation.return_to_queue()).await?;
            // Not possible: somebody ended it meanwhile, so it is not to be dialled either.
            if let Outcome::Changed(_) = outcome {
                self.queue.send(&job, delay).await.map_err(TableError::from)?;
            }
            Ok(())
        };
        match in_time(SETTLE_TIMEOUT, later).await {
            Ok(()) => JobOutcome::Done,
            // Without a mark it is dialled when this message comes again. If the mark is still there,
            // the message is dropped, though the call was never placed: it ends at its deadline.
            Err(error) => {
                tracing::error!(%conversation_id, %error, "not put off: left to this message");
                JobOutcome::Retry
            }
        }
    }

    pub(crate) async fn change(
        &self,
        job: CallJob,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) -> Result<Outcome, TableError> {
        self.table.transition(job.account_id, job.conversation_id, change).await
    }
}

/// The conversation was ended while the call was being placed, by somebody who did not know its id.
async fn hang_up(carrier: &AnyCarrier, job: CallJob, call: &CarrierCallId) {
    let conversation_id = job.conversation_id;
    match timeout(HANG_UP_TIMEOUT, carrier.hang_up(call)).await {
        Ok(Ok(())) => tracing::info!(%conversation_id, "ended meanwhile: hung up"),
        // Its next report finds the conversation ended, and it is hung up then.
        Ok(Err(error)) => tracing::error!(%conversation_id, %error, "ended meanwhile, but not hung up"),
        Err(_elapsed) => tracing::error!(%conversation_id, "ended meanwhile, but not hung up in time"),
    }
}

/// What happens to a call whose turn has come: it is marked as dialled, or it ends at once.
fn mark(snapshot: &Snapshot, token_sha256: &str, now: Timestamp) -> Result<Transition, InvalidTransition> {
    let Snapshot { conversation, agent } = snapshot;
    if !matches!(conversation.state, State::Queued) || conversation.phone_call.is_none() {
        return Err(InvalidTransition);
    }
    if now.since(conversation.created_at) > QUEUED {
        return reject(snapshot, RejectReason::Failed, now);
    }
    if conversation.hook_hangs_up(agent, EventName::ConnectionRequested) {
        return reject(snapshot, RejectReason::HungUp, now);
    }
    conversation.mark_dialing(agent, token_sha256.to_owned(), now)
}

fn reject(
    snapshot: &Snapshot,
    reason: RejectReason,
    now: Timestamp,
) -> Result<Transition, InvalidTransition> {
    // It never began, so there are no minutes to be paid for at any price.
    snapshot.conversation.reject(&snapshot.agent, reason, &Prices::default(), now)
}

/// What took too long, or what the store said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDone {
    #[error("took longer than {} s", .0.as_secs())]
    Late(Duration),
    #[error(transparent)]
    Table(#[from] TableError),
}

pub(crate) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, TableError>>,
) -> Result<T, NotDone> {
    timeout(limit, work).await.map_err(|_| NotDone::Late(limit))?.map_err(NotDone::Table)
}
