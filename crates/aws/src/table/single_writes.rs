//! Writes of one item, outside of a transaction.

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::ReturnValue,
};

use super::{
    Table, TableError,
    conditions::{Condition, conditional},
    items::{self, Item},
    request_error,
};

/// Why the table refused a well-formed write of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The condition does not hold.
    Condition,
    /// A transaction on the same item is in progress: try again.
    Conflict,
}

impl Refusal {
    pub(super) fn of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<Self> {
        match error.as_service_error()?.meta().code()? {
            "ConditionalCheckFailedException" => Some(Self::Condition),
            "TransactionConflictException" => Some(Self::Conflict),
            _ => None,
        }
    }
}

impl Table {
    /// Writes an item, whether or not its key is taken.
    pub(super) async fn put_one(&self, item: Item) -> Result<(), TableError> {
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item.into_attributes()));
        Box::pin(request.send()).await.map_err(|error| request_error("PutItem", &error))?;
        Ok(())
    }

    /// Writes an item if the condition holds. Returns why it was not written.
    pub(super) async fn put_one_if(
        &self,
        item: Item,
        condition: &Condition,
    ) -> Result<Option<Refusal>, TableError> {
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item.into_attributes()));
        match Box::pin(conditional!(request, condition).send()).await {
            Ok(_) => Ok(None),
            Err(error) => Refusal::of(&error).map(Some).ok_or_else(|| request_error("PutItem", &error)),
        }
    }

    /// Deletes an item. Returns it as it was; `None` if there was none.
    pub(super) async fn delete_one(&self, pk: String, sk: &str) -> Result<Option<Item>, TableError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(items::key(pk, sk)))
            .return_values(ReturnValue::AllOld);
        let response = Box::pin(request.send()).await.map_err(|error| request_error("DeleteItem", &error))?;
        Ok(response.attributes.map(Item::from))
    }
}
