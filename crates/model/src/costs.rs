//! The usage of a conversation, and its cost.
//!
//! A cost is the product of a measured amount and a rate, rounded once. This module knows neither conversations nor
//! agents: the rates come from the [catalogue](crate::catalogue), the durations from [`crate::conversations`].

use std::{fmt, ops::Add};

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};

use crate::catalogue::{CallPrices, ProviderRates, Rate};

/// US dollars, exact. The table stores them as text, the API shows a number ([`Usd::to_f64`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(Decimal);

impl Usd {
    /// No dollars.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Rounds half up to a millionth of a dollar, the precision of every part of a cost.
    #[must_use]
    pub fn rounded(exact: Decimal) -> Self {
        Self(exact.round_dp_with_strategy(6, RoundingStrategy::MidpointAwayFromZero).normalize())
    }

    /// Whole millionths of a dollar, the precision of every cost.
    #[must_use]
    pub fn as_micros(self) -> u64 {
        (self.0 * Decimal::from(1_000_000)).round().to_u64().unwrap_or(0)
    }

    /// As many millionths of a dollar.
    #[must_use]
    pub fn from_micros(micros: u64) -> Self {
        Self((Decimal::from(micros) / Decimal::from(1_000_000)).normalize())
    }

    /// The nearest JSON number.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.0.to_f64().unwrap_or(f64::INFINITY)
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self((self.0 + other.0).normalize())
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

/// The usage of the providers. Cancelled work counts as far as it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of all requests to the language model, cached ones included.
    pub input_tokens: u64,
    /// The part of them that the vendor had cached.
    pub cached_input_tokens: u64,
    /// The part of them that was not cached and that the vendor has cached since, and bills at a price of its own.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Tokens of the language model's responses.
    pub output_tokens: u64,
    /// Whether some of the tokens are estimated: a vendor reports no usage for a cancelled generation.
    pub tokens_estimated: bool,
    /// Milliseconds of audio that the transcriber received.
    pub transcriber_ms: u64,
    /// Characters that the voice received.
    pub characters: u64,
}

/// The cost of a conversation, by part. `total` is their exact sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostBreakdown {
    /// The sum of the parts.
    pub total: Usd,
    /// The deployment's own price.
    pub agent: TimedCost,
    /// The language model.
    pub language_model: TokenCost,
    /// The transcriber.
    pub transcriber: TimedCost,
    /// The voice.
    pub voice: CharacterCost,
    /// The legs of carriers together, under the name of the first leg's carrier; none without such a leg.
    pub telephony: Option<TimedCost>,
}

/// A cost by time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedCost {
    /// The provider that served.
    pub provider: String,
    /// The cost.
    pub cost: Usd,
    /// Duration in milliseconds.
    pub ms: u64,
}

/// A cost by tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenCost {
    /// The provider that served.
    pub provider: String,
    /// The cost.
    pub cost: Usd,
    /// Tokens of the requests.
    pub input_tokens: u64,
    /// Tokens of the responses.
    pub output_tokens: u64,
}

/// A cost by characters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CharacterCost {
    /// The provider that served.
    pub provider: String,
    /// The cost.
    pub cost: Usd,
    /// Characters synthesized.
    pub characters: u64,
}

/// The deployment's own prices; the vendors' are in the [catalogue](crate::catalogue).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    /// USD per minute of a started conversation.
    pub agent_per_minute: Decimal,
}

/// A carrier's part in a conversation, for one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegUse {
    /// Milliseconds from the answer to the end; 0 if the call was not answered.
    pub ms: u64,
    /// The carrier's rate.
    pub rate: Rate<CallPrices>,
}

/// The cost of a conversation of `ms` milliseconds (0 if it never started). A provider that is used with the customer's
/// own key or account costs 0.
#[must_use]
pub fn breakdown(
    usage: &Usage,
    rates: &ProviderRates,
    deployment: &Prices,
    ms: u64,
    legs: &[LegUse],
) -> CostBreakdown {
    let agent = TimedCost {
        provider: "voiceos".into(),
        cost: Usd::rounded(per_minute(deployment.agent_per_minute, ms)),
        ms,
    };

    let tokens = rates.language_model.price;
    let uncached = usage.input_tokens.saturating_sub(usage.cached_input_tokens);
    let written = usage.cache_write_tokens.min(uncached);
    let millionths = tokens.input * Decimal::from(uncached - written)
        + tokens.cache_write * Decimal::from(written)
        + tokens.cached_input * Decimal::from(usage.cached_input_tokens)
        + tokens.output * Decimal::from(usage.output_tokens);
    let language_model = TokenCost {
        provider: rates.language_model.provider.into(),
        cost: billed(&rates.language_model, millionths / Decimal::from(1_000_000)),
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
    };

    let transcriber = TimedCost {
        provider: rates.transcriber.provider.into(),
        cost: billed(&rates.transcriber, per_minute(rates.transcriber.price, usage.transcriber_ms)),
        ms: usage.transcriber_ms,
    };

    let characters = Decimal::from(usage.characters);
    let voice = CharacterCost {
        provider: rates.voice.provider.into(),
        cost: billed(&rates.voice, rates.voice.price * characters / Decimal::from(1_000)),
        characters: usage.characters,
    };

    let telephony = legs.first().map(|first| TimedCost {
        provider: first.rate.provider.into(),
        cost: legs.iter().map(leg_cost).fold(Usd::ZERO, Add::add),
        ms: legs.iter().map(|leg| leg.ms).sum(),
    });

    let total = agent.cost
        + language_model.cost
        + transcriber.cost
        + voice.cost
        + telephony.as_ref().map_or(Usd::ZERO, |telephony| telephony.cost);
    CostBreakdown { total, agent, language_model, transcriber, voice, telephony }
}

fn leg_cost(LegUse { ms, rate }: &LegUse) -> Usd {
    let started_minutes = Decimal::from(ms.div_ceil(60_000));
    let per_call = if *ms > 0 { rate.price.per_call } else { Decimal::ZERO };
    billed(rate, rate.price.per_started_minute * started_minutes + per_call)
}

/// The deployment's part of a vendor's bill.
fn billed<P>(rate: &Rate<P>, cost: Decimal) -> Usd {
    if rate.is_own_account { Usd::ZERO } else { Usd::rounded(cost) }
}

fn per_minute(price: Decimal, ms: u64) -> Decimal {
    price * Decimal::from(ms) / Decimal::from(60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_rounded_half_up_to_a_millionth() {
        assert_eq!(Usd::rounded(Decimal::new(15, 7)).to_string(), "0.000002");
        assert_eq!(Usd::rounded(Decimal::new(14, 7)).to_string(), "0.000001");
    }

    #[test]
    fn the_cost_of_the_legs_is_their_sum() {
        let leg = |ms, per_call| {
            let price = CallPrices { per_started_minute: Decimal::new(18, 3), per_call };
            LegUse { ms, rate: Rate { provider: "carrier", price, is_own_account: false } }
        };
        let legs = [leg(60_001, Decimal::ZERO), leg(1, Decimal::new(75, 4)), leg(0, Decimal::new(75, 4))];
        let rates =
            crate::catalogue::rates(&crate::agents::AgentConfig::default(), jiff::civil::date(2026, 11, 30));
        let cost = |legs| breakdown(&Usage::default(), &rates, &Prices::default(), 0, legs);
        let telephony = cost(&legs).telephony.unwrap();
        assert_eq!((telephony.ms, telephony.cost.to_string().as_str()), (60_002, "0.061500"));
        assert_eq!(cost(&legs).total, telephony.cost);
        assert_eq!(cost(&[]).telephony, None);
    }

    #[test]
    fn cache_writes_have_a_price_of_their_own() {
        let agent = crate::agents::AgentConfig::default();
        let rates = crate::catalogue::rates(&agent, jiff::civil::date(2026, 11, 30));
        let cost = |cached_input_tokens, cache_write_tokens| {
            let usage = Usage {
                input_tokens: 1_000_000,
                cached_input_tokens,
                cache_write_tokens,
                ..Usage::default()
            };
            breakdown(&usage, &rates, &Prices::default(), 0, &[]).language_model.cost.to_string()
        };
        assert_eq!(cost(0, 0), "0.100000");
        assert_eq!(cost(0, 1_000_000), "0.125000");
        assert_eq!(cost(600_000, 400_000), "0.056000");
    }

    #[test]
    fn dollars_are_counted_in_millionths() {
        let usd = Usd::rounded(Decimal::new(116_290, 6));
        assert_eq!((usd.as_micros(), Usd::from_micros(116_290)), (116_290, usd));
        assert_eq!((Usd::ZERO.as_micros(), Usd::from_micros(0)), (0, Usd::ZERO));
    }

    #[test]
    fn dollars_are_stored_as_text() {
        let usd = Usd::rounded(Decimal::new(116_290, 6));
        assert_eq!(serde_json::to_string(&usd).unwrap(), "\"0.11629\"");
        assert!((usd.to_f64() - 0.116_29).abs() < f64::EPSILON);
    }
}
