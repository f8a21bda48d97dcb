//! The parameters of the API's lists: the page, and the range of creation times.
//!
//! Pages are counted, as the official clients count them, and go back only so far ([`MAX_DEPTH`]): a
//! client that wants to read further moves `created_before` back and starts anew.

use crate::time::Timestamp;

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
    /// The range of creation times.
    pub created: Created,
    /// The page within that range.
    pub page: Page,
}
