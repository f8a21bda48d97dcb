//! Looks after what is due: ends calls that nobody dialled, answered or reported on, and those whose worker
//! is gone; queues deliveries whose next attempt is further away than a queue can wait (`deliveries`);
//! clears away phone numbers whose purchase was cut short (`numbers`).
//!
//! Once a minute it reads what is due, the longest overdue first, and looks at each conversation by
//! itself: [`switchboard_model::sweep`] decides, the carrier is asked before anything ends, and one that cannot be
//! dealt with is put off and never stands before the others. What it ends, others may be ending at the
//! same time: one write wins, and who lost it looks again.

mod config;
mod deliveries;
mod metrics;
mod numbers;

use std::{collections::BTreeSet, time::Duration};

use switchboard_aws::{
    queue::{DeliveryJob, Queue},
    sealing::Sealer,
    table::{DueItem, Table, TableError},
};
use switchboard_model::{
    conversations::{Conversation, RejectReason, State},
    costs::Prices,
    sweep::{Carrier, Case, Verdict},
};
use switchboard_providers::{
    AnyCarrier,
    carrier::{
        Carrier as _, CarrierCallId,
        calls::{CallStatus, CarrierCall},
    },
};
use switchboard_runtime as system;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

pub use self::config::Config;

/// As many conversations, or deliveries, as are read from the index at once, and how often in one sweep. What is left
/// is the next sweep's.
const PAGE: usize = 100;
const PAGES: usize = 10;
/// As many as are looked at at the same time: the carrier allows some hundred requests a second.
const AT_ONCE: usize = 10;
/// A sweep's time; below the schedule's minute and the function's limit of 55 s.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(45);
/// One conversation's time: the carrier's two requests of at most 10 s each, and the table's.
const ITEM_TIMEOUT: Duration = Duration::from_secs(25);
/// One request's to the table; its own clients give up after 10 s.
const STORE_TIMEOUT: Duration = Duration::from_secs(12);
/// How long what cannot be dealt with is put off.
const PUT_OFF: Duration = Duration::from_mins(2);
/// How often it looks again after somebody else wrote first.
const LOOKS: usize = 4;

/// Looks after what is due. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sweeper {
    /// Where conversations are.
    pub table: Table,
    /// Where attempts to deliver events are queued.
    pub queue: Queue<DeliveryJob>,
    /// Opens the customers' secrets.
    pub sealer: Sealer,
    /// The carrier.
    pub carrier: AnyCarrier,
    /// The deployment's own.
    pub prices: Prices,
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Conversations that were due.
    pub looked_at: usize,
    /// Those of them that were ended.
    pub ended: usize,
    /// Those of them that could not be dealt with, and were put off.
    pub failed: usize,
    /// How long the oldest was overdue.
    pub lag: Duration,
    /// Deliveries that were due and are queued now.
    pub queued: usize,
    /// Phone numbers whose purchase or release was cut short, and that are cleared away now.
    pub cleared: usize,
}

/// What became of one conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Ended,
    Left,
    Failed,
}

/// Why a conversation could not be dealt with.
#[derive(Debug, thiserror::Error)]
enum NotDone {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Carrier(#[from] switchboard_providers::Error),
    #[error("the carrier's id of the call is none")]
    BadCallId,
}

impl Sweeper {
    /// Looks at everything that is due, within bounds.
    ///
    /// # Errors
    /// The index cannot be read. What is wrong with one conversation or delivery is logged, and it is put
    /// off.
    pub async fn sweep(&self) -> Result<Swept, TableError> {
        let deadline = Instant::now() + SWEEP_TIMEOUT;
        let (swept, queued, cleared) =
            tokio::join!(self.conversations(deadline), self.deliveries(deadline), self.numbers(deadline));
        let swept = Swept { queued: queued?, cleared: cleared?, ..swept? };
        let Swept { looked_at, ended, failed, lag, queued, cleared } = &swept;
        tracing::info!(looked_at, ended, failed, lag_s = lag.as_secs(), queued, cleared, "swept");
        Ok(swept)
    }

    async fn conversations(&self, deadline: Instant) -> Result<Swept, TableError> {
        let mut swept = Swept::default();
        let mut seen = BTreeSet::new();
        for _ in 0..PAGES {
            let now = system::now();
            let found = match timeout_at(deadline, self.table.due(now, PAGE)).await {
                Ok(found) => found?,
                Err(_elapsed) => break,
            };
            if let (true, Some(oldest)) = (seen.is_empty(), found.first()) {
                swept.lag = now.since(oldest.due_at);
            }
            // The index lags: what was dealt with may still be in it.
            let new: Vec<_> = found.iter().filter(|item| seen.insert(item.conversation)).copied().collect();
            if new.is_empty() {
                break;
            }
            self.page(new, deadline, &mut swept).await;
            if found.len() < PAGE || Instant::now() >= deadline {
                break;
            }
        }
        Ok(swept)
    }

    /// Looks at some conversations, a few at a time; none that would begin after the deadline.
    async fn page(&self, items: Vec<DueItem>, deadline: Instant, swept: &mut Swept) {
        let mut tasks = JoinSet::new();
        let mut waiting = items.into_iter();
        loop {
            while tasks.len() < AT_ONCE
                && Instant::now() < deadline
                && let Some(item) = waiting.next()
            {
                swept.looked_at += 1;
                let sweeper = self.clone();
                tasks.spawn(async move { sweeper.one(item).await });
            }
            match tasks.join_next().await {
                None => return,
                Some(Ok(Done::Ended)) => swept.ended += 1,
                Some(Ok(Done::Left)) => {}
                Some(Ok(Done::Failed)) => swept.failed += 1,
                // Put off by nobody: the next sweep meets it again, behind what is older.
                Some(Err(panic)) => {
                    tracing::error!(%panic, "one conversation's sweep panicked");
                    swept.failed += 1;
                }
            }
        }
    }

    async fn one(&self, item: DueItem) -> Done {
        let DueItem { account, conversation, .. } = item;
        let why = match timeout(ITEM_TIMEOUT, self.look(item)).await {
            Ok(Ok(done)) => return done,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it took longer than {} s", ITEM_TIMEOUT.as_secs()),
        };
        tracing::error!(%conversation, error = why, "not dealt with: put off");
        let until = system::now().after(PUT_OFF);
        match timeout(STORE_TIMEOUT, self.table.postpone(account, conversation, until)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%conversation, %error, "not put off either"),
            Err(_elapsed) => tracing::error!(%conversation, "not put off in time either"),
        }
        Done::Failed
    }

    /// Looks at one conversation until it is dealt with.
    async fn look(&self, item: DueItem) -> Result<Done, NotDone> {
        let DueItem { account, conversation: id, .. } = item;
        let mut answer: Option<(Option<CarrierCallId>, Carrier)> = None;
        for _ in 0..LOOKS {
            let Some(snapshot) = self.table.conversation(account, id).await? else { return Ok(Done::Left) };
            let lease = self.table.lease(account, id).await?;
            let has_begun = snapshot.conversation.started_at().is_some();
            let messages = if has_begun { self.table.messages(account, id).await? } else { vec![] };
            let case = Case {
                snapshot: &snapshot,
                lease: lease.as_ref(),
                messages: &messages,
                carrier: answer.as_ref().map(|(_, carrier)| carrier),
                prices: &self.prices,
            };
            match case.verdict(system::now()) {
                Verdict::Nothing => return Ok(Done::Left),
                Verdict::Wait(until) => {
                    self.table.postpone(account, id, until).await?;
                    let silent = matches!(answer, Some((_, Carrier::Silent)));
                    return Ok(if silent { Done::Failed } else { Done::Left });
                }
                Verdict::Ask => answer = Some(self.ask(&snapshot.conversation).await?),
                Verdict::End { hang_up, change } => {
                    if let (true, Some((Some(call), _))) = (hang_up, &answer) {
                        // Who could be asked can be told.
                        if let Some(carrier) = self.carrier_of(&snapshot.conversation).await? {
                            carrier.hang_up(call).await?;
                        }
                    }
                    match self.table.commit(&snapshot.conversation, &change).await {
                        Ok(()) => {
                            tracing::info!(conversation = %id, hang_up, "ended");
                            return Ok(Done::Ended);
                        }
                        // Somebody else wrote, or took the lease: what is true now decides.
                        Err(TableError::Conflict) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Err(TableError::Conflict.into())
    }

    /// The carrier through the account that a conversation's call belongs to.
    async fn carrier_of(&self, conversation: &Conversation) -> Result<Option<AnyCarrier>, TableError> {
        Ok(self.carrier.through(&self.table.call_account(&self.sealer, conversation).await?))
    }

    /// What the carrier says of a conversation's call, and which it is if that is certain.
    async fn ask(&self, conversation: &Conversation) -> Result<(Option<CarrierCallId>, Carrier), NotDone> {
        // Of a number that was released nobody can ask any more.
        let carrier = match self.carrier_of(conversation).await {
            Ok(Some(carrier)) => carrier,
            Ok(None) => return Ok((None, Carrier::Unknown)),
            Err(error) => {
                tracing::warn!(conversation = %conversation.id, %error, "the carrier cannot be asked");
                return Ok((None, Carrier::Silent));
            }
        };
        let asked = match (&conversation.carrier_call_id, &conversation.phone_call) {
            (Some(call), _) => {
                let call = carrier.call_id(call).map_err(|_| NotDone::BadCallId)?;
                carrier.fetch(&call).await.map(|state| state.map(|state| (call, state)))
            }
            // The answer to our request was lost, and so was every report.
            (None, Some(phone_call)) => {
                let (to, from) = (&phone_call.to_number, &phone_call.from_number);
                let since = match conversation.state {
                    State::Dialing { dialed_at } | State::Ringing { dialed_at } => dialed_at,
                    _ => conversation.created_at,
                };
                let found = carrier.find(to, from, since).await;
                // Of several nobody can tell which.
                found.map(|mut found| if found.len() == 1 { found.pop() } else { None })
            }
            (None, None) => Ok(None),
        };
        match asked {
            Ok(Some((call, state))) => {
                let carrier = said(&call, &state);
                // Found by its numbers it may yet be another conversation's, which is not to be hung up.
                // If it is this one's it ends all the same: of what has ended no stream is let in.
                let is_certain = conversation.carrier_call_id.is_some();
                Ok((is_certain.then_some(call), carrier))
            }
            Ok(None) => Ok((None, Carrier::Unknown)),
            Err(error) => {
                tracing::warn!(conversation = %conversation.id, %error, "the carrier does not say");
                Ok((None, Carrier::Silent))
            }
        }
    }
}

fn said(call: &CarrierCallId, state: &CarrierCall) -> Carrier {
    let call = call.to_string();
    match state.status {
        // A status that only a later version knows is not known to be an end.
        CallStatus::Queued | CallStatus::Initiated | CallStatus::Ringing | CallStatus::Unknown => {
            Carrier::Rings
        }
        CallStatus::InProgress => Carrier::Talks { call, answered_at: state.answered_at },
        CallStatus::Completed => Carrier::Over { call, talked: state.duration.unwrap_or_default() },
        CallStatus::Busy => Carrier::Rejected(RejectReason::Busy),
        CallStatus::Failed => Carrier::Rejected(RejectReason::Failed),
        CallStatus::NoAnswer => Carrier::Rejected(RejectReason::NoAnswer),
        CallStatus::Canceled => Carrier::Rejected(RejectReason::Canceled),
    }
}
