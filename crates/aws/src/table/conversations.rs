//! Conversations: their state, messages and events.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use switchboard_model::{
    accounts::Limits,
    agents::AgentConfig,
    conversations::{Conversation, InvalidTransition, Lease, Snapshot, State, Transition},
    ids::{AccountId, ConversationId},
    limits::{Counters, Rate, Slots},
    time::Timestamp,
};

use super::{
    ATTEMPTS, Table, TableError, back_off, checks,
    conditions::Condition,
    items::{self, Item, StoredConfig},
    limits::Room,
    packs, request_error,
    transactions::{Guard, Write},
};
use crate::failure::{Cause, ServiceError};
use crate::keys::{self, CONFIG, LEASE, STATE};

/// Maximum number of items in one read (DynamoDB, `BatchGetItem`).
pub(super) const BATCH: usize = 100;

/// The result of a transition.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Outcome {
    /// It was written; this is the conversation after it.
    Changed(Snapshot),
    /// The state does not allow it; this is the conversation as it is.
    Unchanged(Snapshot),
    /// The lease forbids it, and nothing was written: the caller has lost its own lease ([`Table::transition_as`]), or
    /// has none and tried to end a conversation that a live lease protects.
    LostLease,
    /// The account has no such conversation.
    NotFound,
}

/// The result of a transition that may take a slot for a live call.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Admission {
    /// The limits allow it. A transition that takes no slot is always admitted.
    Admitted(Box<Outcome>),
    /// The account has reached its limit of live calls, or of calls started per second, and nothing was written. These
    /// are its counters.
    MustWait(Counters),
}

/// The result of storing a requested outbound call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Queued {
    /// It is stored and waits to be placed.
    Stored,
    /// A conversation of this id exists. Nothing was written.
    Exists,
    /// [`MAX_WAITING`](switchboard_model::limits::MAX_WAITING) calls of the account wait. Nothing was written.
    TooMany,
}

/// The outcome of storing an inbound call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is stored.
    Stored,
    /// A conversation of this id exists. Nothing was written.
    Exists,
    /// The account has as many live inbound calls as it may. Nothing was written.
    Full,
}

/// The start of a call at the carrier.
#[derive(Debug, Clone, Copy)]
pub struct CallStart {
    /// The calls per second of the deployment's account at the carrier. A customer's own account there has the calls per
    /// second of the customer's limits.
    pub deployment: Rate,
    /// The time.
    pub at: Timestamp,
}

/// The writer of a transition.
#[derive(Clone, Copy)]
enum Author<'a> {
    /// A function without a lease.
    Other,
    /// The worker with this lease.
    Holder(&'a str),
    /// A worker that takes this lease with the same write.
    Taker(&'a Lease),
    /// The dialer, within these limits.
    Dialer(&'a Limits, CallStart),
}

impl Table {
    /// Stores a new conversation, state and configuration together. Its slot is counted, but no limit applies.
    /// [`TableError::Conflict`] if its id exists.
    pub async fn create_conversation(&self, snapshot: &Snapshot) -> Result<(), TableError> {
        match self.insert(snapshot, None).await? {
            None => Ok(()),
            Some(_) => Err(TableError::Conflict),
        }
    }

    /// Stores a new call that waits to be placed, unless too many calls of the account wait.
    pub async fn queue_call(&self, snapshot: &Snapshot) -> Result<Queued, TableError> {
        Ok(match self.insert(snapshot, Some(Room::Waiting)).await? {
            None => Queued::Stored,
            Some(Guard::Full) => Queued::TooMany,
            Some(Guard::Exists | Guard::Forbidden) => Queued::Exists,
        })
    }

    async fn insert(&self, snapshot: &Snapshot, room: Option<Room>) -> Result<Option<Guard>, TableError> {
        let writes = self.insertion(snapshot, room).await?;
        self.transact(writes).await
    }

    async fn insertion(&self, snapshot: &Snapshot, room: Option<Room>) -> Result<Vec<Write>, TableError> {
        let Snapshot { conversation, agent } = snapshot;
        let pk = keys::conversation_pk(conversation.account_id, conversation.id);
        let config = self.seal_config(conversation.account_id, agent).await?;
        let mut writes = vec![
            self.put_new(items::state_item(conversation)?).guarded_by(Guard::Exists),
            self.put_new(Item::new(pk, CONFIG, &config)?.expiring(conversation.expires_at)),
        ];
        writes.extend(checks::of_new(snapshot)?.map(|check| self.put_new(check)));
        writes.extend(self.count(
            conversation.account_id,
            Slots::default().change(conversation.slots()),
            room,
        ));
        Ok(writes)
    }

    /// Stores an inbound call, whose first write is a transition: state, configuration and events together. One that is
    /// rejected takes no slot, so that it is stored whatever the limits.
    pub async fn begin(
        &self,
        change: &Transition,
        agent: &AgentConfig,
        limits: &Limits,
    ) -> Result<Begun, TableError> {
        let conversation = &change.conversation;
        let room = Room::Inbound { most: limits.inbound_calls };
        let snapshot = Snapshot { conversation: conversation.clone(), agent: agent.clone() };
        let mut writes = self.insertion(&snapshot, Some(room)).await?;
        // A new conversation has no events before these.
        let first = change.events.first().map_or(conversation.next_sequence, |event| event.sequence);
        let before = Conversation { next_sequence: first, next_message: 1, ..conversation.clone() };
        writes
            .extend(packs::of_transition(&before, change, None)?.into_iter().map(|pack| self.put_new(pack)));
        Ok(match self.transact(writes).await? {
            None => Begun::Stored,
            Some(Guard::Full) => Begun::Full,
            Some(Guard::Exists | Guard::Forbidden) => Begun::Exists,
        })
    }

    /// `None` if the account has no such conversation, or its deletion has begun.
    pub async fn conversation(
        &self,
        account: AccountId,
        id: ConversationId,
    ) -> Result<Option<Snapshot>, TableError> {
        let pk = keys::conversation_pk(account, id);
        let found = tokio::try_join!(self.get(pk.clone(), STATE), self.get(pk, CONFIG))?;
        let (Some(state), Some(config)) = found else { return Ok(None) };
        let mut conversation: Conversation = state.read(STATE)?;
        if matches!(conversation.state, State::Started { .. })
            && let Some(progress) = self.progress(account, id).await?
        {
            conversation = conversation.advanced_to(progress);
        }
        let agent = self.open_config(account, &config.read::<StoredConfig>(CONFIG)?).await?;
        Ok(Some(Snapshot { conversation, agent }))
    }

    /// The states of many conversations, in no order, as they were last written: of a live one without the events that its
    /// worker stored since. Missing ones and those that cannot be decoded are left out: one
    /// damaged item does not hide the others.
    pub async fn states(
        &self,
        conversations: &[(AccountId, ConversationId)],
    ) -> Result<Vec<Conversation>, TableError> {
        // A key that is given twice fails the whole request.
        let distinct: BTreeSet<_> = conversations.iter().collect();
        let keys: Vec<_> = distinct
            .into_iter()
            .map(|(account, id)| items::key(keys::conversation_pk(*account, *id), STATE))
            .collect();
        let mut found = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            found.extend(self.batch(batch.to_vec()).await?);
        }
        Ok(found.into_iter().filter_map(|item| item.read(STATE).ok()).collect())
    }

    /// Items by their keys, at most [`BATCH`]. A busy table leaves some for the next request.
    pub(super) async fn batch(
        &self,
        mut keys: Vec<HashMap<String, AttributeValue>>,
    ) -> Result<Vec<Item>, TableError> {
        let mut found = Vec::with_capacity(keys.len());
        for attempt in 0..ATTEMPTS {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .map_err(|error| TableError::Refused(Cause::new(error.to_string())))?;
            let request = self.client.batch_get_item().request_items(&self.name, wanted).send();
            let response = Box::pin(request).await.map_err(|error| request_error("BatchGetItem", &error))?;
            found.extend(
                response.responses.into_iter().flatten().flat_map(|(_, items)| items).map(Item::from),
            );
            keys = response.unprocessed_keys.into_iter().flatten().flat_map(|(_, left)| left.keys).collect();
            if keys.is_empty() {
                return Ok(found);
            }
            back_off(attempt).await;
        }
        Err(ServiceError::Throttled(Cause::new("BatchGetItem: keys were left unprocessed")).into())
    }

    /// Writes a transition from `before`: state, events and messages, all or nothing. [`Table::append`] writes events alone. A transition that ends the
    /// conversation deletes its lease, and is refused while the lease is live: only its holder may end it then.
    ///
    /// [`TableError::Conflict`] if another writer changed the conversation or the lease is live;
    /// [`TableError::TooLarge`] above [`MAX_ITEMS`](super::MAX_ITEMS) items, the state and the lease included: a
    /// transition is never split.
    pub async fn commit(&self, before: &Conversation, transition: &Transition) -> Result<(), TableError> {
        self.write(self.writes(before, transition, Author::Other, None)?).await
    }

    fn writes(
        &self,
        before: &Conversation,
        transition: &Transition,
        author: Author<'_>,
        room: Option<Room>,
    ) -> Result<Vec<Write>, TableError> {
        let after = &transition.conversation;
        let pk = keys::conversation_pk(before.account_id, before.id);
        let unchanged = Condition::new("version = :before").number(":before", &before.version);
        let mut writes = vec![self.put_if(items::state_item(after)?, &unchanged)];
        // A conversation may have ended before its end is written. The event's time is the time of the write.
        let now = after
            .ended()
            .map(|(ended_at, ..)| transition.events.last().map_or(ended_at, |last| last.created_at));
        writes.extend(self.lease_write(&pk, now, author)?);
        writes.extend(self.count(before.account_id, before.slots().change(after.slots()), room));
        writes.extend(self.spend(Some(before), after));
        if after.takeovers > before.takeovers {
            writes.push(self.put_new(packs::of_takeover(before, after)?));
        }
        let packs = packs::of_transition(before, transition, None)?;
        writes.extend(packs.into_iter().map(|pack| self.put_new(pack)));
        Ok(writes)
    }

    /// The write of the lease that belongs to a transition. `ended` is the time of the write if the transition ends
    /// the conversation.
    fn lease_write(
        &self,
        pk: &str,
        ended: Option<Timestamp>,
        author: Author<'_>,
    ) -> Result<Option<Write>, TableError> {
        let held = |holder: &str| Condition::new("holder = :holder").text(":holder", &holder);
        Ok(match (author, ended) {
            (Author::Holder(holder), Some(_)) => {
                Some(self.delete_if(pk.to_owned(), LEASE, &held(holder)).guarded_by(Guard::Forbidden))
            }
            (Author::Holder(holder), None) => {
                Some(self.check(pk.to_owned(), LEASE, &held(holder)).guarded_by(Guard::Forbidden))
            }
            (Author::Taker(lease), None) => Some(self.put(items::lease_item(pk.to_owned(), lease)?)),
            (Author::Other | Author::Taker(_) | Author::Dialer(..), Some(now)) => {
                // Times of one form sort as text.
                let free = Condition::new("attribute_not_exists(pk) OR #until <= :now")
                    .name("#until", "until")
                    .text(":now", &now);
                Some(self.delete_if(pk.to_owned(), LEASE, &free).guarded_by(Guard::Forbidden))
            }
            (Author::Other | Author::Dialer(..), None) => None,
        })
    }

    /// Reads the conversation, decides with `change`, and writes the transition. If another writer was faster, it
    /// starts again, at most ten times, so `change` may be called more than once.
    ///
    /// A transition that ends the conversation is refused ([`Outcome::LostLease`]) while a worker's lease is live:
    /// leave a worker signal instead.
    pub async fn transition(
        &self,
        account: AccountId,
        id: ConversationId,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) -> Result<Outcome, TableError> {
        admitted(self.change(Author::Other, account, id, change).await?)
    }

    /// Like [`transition`](Self::transition), for the holder of the lease. [`Outcome::LostLease`] if another worker
    /// has the lease, or it was deleted. After [`TableError::Unavailable`] the write may have happened: a retry sees
    /// it in the snapshot, by the numbers of the next event and message, which only the holder changes.
    pub async fn transition_as(
        &self,
        holder: &str,
        account: AccountId,
        id: ConversationId,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) -> Result<Outcome, TableError> {
        admitted(self.change(Author::Holder(holder), account, id, change).await?)
    }

    /// Like [`transition`](Self::transition), for a worker that was admitted by the one-use token: the same write
    /// gives it the lease. So a live conversation has a holder or a deadline at any moment, and no other worker can
    /// come between.
    pub async fn transition_taking(
        &self,
        lease: &Lease,
        account: AccountId,
        id: ConversationId,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) -> Result<Outcome, TableError> {
        admitted(self.change(Author::Taker(lease), account, id, change).await?)
    }

    /// Like [`transition`](Self::transition), for the dialer: a transition that takes a slot for a live call happens
    /// only within the limits. It takes a token from the calls per second of the account at the carrier that the call goes
    /// through, and, if that is the deployment's, one from the account's share of them.
    pub async fn dial(
        &self,
        limits: &Limits,
        start: CallStart,
        account: AccountId,
        id: ConversationId,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) -> Result<Admission, TableError> {
        self.change(Author::Dialer(limits, start), account, id, change).await
    }

    async fn change(
        &self,
        author: Author<'_>,
        account: AccountId,
        id: ConversationId,
        mut change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) -> Result<Admission, TableError> {
        let done = |outcome| Ok(Admission::Admitted(Box::new(outcome)));
        // Taken once: a call that loses a race keeps its token. A call that then has to wait wastes it.
        let mut may_start = false;
        for attempt in 0..ATTEMPTS {
            let Some(snapshot) = self.conversation(account, id).await? else {
                return done(Outcome::NotFound);
            };
            let Ok(mut transition) = change(&snapshot) else { return done(Outcome::Unchanged(snapshot)) };
            let before = &snapshot.conversation;
            if matches!(author, Author::Taker(_)) && transition.events.is_empty() {
                // Then the empty pack keeps an earlier worker from storing events.
                transition.conversation.takeovers += 1;
            }
            let room = match author {
                Author::Dialer(limits, start)
                    if before.slots().change(transition.conversation.slots()).live > 0 =>
                {
                    let counters = self.counters(account).await?;
                    let own = self.own_carrier_account(account, before.legs.caller()).await?;
                    let take = counters.admit(limits, start.at);
                    if !counters.has_slot(limits) || (own.is_none() && take.is_none()) {
                        return Ok(Admission::MustWait(counters));
                    }
                    let rate = if own.is_some() { Rate::calls(limits) } else { start.deployment };
                    if !may_start && self.take_call_start(own.as_deref(), rate, start.at).await?.is_some() {
                        return Ok(Admission::MustWait(counters));
                    }
                    may_start = true;
                    Some(Room::Live { most: limits.live_calls, take: take.filter(|_| own.is_none()) })
                }
                _ => None,
            };
            match self.transact(self.writes(before, &transition, author, room)?).await {
                Ok(None) => {
                    let conversation = transition.conversation;
                    return done(Outcome::Changed(Snapshot { conversation, ..snapshot }));
                }
                // Another call took the last slot or token: read the counters again.
                Ok(Some(Guard::Full)) | Err(TableError::Conflict) => back_off(attempt).await,
                Ok(Some(Guard::Forbidden | Guard::Exists)) => return done(Outcome::LostLease),
                Err(error) => return Err(error),
            }
        }
        Err(TableError::Conflict)
    }
}

/// Only the dialer can be told to wait.
fn admitted(admission: Admission) -> Result<Outcome, TableError> {
    match admission {
        Admission::Admitted(outcome) => Ok(*outcome),
        Admission::MustWait(_) => Err(TableError::Conflict),
    }
}
