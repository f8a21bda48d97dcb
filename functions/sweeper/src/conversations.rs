//! Conversations past their deadline: ended, or postponed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use switchboard_aws::{
    queue::CallMessage,
    table::{DueItem, TableError},
};
use switchboard_calls::{HangUpError, hang_up, sweep_input};
use switchboard_model::{
    ids::AccountId,
    sweep::{Carrier, Verdict},
};
use switchboard_providers::carrier::CarrierCallId;
use switchboard_runtime::{now, spans};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::Instrument;

use crate::{
    ITEM_TIMEOUT, PAGE, PAGES, POSTPONEMENT, SweepError, Sweeper, Swept, TABLE_TIMEOUT,
    due_items::{AT_ONCE, run_each},
};

/// How often a conversation is read again after another process was faster.
const MAX_READS: usize = 5;
/// Maximum time for ending the carrier's call.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(12);

/// The context that the items of one sweep share.
#[derive(Clone)]
struct SweepState {
    /// The accounts that were woken. One message is enough for all their waiting calls.
    woken: Arc<Mutex<BTreeSet<AccountId>>>,
    /// The time before which no expired lease is acted on.
    grace_until: Instant,
}

impl SweepState {
    /// False if it was woken before.
    fn insert(&self, account: AccountId) -> bool {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).insert(account)
    }

    fn remove(&self, account: AccountId) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).remove(&account);
    }
}

/// The outcome of a due conversation.
#[derive(Debug, Clone, Copy)]
enum SweptConversation {
    Ended,
    Left,
    Failed,
    /// Its lease expired while the grace lasts: it is looked at again afterwards.
    InGrace(DueItem),
}

impl Sweeper {
    /// Works on the conversations that are due.
    pub(crate) async fn sweep_conversations(
        &self,
        deadline: Instant,
        grace_until: Instant,
    ) -> Result<Swept, TableError> {
        let mut swept = Swept::default();
        let (mut seen, mut in_grace) = (BTreeSet::new(), vec![]);
        let state = SweepState { woken: Arc::default(), grace_until };
        for _ in 0..PAGES {
            let now = now();
            let found = match timeout_at(deadline, self.backend.table.due(now, PAGE)).await {
                Ok(found) => found?,
                Err(_elapsed) => break,
            };
            if let (true, Some(oldest)) = (seen.is_empty(), found.first()) {
                swept.lag = now.since(oldest.due_at);
            }
            let is_last = found.len() < PAGE;
            // The index is eventually consistent: it may still hold what was dealt with.
            let new: Vec<_> = found.into_iter().filter(|item| seen.insert(item.conversation)).collect();
            if new.is_empty() {
                break;
            }
            in_grace.extend(self.sweep_page(new, deadline, &state, &mut swept).await);
            if is_last || Instant::now() >= deadline {
                break;
            }
        }
        // Those that wait for the grace take no place of the others meanwhile.
        if !in_grace.is_empty() {
            sleep_until(grace_until).await;
            self.sweep_page(in_grace, deadline, &state, &mut swept).await;
        }
        Ok(swept)
    }

    async fn sweep_page(
        &self,
        items: Vec<DueItem>,
        deadline: Instant,
        state: &SweepState,
        swept: &mut Swept,
    ) -> Vec<DueItem> {
        let mut in_grace = vec![];
        let work = |item: DueItem| {
            let (sweeper, state) = (self.clone(), state.clone());
            let span = spans::job(item.account, item.conversation);
            async move { sweeper.end_or_postpone(item, &state).await }.instrument(span)
        };
        run_each(AT_ONCE, items, deadline, work, |result| {
            swept.looked_at += 1;
            match result {
                Some(SweptConversation::InGrace(item)) => {
                    swept.looked_at -= 1;
                    in_grace.push(item);
                }
                Some(SweptConversation::Ended) => swept.ended += 1,
                Some(SweptConversation::Left) => {}
                // After a panic it is not postponed: the next sweep meets it again, behind those that are older.
                Some(SweptConversation::Failed) | None => swept.failed += 1,
            }
        })
        .await;
        in_grace
    }

    async fn end_or_postpone(&self, item: DueItem, state: &SweepState) -> SweptConversation {
        let error = match timeout(ITEM_TIMEOUT, self.act_on(item, state)).await {
            Ok(Ok(swept)) => return swept,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it took longer than {} s", ITEM_TIMEOUT.as_secs()),
        };
        tracing::error!(error, "due conversation not dealt with");
        let postponing =
            self.backend.table.postpone(item.account, item.conversation, now().after(POSTPONEMENT));
        match timeout(TABLE_TIMEOUT, postponing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "due conversation not postponed"),
            Err(_elapsed) => tracing::error!("due conversation not postponed in time"),
        }
        SweptConversation::Failed
    }

    /// Has the dialer place the account's waiting calls, as far as there is room for them.
    async fn wake(&self, account: AccountId, state: &SweepState) -> Result<(), TableError> {
        if !state.insert(account) {
            return Ok(());
        }
        let sent = self.calls.send(&CallMessage::Wake { account_id: account }, Duration::ZERO).await;
        if sent.is_err() {
            state.remove(account);
        }
        Ok(sent?)
    }

    /// Acts on one conversation, and reads it again if another process was faster.
    async fn act_on(&self, item: DueItem, state: &SweepState) -> Result<SweptConversation, SweepError> {
        let DueItem { account, conversation: id, .. } = item;
        let table = &self.backend.table;
        let mut inquiry: Option<(Option<CarrierCallId>, Carrier)> = None;
        for _ in 0..MAX_READS {
            let Some(snapshot) = table.conversation(account, id).await? else {
                return Ok(SweptConversation::Left);
            };
            let input = sweep_input(table, snapshot).await?;
            let conversation = &input.snapshot.conversation;
            let has_expired = input.lease.as_ref().is_some_and(|lease| !lease.is_live(now()));
            if has_expired && Instant::now() < state.grace_until {
                // After an outage of the table, its worker may be about to renew it.
                return Ok(SweptConversation::InGrace(item));
            }
            let carrier = inquiry.as_ref().map(|(_, carrier)| carrier);
            match input.verdict(carrier, &self.prices, now()) {
                Verdict::Nothing => return Ok(SweptConversation::Left),
                Verdict::Wait(until) => {
                    table.postpone(account, id, until).await?;
                    let is_silent = matches!(carrier, Some(Carrier::Silent));
                    return Ok(if is_silent { SweptConversation::Failed } else { SweptConversation::Left });
                }
                Verdict::Wake(until) => {
                    self.wake(account, state).await?;
                    table.postpone(account, id, until).await?;
                    return Ok(SweptConversation::Left);
                }
                Verdict::Record(change) => match table.commit(conversation, &change).await {
                    Ok(()) => {
                        tracing::info!("call waits in the carrier's queue");
                        return Ok(SweptConversation::Left);
                    }
                    Err(TableError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                },
                Verdict::Ask => inquiry = Some(self.ask_carrier(conversation).await?),
                Verdict::End { hang_up: is_live, change } => {
                    let is_recorded = input.snapshot.agent.recording && conversation.started_at().is_some();
                    if let (true, Some((Some(call), _))) = (is_live, &inquiry) {
                        match hang_up(&self.backend, conversation, call, HANG_UP_TIMEOUT).await {
                            Ok(()) | Err(HangUpError::NumberReleased) => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                    match table.commit(conversation, &change).await {
                        Ok(()) => {
                            tracing::info!(was_live = is_live, "conversation ended");
                            if is_recorded {
                                // If this fails, the first request for the recording does it.
                                table.want_recording(&change.conversation, now()).await?;
                            }
                            return Ok(SweptConversation::Ended);
                        }
                        // Another process wrote, or took the lease: the new state decides.
                        Err(TableError::Conflict) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Err(TableError::Conflict.into())
    }
}
