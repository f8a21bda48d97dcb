//! The parameters of the API's lists: the page, and the range of creation times.
//!
//! Pages are numbered, as in the official clients, and reach back to [`MAX_DEPTH`] items. To read further, a client
//! moves `created_before` back and starts again at the first page.

use crate::time::Timestamp;

/// Maximum number of items on a page.
pub const MAX_LIMIT: i64 = 100;
/// Maximum number of items that paging reaches.
pub const MAX_DEPTH: i64 = 10_000;

/// The page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Its number, from 1.
    pub index: u64,
    /// Maximum number of its items, 1 to 100.
    pub limit: usize,
}

impl Page {
    /// The number of items before it.
    #[must_use]
    pub fn offset(self) -> u64 {
        (self.index - 1).saturating_mul(self.limit as u64)
    }
}

/// A range of creation times, without its ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Created {
    /// Only items that are newer than this.
    pub after: Option<Timestamp>,
    /// Only items that are older than this.
    pub before: Option<Timestamp>,
}

/// A page of items, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    /// The range of creation times.
    pub created: Created,
    /// The page within that range.
    pub page: Page,
}
