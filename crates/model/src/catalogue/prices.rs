//! Prices, in USD. The vendors' files have list prices, pay as you go, as published on [`PRICES_AS_OF`], and those that were
//! announced by then with the day from which they hold.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::phone_numbers::E164;

/// The day of the price list: the last one on which the catalogue was compared with what the vendors publish.
pub const PRICES_AS_OF: Date = jiff::civil::date(2026, 11, 30);

/// The price of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// By tokens: language models.
    Tokens(TokenPrices),
    /// By the minute of audio: transcribers.
    Minute(Decimal),
    /// By a thousand characters: voices.
    ThousandCharacters(Decimal),
    /// By the call: carriers.
    Call(&'static CallTariff),
}

/// Prices of a language model, per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenPrices {
    /// Tokens of the request that were not cached.
    pub input: Decimal,
    /// Tokens of the request that the vendor had cached.
    pub cached_input: Decimal,
    /// Tokens of the request that were not cached and that the vendor has cached since.
    pub cache_write: Decimal,
    /// Tokens of the response, reasoning included.
    pub output: Decimal,
}

/// Prices of a telephone call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallPrices {
    /// Per started minute, its media stream included.
    pub per_started_minute: Decimal,
    /// Per answered call.
    pub per_call: Decimal,
}

/// A carrier's list prices of calls, in ten-thousandths of a dollar.
#[derive(Debug, PartialEq, Eq)]
pub struct CallTariff {
    /// A started minute of an outbound call, by the beginning of the called number. The longest match counts.
    pub outbound: &'static [(&'static str, u32)],
    /// A started minute to a number that is not listed.
    pub unlisted_outbound: u32,
    /// A started minute of an inbound call, by the beginning of the called number. The longest match counts.
    pub inbound: &'static [(&'static str, u32)],
    /// A started minute of a call to a number of ours that is not listed.
    pub unlisted_inbound: u32,
    /// A started minute of a media stream.
    pub media_stream: u32,
    /// The answering machine detection of a call.
    pub machine_detection: u32,
}

impl CallTariff {
    /// The prices of an outbound call to `to`.
    #[must_use]
    pub fn outbound_call(&self, to: &E164, detects_machines: bool) -> CallPrices {
        let minute = longest_match(self.outbound, to).unwrap_or(self.unlisted_outbound);
        let per_call = if detects_machines { usd(self.machine_detection, 4) } else { Decimal::ZERO };
        CallPrices { per_started_minute: self.with_stream(minute), per_call }
    }

    /// The prices of a call to our number `to`.
    #[must_use]
    pub fn inbound_call(&self, to: &E164) -> CallPrices {
        let minute = longest_match(self.inbound, to).unwrap_or(self.unlisted_inbound);
        CallPrices { per_started_minute: self.with_stream(minute), per_call: Decimal::ZERO }
    }

    /// Whether the price of an outbound call to `to` is known; else it is counted at the highest one.
    #[must_use]
    pub fn lists_outbound(&self, to: &E164) -> bool {
        longest_match(self.outbound, to).is_some()
    }

    /// Whether the price of a call to our number `to` is known.
    #[must_use]
    pub fn lists_inbound(&self, to: &E164) -> bool {
        longest_match(self.inbound, to).is_some()
    }

    fn with_stream(&self, minute: u32) -> Decimal {
        usd(minute + self.media_stream, 4)
    }
}

fn longest_match(table: &[(&str, u32)], number: &E164) -> Option<u32> {
    let listed = table.iter().filter(|(prefix, _)| number.as_str().starts_with(prefix));
    listed.max_by_key(|(prefix, _)| prefix.len()).map(|(_, price)| *price)
}

impl Price {
    /// A language model's: thousandths of a dollar per million tokens.
    pub(super) const fn millis_per_million_tokens(input: u32, cached_input: u32, output: u32) -> Self {
        Self::Tokens(TokenPrices {
            input: usd(input, 3),
            cached_input: usd(cached_input, 3),
            cache_write: usd(input, 3),
            output: usd(output, 3),
        })
    }

    /// The same price with dearer cache writes: thousandths of a dollar per million tokens.
    pub(super) const fn with_cache_writes(self, cache_write: u32) -> Self {
        match self {
            Self::Tokens(prices) => Self::Tokens(TokenPrices { cache_write: usd(cache_write, 3), ..prices }),
            other => other,
        }
    }

    /// A transcriber's: ten-thousandths of a dollar.
    pub(super) const fn per_minute(ten_thousandths: u32) -> Self {
        Self::Minute(usd(ten_thousandths, 4))
    }

    /// A voice's: thousandths of a dollar.
    pub(super) const fn per_thousand_characters(thousandths: u32) -> Self {
        Self::ThousandCharacters(usd(thousandths, 3))
    }
}

/// `units` times ten to the minus `scale`.
pub(super) const fn usd(units: u32, scale: u32) -> Decimal {
    Decimal::from_parts(units, 0, 0, false, scale)
}
