//! `/conversations/{id}/events`: list the events with their deliveries, and deliver one again.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State};
use switchboard_aws::table::{DeliveryKey, TableError};
use switchboard_contract::{conversations::ConversationView, events::EventView, lists::ListEvents};
use switchboard_model::{
    conversations::{Snapshot, Status},
    deliveries::Delivery,
    events::Event,
    ids::{AccountId, ConversationId, EventId},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    Api,
    conversations::find,
    errors::ApiError,
    extract::{Caller, PathParameter, Query},
    pages::PageResponse,
};

/// Maximum number of tries while attempts are recorded.
const TRIES: usize = 4;

/// Time between two looks at the table of a request that waits: a person who follows a call notices no second, and a look
/// costs four reads and a write, which counts it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Requests as which each second of a wait counts. A waiting request holds an instance of the function, so an account holds
/// at most a quarter of its requests per second.
const COUNTS_PER_SECOND: u32 = 4;
/// Time that the looks of one request may take beyond its `wait`, if the table is slow. The gateway gives it 30 s in all.
const LOOK_MARGIN: Duration = Duration::from_secs(3);

/// `GET /conversations/{id}/events`: oldest first.
pub(crate) async fn list(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter(id): PathParameter<ConversationId>,
    query: Query,
) -> Result<PageResponse<EventView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    // After the look-up: an unknown id is a 404 also for a wrong query, like the id of another account.
    let query = query.read(ListEvents::read)?;
    let mut found = api.table.events(account, id, query.offset(), query.page.limit).await?;
    // The conversation was read first: after its end there is no later event.
    if found.0.is_empty() && !has_ended(&snapshot) {
        found = api.await_events(account, id, query).await?;
    }
    let (events, has_more) = found;
    let items = api.event_views(account, id, &snapshot, events).await?;
    Ok(PageResponse::new((items, has_more), query.page, |event| event))
}

/// `POST /conversations/{id}/events/{event_id}/redeliver`: every webhook that the event matched receives it again, under
/// the same `webhook-id`. The relay queues the deliveries from the table's stream.
pub(crate) async fn redeliver(
    Caller(account): Caller,
    State(api): State<Api>,
    PathParameter((id, event_id)): PathParameter<(ConversationId, EventId)>,
) -> Result<Json<EventView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    let sequence = event_id.sequence_in(id, snapshot.conversation.next_sequence).ok_or(ApiError::NotFound)?;
    let (mut events, _) = api.table.events(account, id, sequence - 1, 1).await?;
    let event = events.pop().filter(|event| event.id == event_id).ok_or(ApiError::NotFound)?;
    for webhook in event.webhooks.iter().chain(&event.synchronous) {
        api.redeliver_to(&snapshot, &event, *webhook).await?;
    }
    tracing::info!(sequence, "redelivery requested");
    let mut items = api.event_views(account, id, &snapshot, vec![event]).await?;
    items.pop().map(Json).ok_or(ApiError::NotFound)
}

fn has_ended(snapshot: &Snapshot) -> bool {
    snapshot.conversation.status() == Status::Ended
}

impl Api {
    /// Looks once a second until there is an event, the conversation has ended, or the time of the query is over.
    async fn await_events(
        &self,
        account: AccountId,
        id: ConversationId,
        query: ListEvents,
    ) -> Result<(Vec<Event>, bool), ApiError> {
        let looking = async {
            let mut looks = interval(LOOK_INTERVAL);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first tick is at once.
            looks.tick().await;
            for _ in 0..query.wait {
                self.count(account, COUNTS_PER_SECOND).await?;
                looks.tick().await;
                let snapshot = find(self, account, id).await?;
                let found = self.table.events(account, id, query.offset(), query.page.limit).await?;
                if !found.0.is_empty() || has_ended(&snapshot) {
                    return Ok(found);
                }
            }
            Ok((vec![], false))
        };
        let limit = Duration::from_secs(query.wait) + LOOK_MARGIN;
        timeout(limit, looking).await.unwrap_or_else(|_elapsed| Ok((vec![], false)))
    }

    async fn redeliver_to(&self, snapshot: &Snapshot, event: &Event, webhook: usize) -> Result<(), ApiError> {
        let conversation = &snapshot.conversation;
        let (account, sequence) = (conversation.account_id, event.sequence);
        let key = DeliveryKey { account, conversation: conversation.id, sequence, webhook };
        for _ in 0..TRIES {
            let before = self.table.delivery(key).await?;
            let fresh = || Delivery::new(event.id, sequence, webhook, event.created_at);
            let after = before.clone().unwrap_or_else(fresh).again((self.now)());
            match self.table.redeliver(conversation, before.as_ref(), &after).await {
                Err(TableError::Conflict) => {}
                done => return Ok(done?),
            }
        }
        Err(TableError::Conflict.into())
    }

    /// The views of consecutive events.
    pub(crate) async fn event_views(
        &self,
        account: AccountId,
        id: ConversationId,
        snapshot: &Snapshot,
        events: Vec<Event>,
    ) -> Result<Vec<EventView>, ApiError> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(vec![]) };
        let found = self.table.deliveries(account, id, first.sequence, last.sequence).await?;
        let mut deliveries: BTreeMap<u64, Vec<Delivery>> = BTreeMap::new();
        for delivery in found {
            deliveries.entry(delivery.sequence).or_default().push(delivery);
        }
        let view = |event: Event| {
            let known = deliveries.remove(&event.sequence).unwrap_or_default();
            EventView::new(event, &snapshot.agent, known)
        };
        let mut items: Vec<_> = events.into_iter().map(view).collect();
        if let Some(ended) = items.last_mut().filter(|event| event.is_end()) {
            // The first read may have been before the end of the call.
            let snapshot = find(self, account, id).await?;
            let messages = self.table.messages(account, id).await?;
            ended.show_conversation(ConversationView::new(&self.public_url, snapshot, Some(messages)));
        }
        Ok(items)
    }
}
