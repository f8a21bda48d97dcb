//! What a list of the API is asked for: which page, and of what.
//!
//! Pages are counted, as the official clients count them, and go back only so far ([`MAX_DEPTH`]): who
//! wants to read further moves `created_before` back and starts anew.

use crate::{
    conversations::Status,
    time::Timestamp,
    validation::{Field, Object, Read},
};

/// The most items of one page.
pub const MAX_LIMIT: i64 = 100;
/// The last item that can be reached by paging.
pub const MAX_DEPTH: i64 = 10_000;

/// Which page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub index: u64,
    /// How many items it has at most, 1 to 100.
    pub limit: usize,
}

impl Page {
    /// How many items come before it.
    #[must_use]
    pub fn offset(self) -> u64 {
        (self.index - 1).saturating_mul(self.limit as u64)
    }

    /// Reads `index` (1 unless given) and `limit` (100 unless given) of a query.
    pub fn parse(query: &Field<'_>) -> Read<Self> {
        Self::of(&query.object()?)
    }

    fn of(query: &Object<'_>) -> Read<Self> {
        let index = query.or("index", 1, |field| field.integer(1..=MAX_DEPTH));
        let limit = query.or("limit", MAX_LIMIT, |field| field.integer(1..=MAX_LIMIT));
        let (index, limit): (i64, i64) = (index?, limit?);
        if index * limit > MAX_DEPTH {
            let msg = format!("index * limit should be at most {MAX_DEPTH}");
            return query.wrong("index", "less_than_equal", msg);
        }
        Ok(Self { index: index.unsigned_abs(), limit: usize::try_from(limit).unwrap_or(1) })
    }
}

/// When what is listed was made, both ends excluded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Created {
    /// Only what was made later than this.
    pub after: Option<Timestamp>,
    /// Only what was made earlier than this.
    pub before: Option<Timestamp>,
}

/// A page of things in the order in which they were made, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    /// Of which time.
    pub created: Created,
    /// Which page.
    pub page: Page,
}

impl Listing {
    /// Reads `created_before`, `created_after`, `index` and `limit` of a query.
    pub fn parse(query: &Field<'_>) -> Read<Self> {
        Self::of(&query.object()?)
    }

    fn of(query: &Object<'_>) -> Read<Self> {
        let before = query.optional("created_before", Field::datetime);
        let after = query.optional("created_after", Field::datetime);
        let page = Page::of(query);
        Ok(Self { created: Created { after: after?, before: before? }, page: page? })
    }
}

/// The query of `GET /conversations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListConversations {
    /// Only those that stand here.
    pub status: Option<Status>,
    /// Which page of them.
    pub listing: Listing,
}

impl ListConversations {
    /// Reads the query.
    pub fn parse(query: &Field<'_>) -> Read<Self> {
        let query = query.object()?;
        let names = Status::ALL.map(|status| (status.as_str(), status));
        let status = query.optional("status", |field| field.choice(&names));
        let listing = Listing::of(&query);
        Ok(Self { status: status?, listing: listing? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validation::Checks;

    fn parse(query: &Value) -> Result<ListConversations, Vec<Value>> {
        let checks = Checks::default();
        let read = ListConversations::parse(&Field::query(query, &checks)).ok();
        read.ok_or_else(|| {
            checks.into_errors().into_iter().map(|error| json!([error.loc, error.kind])).collect()
        })
    }

    #[test]
    fn an_empty_query_is_the_first_hundred_of_all() {
        let listing = Listing { created: Created::default(), page: Page { index: 1, limit: 100 } };
        assert_eq!(parse(&json!({})), Ok(ListConversations { status: None, listing }));
        assert_eq!(listing.page.offset(), 0);
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let query = json!({
            "status": "over", "created_before": "yesterday", "created_after": 2026, "index": 0, "limit": "many",
        });
        let wrong = [
            ("status", "enum"),
            ("created_before", "datetime_parsing"),
            ("created_after", "datetime_parsing"),
            ("index", "greater_than_equal"),
            ("limit", "int_type"),
        ];
        assert_eq!(parse(&query), Err(wrong.map(|(name, kind)| json!([["query", name], kind])).to_vec()));
    }

    #[test]
    fn paging_goes_back_ten_thousand_items_and_no_further() {
        let page = |index: i64, limit: i64| parse(&json!({ "index": index, "limit": limit }));
        assert_eq!(page(100, 100).unwrap().listing.page.offset(), 9_900);
        assert_eq!(page(10_000, 1).unwrap().listing.page.offset(), 9_999);
        for (index, limit) in [(101, 100), (10_000, 2), (5_001, 2)] {
            assert_eq!(page(index, limit), Err(vec![json!([["query", "index"], "less_than_equal"])]));
        }
    }
}
