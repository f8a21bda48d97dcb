//! What the queries of lists ask for.

use switchboard_model::{
    conversations::Status,
    lists::{Created, Listing, MAX_DEPTH, MAX_LIMIT, Page},
};

use crate::validation::{Field, Object, Read};

/// Reads `index` (1 unless given) and `limit` (100 unless given) of a query.
pub fn page(query: &Field<'_>) -> Read<Page> {
    page_of(&query.object()?)
}

fn page_of(query: &Object<'_>) -> Read<Page> {
    let index = query.or("index", 1, |field| field.integer(1..=MAX_DEPTH));
    let limit = query.or("limit", MAX_LIMIT, |field| field.integer(1..=MAX_LIMIT));
    let (index, limit): (i64, i64) = (index?, limit?);
    if index * limit > MAX_DEPTH {
        let msg = format!("index * limit should be at most {MAX_DEPTH}");
        return query.wrong("index", "less_than_equal", msg);
    }
    Ok(Page { index: index.unsigned_abs(), limit: usize::try_from(limit).unwrap_or(1) })
}

/// Reads `created_before`, `created_after`, `index` and `limit` of a query.
pub fn listing(query: &Field<'_>) -> Read<Listing> {
    listing_of(&query.object()?)
}

fn listing_of(query: &Object<'_>) -> Read<Listing> {
    let before = query.optional("created_before", Field::datetime);
    let after = query.optional("created_after", Field::datetime);
    let page = page_of(query);
    Ok(Listing { created: Created { after: after?, before: before? }, page: page? })
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
        let listing = listing_of(&query);
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
