//! Ending a conversation, in whatever state it is.

use std::time::Duration;

use axum::{Json, extract::State};
use switchboard_aws::table::{Outcome, TableError};
use switchboard_contract::views::ConversationView;
use switchboard_model::{
    conversations::{Conversation, EndedReason, InvalidTransition, Snapshot, State as Standing},
    ids::{AccountId, ConversationId},
    sweep::{Carrier, Case, Verdict},
};
use tokio::time::timeout;

use crate::{
    Api, conversations,
    errors::ApiError,
    extract::{Caller, Named},
};

/// How long the carrier may take to hang up, so that there is time left to answer.
const HANG_UP: Duration = Duration::from_secs(4);
/// How often it looks again when the conversation moves on meanwhile.
const LOOKS: usize = 4;

/// `POST /conversations/{id}/end`: answers with the conversation as it is then. One that a worker holds
/// goes on for a second or so, until that worker has stored the last words and hung up.
pub(crate) async fn end(
    Caller(account): Caller,
    State(api): State<Api>,
    Named(id): Named,
) -> Result<Json<ConversationView>, ApiError> {
    for _ in 0..LOOKS {
        match api.end_at_once(account, id).await? {
            Outcome::NotFound => return Err(ApiError::NotFound),
            Outcome::Changed(snapshot) => {
                // Only now: whoever reports or connects this call finds it ended already.
                api.hang_up(&snapshot.conversation).await;
                break;
            }
            Outcome::Unchanged(snapshot) if snapshot.conversation.ended().is_some() => break,
            Outcome::Unchanged(_) | Outcome::LostLease => {
                if api.end_started(account, id).await? {
                    break;
                }
            }
        }
    }
    let snapshot = conversations::find(&api, account, id).await?;
    let messages = api.table.messages(account, id).await?;
    Ok(Json(ConversationView::new(&api.public_url, snapshot, Some(messages))))
}

impl Api {
    /// Before it is started nobody holds it.
    async fn end_at_once(&self, account: AccountId, id: ConversationId) -> Result<Outcome, TableError> {
        let now = (self.now)();
        self.table
            .transition(account, id, |Snapshot { conversation, agent }| {
                if let Standing::Started { .. } = conversation.state {
                    return Err(InvalidTransition);
                }
                let usage = &conversation.usage;
                conversation.end(agent, EndedReason::AgentEnded, &[], usage, &self.prices, now)
            })
            .await
    }

    /// Leaves a note for the worker that holds it; if there is none any more, ends it. False: it has
    /// changed meanwhile.
    async fn end_started(&self, account: AccountId, id: ConversationId) -> Result<bool, TableError> {
        let now = (self.now)();
        let noted =
            self.table.transition(account, id, |snapshot| snapshot.conversation.request_end(now)).await?;
        let (Outcome::Changed(snapshot) | Outcome::Unchanged(snapshot)) = noted else { return Ok(false) };
        let lease = self.table.lease(account, id).await?;
        let messages = self.table.messages(account, id).await?;
        let case = Case {
            snapshot: &snapshot,
            lease: lease.as_ref(),
            messages: &messages,
            // It is hung up here, whatever the carrier would say.
            carrier: Some(&Carrier::Unknown),
            prices: &self.prices,
        };
        let Verdict::End { change, .. } = case.verdict(now) else { return Ok(true) };
        self.hang_up(&snapshot.conversation).await;
        match self.table.commit(&snapshot.conversation, &change).await {
            Ok(()) => Ok(true),
            Err(TableError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends the carrier's call, if its id is known. The conversation is over whatever the carrier
    /// answers: of a call that goes on the next report, or the stream that is not let in, is its end.
    async fn hang_up(&self, conversation: &Conversation) {
        let Some(call) = conversation.carrier_call_id.as_ref().and_then(|call| call.parse().ok()) else {
            return;
        };
        let hanging_up = async {
            let account = self.table.call_account(&self.sealer, conversation).await?;
            match self.calls.through(&account) {
                Some(calls) => Ok::<_, anyhow::Error>(calls.hang_up(&call).await?),
                None => Ok(()),
            }
        };
        match timeout(HANG_UP, hanging_up).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(conversation = %conversation.id, %error, "not hung up");
            }
            Err(_elapsed) => tracing::error!(conversation = %conversation.id, "not hung up in time"),
        }
    }
}
