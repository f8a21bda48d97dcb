//! The events and messages of a conversation, which are stored in [packs].

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use switchboard_model::{
    conversations::{Conversation, Progress, Transition},
    events::Event,
    function_rounds::FunctionRound,
    ids::{AccountId, ConversationId},
    messages::Message,
};

use super::{
    Table, TableError,
    items::Item,
    packs::{self, StoredBy},
    request_error,
    single_writes::Refusal,
};
use crate::keys::{self, EVENT, MESSAGE};

/// The result of appending events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// They are stored.
    Stored,
    /// Another worker has taken the conversation over, or it has ended. Nothing was written.
    LostLease,
}

impl Table {
    /// Appends the events and messages of a transition to a live conversation, and nothing else: its state stays as it
    /// was written. One plain write, and a repeated one does no harm.
    ///
    /// Only the holder of the lease may call it, with `before` as it knows the conversation since it took the lease: that
    /// is what it is checked by.
    ///
    /// # Errors
    /// [`TableError::TooLarge`] for an event above 400 KB. After [`TableError::Unavailable`] the write may have happened;
    /// then the same call succeeds.
    pub async fn append(
        &self,
        holder: &str,
        before: &Conversation,
        transition: &Transition,
    ) -> Result<Appended, TableError> {
        self.append_with(holder, before, transition, &[]).await
    }

    /// Like [`append`](Self::append), with function calls for the worker that takes the conversation over. They are stored
    /// with the events: without an event they are not.
    ///
    /// # Errors
    /// As for [`append`](Self::append); function calls may be what is too large.
    pub async fn append_with(
        &self,
        holder: &str,
        before: &Conversation,
        transition: &Transition,
        functions: &[FunctionRound],
    ) -> Result<Appended, TableError> {
        let stored_by = StoredBy { holder, after: &transition.conversation, functions };
        let packs = packs::of_transition(before, transition, Some(&stored_by))?;
        if packs.iter().any(packs::is_too_large) {
            return Err(TableError::TooLarge);
        }
        for pack in packs {
            if self.put_pack(pack).await? == Appended::LostLease {
                return Ok(Appended::LostLease);
            }
        }
        Ok(Appended::Stored)
    }

    async fn put_pack(&self, pack: Item) -> Result<Appended, TableError> {
        let pack = pack.into_attributes();
        let request = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(pack.clone()))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send();
        let Err(error) = Box::pin(request).await else { return Ok(Appended::Stored) };
        if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
            // It may be this write, whose response was lost.
            let is_ours = failed.item() == Some(&pack);
            return Ok(if is_ours { Appended::Stored } else { Appended::LostLease });
        }
        match Refusal::of(&error) {
            // Another worker's transaction.
            Some(Refusal::Conflict) => Err(TableError::Conflict),
            _ => Err(request_error("PutItem", &error)),
        }
    }

    /// The progress that the last pack was stored with.
    pub(super) async fn progress(
        &self,
        account: AccountId,
        id: ConversationId,
    ) -> Result<Option<Progress>, TableError> {
        let last = self.last_pack(keys::conversation_pk(account, id), format!("{EVENT}~")).await?;
        Ok(last.map(packs::progress).transpose()?.flatten())
    }

    /// The last pack whose `sk` is not above `to`.
    async fn last_pack(&self, pk: String, to: String) -> Result<Option<Item>, TableError> {
        let request = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":from", AttributeValue::S(EVENT.to_owned()))
            .expression_attribute_values(":to", AttributeValue::S(to))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(1)
            .send();
        let page = Box::pin(request).await.map_err(|error| request_error("Query", &error))?;
        Ok(page.items.unwrap_or_default().pop().map(Item::from))
    }

    /// The `sk` of the pack with the event `sequence`, or of the one before its place.
    pub(super) async fn pack_of(&self, pk: String, sequence: u64) -> Result<String, TableError> {
        if sequence <= 1 {
            return Ok(EVENT.to_owned());
        }
        let pack = self.last_pack(pk, keys::after_packs_sk(sequence)).await?;
        Ok(pack.as_ref().and_then(Item::sk).unwrap_or(EVENT).to_owned())
    }

    /// All messages, in order. The table leaves out the packs without one, but charges for reading them: a separate list of
    /// messages would double the writes of a call, which cost more than these reads.
    pub async fn messages(&self, account: AccountId, id: ConversationId) -> Result<Vec<Message>, TableError> {
        // A filter cannot name a key; each message of version 0.1.0 has a content.
        let names = [("#messages", packs::MESSAGES), ("#content", "content")];
        let only = "attribute_exists(#messages) OR attribute_exists(#content)";
        Ok(self.read_transcript(account, id, only, &names).await?.0)
    }

    /// All messages, in order, and the function calls that workers left for the next one, in the order of their results.
    pub async fn transcript(
        &self,
        account: AccountId,
        id: ConversationId,
    ) -> Result<(Vec<Message>, Vec<FunctionRound>), TableError> {
        let names =
            [("#messages", packs::MESSAGES), ("#content", "content"), ("#functions", packs::FUNCTIONS)];
        let only =
            "attribute_exists(#messages) OR attribute_exists(#content) OR attribute_exists(#functions)";
        self.read_transcript(account, id, only, &names).await
    }

    async fn read_transcript(
        &self,
        account: AccountId,
        id: ConversationId,
        only: &'static str,
        names: &[(&'static str, &'static str)],
    ) -> Result<(Vec<Message>, Vec<FunctionRound>), TableError> {
        // Packs, the lease, and the messages of version 0.1.0. No number sorts after a tilde.
        let pk = keys::conversation_pk(account, id);
        let mut pages = self.pages(pk, EVENT.to_owned(), format!("{MESSAGE}~")).only(only, names);
        let (mut packed, mut single, mut functions) = (vec![], vec![], vec![]);
        while let Some(page) = pages.next(usize::MAX).await? {
            for item in page {
                match item.sk() {
                    Some(sk) if sk.starts_with(EVENT) => {
                        functions.extend(packs::functions(&item)?);
                        packed.extend(packs::messages(item)?);
                    }
                    Some(sk) if sk.starts_with(MESSAGE) => single.extend(packs::messages(item)?),
                    _ => {}
                }
            }
        }
        single.extend(packed);
        Ok((single, functions))
    }

    /// At most `limit` events in order, from the one after `offset`, and whether there are more.
    pub async fn events(
        &self,
        account: AccountId,
        id: ConversationId,
        offset: u64,
        limit: usize,
    ) -> Result<(Vec<Event>, bool), TableError> {
        // Events are numbered from 1 without gaps, so an offset is a number.
        let first = offset.saturating_add(1);
        let pk = keys::conversation_pk(account, id);
        let from = self.pack_of(pk.clone(), first).await?;
        // Takeovers leave packs without events: any number of them may follow each other.
        let mut pages = self.pages(pk, from, format!("{EVENT}~"));
        let mut events = vec![];
        while events.len() <= limit
            && let Some(page) = pages.next(limit + 1 - events.len()).await?
        {
            for item in page {
                if events.len() <= limit {
                    events.extend(packs::events(item)?.into_iter().filter(|event| event.sequence >= first));
                }
            }
        }
        let has_more = events.len() > limit;
        events.truncate(limit);
        Ok((events, has_more))
    }

    /// One event. `None` if it was deleted.
    pub(super) async fn event(
        &self,
        account: AccountId,
        id: ConversationId,
        sequence: u64,
    ) -> Result<Option<Event>, TableError> {
        let pk = keys::conversation_pk(account, id);
        let Some(pack) = self.last_pack(pk, keys::after_packs_sk(sequence)).await? else { return Ok(None) };
        Ok(packs::events(pack)?.into_iter().find(|event| event.sequence == sequence))
    }
}
