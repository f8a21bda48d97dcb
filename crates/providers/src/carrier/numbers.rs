//! Phone numbers at a carrier: those on sale, and those of an account.

use std::fmt;

use switchboard_model::phone_numbers::E164;

/// A number that can be bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberOnSale {
    /// The number.
    pub phone_number: E164,
    /// The postal code of its area, if the carrier says.
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2, such as `US`.
    pub iso_country: Option<String>,
}

/// A number that belongs to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedNumber {
    /// The carrier's id of the number.
    pub id: String,
    /// The name that its buyer or the carrier gave it.
    pub name: String,
    /// The URL that answers its calls; empty if none does.
    pub voice_url: String,
}

/// Where the carrier sends the calls of a number.
#[derive(Clone, Copy)]
pub struct CallRouting<'a> {
    /// Answers a call with a document.
    pub voice_url: &'a str,
    /// Answers it if `voice_url` fails.
    pub fallback_url: &'a str,
    /// Receives the report of a call's end.
    pub status_callback: &'a str,
}

impl CallRouting<'_> {
    /// No URL answers; the carrier turns calls away.
    pub(crate) const NONE: Self = Self { voice_url: "", fallback_url: "", status_callback: "" };
}

impl fmt::Debug for CallRouting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallRouting([redacted])")
    }
}
