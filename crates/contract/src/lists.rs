//! Lists: the parameters of their queries, and one page of a list.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use switchboard_model::{
    conversations::Status,
    lists::{Created, Listing, MAX_DEPTH, MAX_LIMIT, Page},
};

use crate::{
    declaration::{Parameter, Record, Schemas, types},
    references::read_query,
    validation::{FieldError, MAX_INTEGER},
};

/// Maximum time for which a list of events waits for the next one, in seconds: the gateway gives a request 30 s.
pub const MAX_WAIT: i64 = 20;

fn page<'c>() -> Record<'c, Page> {
    Record::new("Page", "", |members| {
        let index = members.or(
            "index",
            types::count::<i64>(1..=MAX_DEPTH),
            1,
            "The page, from 1; `index * limit` is at most 10,000.",
        );
        let limit = members.or(
            "limit",
            types::count::<i64>(1..=MAX_LIMIT),
            MAX_LIMIT,
            "Maximum number of items on a page.",
        );
        let (index, limit) = (index?, limit?);
        if index * limit > MAX_DEPTH {
            let msg = format!("index * limit should be at most {MAX_DEPTH}");
            return members.reject("index", "less_than_equal", msg);
        }
        Ok(Page { index: index.unsigned_abs(), limit: usize::try_from(limit).unwrap_or(1) })
    })
}

/// Reads the query of a list in the order of creation.
pub fn read_listing(query: &Value) -> Result<Listing, Vec<FieldError>> {
    read_query(query, |field| listing().read(field))
}

/// The parameters of the same query.
pub fn listing_parameters(schemas: &mut Schemas) -> Vec<Parameter> {
    in_document_order(schemas.parameters(&listing()))
}

/// The document lists `created_after` before `created_before`; errors are in the order of declaration.
fn in_document_order(mut parameters: Vec<Parameter>) -> Vec<Parameter> {
    if let Some(at) = parameters.iter().position(|parameter| parameter.name == "created_before") {
        parameters.swap(at, at + 1);
    }
    parameters
}

fn listing<'c>() -> Record<'c, Listing> {
    Record::new("Listing", "", |members| {
        let before = members.optional("created_before", types::datetime(), "Only items created earlier.");
        let after = members.optional(
            "created_after",
            types::datetime(),
            "Only items created later; ISO 8601, UTC if it names no offset.",
        );
        let page = members.include(&page());
        Ok(Listing { created: Created { after: after?, before: before? }, page: page? })
    })
}

/// The query of `GET /conversations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListConversations {
    /// Only conversations with this status.
    pub status: Option<Status>,
    /// The page of the list.
    pub listing: Listing,
}

impl ListConversations {
    /// Reads the query.
    pub fn read(query: &Value) -> Result<Self, Vec<FieldError>> {
        read_query(query, |field| Self::record().read(field))
    }

    /// The parameters of the query.
    pub fn parameters(schemas: &mut Schemas) -> Vec<Parameter> {
        in_document_order(schemas.parameters(&Self::record()))
    }

    fn record<'c>() -> Record<'c, Self> {
        Record::new("ListConversations", "", |members| {
            let names = Status::ALL.map(|status| (status.as_str(), status));
            let status =
                members.optional("status", types::choice(&names), "Only conversations with this status.");
            let listing = members.include(&listing());
            Ok(Self { status: status?, listing: listing? })
        })
    }
}

/// The query of `GET /conversations/{id}/events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListEvents {
    /// Only events with a larger sequence number; 0 if the query names none.
    pub after: u64,
    /// Maximum number of seconds to wait for an event, 0 to [`MAX_WAIT`].
    pub wait: u64,
    /// The page of the events after `after`.
    pub page: Page,
}

impl ListEvents {
    /// Reads the query.
    pub fn read(query: &Value) -> Result<Self, Vec<FieldError>> {
        read_query(query, |field| Self::record().read(field))
    }

    /// The parameters of the query.
    pub fn parameters(schemas: &mut Schemas) -> Vec<Parameter> {
        schemas.parameters(&Self::record())
    }

    /// The number of events before the page.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.after.saturating_add(self.page.offset())
    }

    fn record<'c>() -> Record<'c, Self> {
        Record::new("ListEvents", "", |members| {
            let after = members.or(
                "after",
                types::count::<i64>(0..=MAX_INTEGER),
                0,
                "Only events whose `sequence` is larger.",
            );
            let wait = members.or(
                "wait",
                types::count::<i64>(0..=MAX_WAIT),
                0,
                "Maximum time to wait for an event, in seconds, while the page is empty and the conversation has not ended.",
            );
            let page = members.include(&page());
            Ok(Self { after: after?.unsigned_abs(), wait: wait?.unsigned_abs(), page: page? })
        })
    }
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub struct PageView<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// The number of the page, from 1.
    pub index: u64,
    /// Whether there is a next page.
    pub has_more: bool,
}

impl<T: JsonSchema> PageView<T> {
    /// The schema of a page.
    pub fn schema(schemas: &mut Schemas) -> Value {
        let item = schemas.view::<T>();
        json!({
            "type": "object",
            "required": ["items", "index", "has_more"],
            "properties": {
                "items": { "type": "array", "items": item, "description": "The items of the page." },
                "index": { "type": "integer", "minimum": 1, "description": "The number of the page." },
                "has_more": { "type": "boolean", "description": "Whether there is a next page." },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(query: &Value) -> Result<ListConversations, Vec<Value>> {
        let read = ListConversations::read(query);
        read.map_err(|errors| errors.iter().map(|error| json!([error.loc, error.kind])).collect())
    }

    #[test]
    fn an_empty_query_is_the_first_hundred_items() {
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

    fn parse_events(query: &Value) -> Result<ListEvents, Vec<Value>> {
        let read = ListEvents::read(query);
        read.map_err(|errors| errors.iter().map(|error| json!([error.loc, error.kind])).collect())
    }

    #[test]
    fn a_page_of_events_begins_after_a_sequence_number() {
        let first = Page { index: 1, limit: 100 };
        assert_eq!(parse_events(&json!({})), Ok(ListEvents { after: 0, wait: 0, page: first }));
        let query = parse_events(&json!({ "after": 7, "wait": 20, "index": 3, "limit": 10 })).unwrap();
        assert_eq!((query.wait, query.offset()), (20, 27));
        let last = parse_events(&json!({ "after": MAX_INTEGER, "index": 100 })).unwrap();
        assert_eq!(last.offset(), MAX_INTEGER.unsigned_abs() + 9_900);
    }

    #[test]
    fn events_are_awaited_for_whole_seconds_up_to_twenty() {
        for (query, name, kind) in [
            (json!({ "wait": 21 }), "wait", "less_than_equal"),
            (json!({ "wait": -1 }), "wait", "greater_than_equal"),
            (json!({ "wait": "0.5" }), "wait", "int_type"),
            (json!({ "after": -1 }), "after", "greater_than_equal"),
            (json!({ "after": MAX_INTEGER + 1 }), "after", "less_than_equal"),
            (json!({ "after": "evt_1" }), "after", "int_type"),
        ] {
            assert_eq!(parse_events(&query), Err(vec![json!([["query", name], kind])]), "{query}");
        }
    }

    #[test]
    fn paging_reaches_ten_thousand_items() {
        let page = |index: i64, limit: i64| parse(&json!({ "index": index, "limit": limit }));
        assert_eq!(page(100, 100).unwrap().listing.page.offset(), 9_900);
        assert_eq!(page(10_000, 1).unwrap().listing.page.offset(), 9_999);
        for (index, limit) in [(101, 100), (10_000, 2), (5_001, 2)] {
            assert_eq!(page(index, limit), Err(vec![json!([["query", "index"], "less_than_equal"])]));
        }
    }
}
