//! The event log: what happened, who was told, and telling them again.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use switchboard_aws::table::TableError;
use switchboard_contract::views::{ConversationView, EventView};
use switchboard_model::{
    conversations::Snapshot,
    deliveries::Delivery,
    events::Event,
    ids::{AccountId, ConversationId, EventId},
};

use crate::{
    Api,
    conversations::find,
    errors::ApiError,
    extract::{Caller, Named, Parameters},
    views::PageView,
};

/// How often it looks again when an attempt is recorded meanwhile.
const LOOKS: usize = 4;

/// `GET /conversations/{id}/events`: oldest first.
pub(crate) async fn log(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named,
    parameters: Parameters,
) -> Result<PageView<EventView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    // Only now: whoever asks for a page that cannot be must not learn from the answer whether the id exists.
    let page = parameters.read(switchboard_contract::lists::page)?;
    let (events, has_more) = api.table.events(account, id, page.offset(), page.limit).await?;
    let items = api.shown(account, id, &snapshot, events).await?;
    Ok(PageView { items, index: page.index, has_more })
}

/// `POST /conversations/{id}/events/{event_id}/redeliver`: every webhook that asked for the event gets it
/// again, under the same `webhook-id`; the table's stream brings it there. Answers with the event.
pub(crate) async fn redeliver(
    Caller(account): Caller,
    State(api): State<Api>,
    Named((id, event_id)): Named<(ConversationId, EventId)>,
) -> Result<Json<EventView>, ApiError> {
    let snapshot = find(&api, account, id).await?;
    let sequence = event_id.sequence_in(id, snapshot.conversation.next_sequence).ok_or(ApiError::NotFound)?;
    let (mut events, _) = api.table.events(account, id, sequence - 1, 1).await?;
    let event = events.pop().filter(|event| event.id == event_id).ok_or(ApiError::NotFound)?;
    for webhook in event.webhooks.iter().chain(&event.synchronous) {
        api.send_again(&snapshot, &event, *webhook).await?;
    }
    tracing::info!(%account, conversation = %id, sequence, "to be delivered again");
    let mut items = api.shown(account, id, &snapshot, vec![event]).await?;
    items.pop().map(Json).ok_or(ApiError::NotFound)
}

impl Api {
    async fn send_again(&self, snapshot: &Snapshot, event: &Event, webhook: usize) -> Result<(), ApiError> {
        let conversation = &snapshot.conversation;
        let (account, id, sequence) = (conversation.account_id, conversation.id, event.sequence);
        for _ in 0..LOOKS {
            let before = self.table.delivery(account, id, sequence, webhook).await?;
            let fresh = || Delivery::new(event.id, sequence, webhook, event.created_at);
            let after = before.clone().unwrap_or_else(fresh).again((self.now)());
            match self.table.redeliver(conversation, before.as_ref(), &after).await {
                Err(TableError::Conflict) => {}
                done => return Ok(done?),
            }
        }
        Err(TableError::Conflict.into())
    }

    /// Events that follow each other, as the log shows them.
    async fn shown(
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
            // Read again: the call may have ended between the reads.
            let snapshot = find(self, account, id).await?;
            let messages = self.table.messages(account, id).await?;
            ended.show_conversation(ConversationView::new(&self.public_url, snapshot, Some(messages)));
        }
        Ok(items)
    }
}
