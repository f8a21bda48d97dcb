//! Prices, in USD. The vendors' files have list prices, pay as you go, as published in November 2026.

use rust_decimal::Decimal;

/// The price of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// By tokens: language models.
    Tokens(TokenPrices),
    /// By the minute of audio: transcribers.
    Minute(Decimal),
    /// By a thousand characters: voices.
    ThousandCharacters(Decimal),
    /// By the call, see [`CallPrices`]: carriers.
    Call,
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
