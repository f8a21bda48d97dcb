//! Reads of consecutive items of one partition key, a page at a time: DynamoDB reads at most 1 MB at once.

use aws_sdk_dynamodb::{operation::query::builders::QueryFluentBuilder, types::AttributeValue};

use super::{Table, TableError, items::Item, request_error};

/// The pages of a range of items, in the order of their keys.
pub(super) struct Pages {
    query: QueryFluentBuilder,
    is_over: bool,
}

impl Pages {
    /// Has the table leave out the items that do not match the filter. It reads them all the same, and charges for them.
    pub(super) fn only(mut self, filter: &str, names: &[(&str, &str)]) -> Self {
        self.query = self.query.filter_expression(filter);
        for (placeholder, attribute) in names {
            self.query = self.query.expression_attribute_names(*placeholder, *attribute);
        }
        self
    }

    /// Has the table return the `sk` of each item alone. It reads the whole items, and charges for them.
    pub(super) fn keys_only(self) -> Self {
        Self { query: self.query.projection_expression("sk"), ..self }
    }

    /// The items of the next page, of which at most `limit` are read; none may match a filter. `None` after the last page.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Option<Vec<Item>>, TableError> {
        if self.is_over {
            return Ok(None);
        }
        let request = self.query.clone().limit(i32::try_from(limit).unwrap_or(i32::MAX)).send();
        let page = Box::pin(request).await.map_err(|error| request_error("Query", &error))?;
        self.is_over = page.last_evaluated_key.is_none();
        self.query = self.query.clone().set_exclusive_start_key(page.last_evaluated_key);
        Ok(Some(page.items.unwrap_or_default().into_iter().map(Item::from).collect()))
    }
}

impl Table {
    /// The items of `pk` whose `sk` is in a range, bounds included.
    pub(super) fn pages(&self, pk: String, from: String, to: String) -> Pages {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":from", AttributeValue::S(from))
            .expression_attribute_values(":to", AttributeValue::S(to))
            .consistent_read(true);
        Pages { query, is_over: false }
    }

    /// The first `limit` items of a range.
    pub(super) async fn range(
        &self,
        pk: String,
        from: String,
        to: String,
        limit: usize,
    ) -> Result<Vec<Item>, TableError> {
        let mut pages = self.pages(pk, from, to);
        let mut found = vec![];
        while found.len() < limit
            && let Some(page) = pages.next(limit - found.len()).await?
        {
            found.extend(page);
        }
        Ok(found)
    }
}
