//! The usage of a conversation, and its cost.
//!
//! A cost is the product of a measured amount and a rate, rounded once. This module knows neither conversations nor
//! agents: the rates come from the [catalogue], the durations from [`crate::conversations`].

use std::{fmt, ops::Add};

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};

use crate::catalogue::{self, CallPrices, ProviderRates, Rate, Service, StandIn, TokenPrices};

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

/// The usage of the providers that the catalogue chooses for the agent, and beside it the usage of those that stood in for
/// them. Cancelled work counts as far as it was sent.
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
    /// Whether some of the audio was counted here: the vendor did not report it.
    #[serde(default)]
    pub transcriber_estimated: bool,
    /// Characters that the voice received.
    pub characters: u64,
    /// Whether some of them were counted here: the vendor did not report them.
    #[serde(default)]
    pub characters_estimated: bool,
    /// The usage of each provider that stood in for another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stand_ins: Vec<StandInUsage>,
}

/// The usage of a stand-in, which uses the deployment's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandInUsage {
    /// The stand-in.
    pub by: StandIn,
    /// The usage in its service; all else is zero.
    pub used: Usage,
}

impl Usage {
    /// The usage of a stand-in; of the provider that the catalogue chooses if there is none.
    pub fn of(&mut self, stand_in: Option<&StandIn>) -> &mut Self {
        let Some(by) = stand_in else { return self };
        let known = self.stand_ins.iter().position(|known| known.by == *by);
        let place = known.unwrap_or_else(|| {
            self.stand_ins.push(StandInUsage { by: by.clone(), used: Self::default() });
            self.stand_ins.len() - 1
        });
        &mut self.stand_ins[place].used
    }

    /// The parts whose usage was not reported in full, for the event log.
    #[must_use]
    pub fn estimates(&self) -> Vec<String> {
        let any = |is_estimated: fn(&Self) -> bool| {
            is_estimated(self) || self.stand_ins.iter().any(|stand_in| is_estimated(&stand_in.used))
        };
        let parts = [
            ("language model: its tokens were", any(|used| used.tokens_estimated)),
            ("transcriber: its audio was", any(|used| used.transcriber_estimated)),
            ("voice: its characters were", any(|used| used.characters_estimated)),
        ];
        let estimated = parts.into_iter().filter(|(_, is_estimated)| *is_estimated);
        estimated.map(|(part, _)| format!("{part} not all reported, so its cost is an estimate")).collect()
    }

    fn stand_ins(&self, service: Service) -> impl Iterator<Item = &StandInUsage> {
        self.stand_ins.iter().filter(move |stand_in| stand_in.by.service == service)
    }
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
    /// The cost of each model that served the language model's, the transcriber's and the voice's part.
    #[serde(default)]
    pub served_by: Vec<ServedCost>,
}

/// The cost of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServedCost {
    /// The part that it served.
    pub role: Service,
    /// The provider that served.
    pub provider: String,
    /// The vendor's name of the model or voice.
    pub model: String,
    /// The cost.
    pub cost: Usd,
    /// Whether its price is not known, or its usage was not reported.
    pub estimated: bool,
}

/// A cost by time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedCost {
    /// The provider that served; of several, the one that served most.
    pub provider: String,
    /// The cost.
    pub cost: Usd,
    /// Duration in milliseconds.
    pub ms: u64,
    /// Whether a price in it is not known, or a usage was not reported.
    #[serde(default)]
    pub estimated: bool,
}

/// A cost by tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenCost {
    /// The provider that served; of several, the one that served most.
    pub provider: String,
    /// The cost.
    pub cost: Usd,
    /// Tokens of the requests.
    pub input_tokens: u64,
    /// Tokens of the responses.
    pub output_tokens: u64,
    /// Whether a price in it is not known, or a usage was not reported.
    #[serde(default)]
    pub estimated: bool,
}

/// A cost by characters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CharacterCost {
    /// The provider that served; of several, the one that served most.
    pub provider: String,
    /// The cost.
    pub cost: Usd,
    /// Characters synthesized.
    pub characters: u64,
    /// Whether a price in it is not known, or a usage was not reported.
    #[serde(default)]
    pub estimated: bool,
}

/// The deployment's own prices; the vendors' are in the [catalogue].
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
        estimated: false,
    };

    let model = Part::new(usage, Service::LanguageModel, rates, |rates, used| {
        let tokens = used.input_tokens + used.output_tokens;
        let cost = token_cost(rates.language_model.price, used);
        Share::new(&rates.language_model, tokens, cost, used.tokens_estimated)
    });
    let (mut input_tokens, mut output_tokens) = (usage.input_tokens, usage.output_tokens);
    for StandInUsage { used, .. } in usage.stand_ins(Service::LanguageModel) {
        input_tokens += used.input_tokens;
        output_tokens += used.output_tokens;
    }
    let language_model = TokenCost {
        provider: model.provider.into(),
        cost: model.cost,
        input_tokens,
        output_tokens,
        estimated: model.estimated,
    };

    let transcribing = Part::new(usage, Service::Transcriber, rates, |rates, used| {
        let cost = per_minute(rates.transcriber.price, used.transcriber_ms);
        Share::new(&rates.transcriber, used.transcriber_ms, cost, used.transcriber_estimated)
    });
    let transcriber = TimedCost {
        provider: transcribing.provider.into(),
        cost: transcribing.cost,
        ms: transcribing.amount,
        estimated: transcribing.estimated,
    };

    let speaking = Part::new(usage, Service::Voice, rates, |rates, used| {
        let cost = rates.voice.price * Decimal::from(used.characters) / Decimal::from(1_000);
        Share::new(&rates.voice, used.characters, cost, used.characters_estimated)
    });
    let voice = CharacterCost {
        provider: speaking.provider.into(),
        cost: speaking.cost,
        characters: speaking.amount,
        estimated: speaking.estimated,
    };

    let telephony = legs.first().map(|first| TimedCost {
        provider: first.rate.provider.into(),
        cost: legs.iter().map(leg_cost).fold(Usd::ZERO, Add::add),
        ms: legs.iter().map(|leg| leg.ms).sum(),
        estimated: legs.iter().any(|leg| leg.ms > 0 && !leg.rate.is_own_account && !leg.rate.is_known),
    });

    let total = agent.cost
        + language_model.cost
        + transcriber.cost
        + voice.cost
        + telephony.as_ref().map_or(Usd::ZERO, |telephony| telephony.cost);
    let served_by = [model.served_by, transcribing.served_by, speaking.served_by].concat();
    CostBreakdown { total, agent, language_model, transcriber, voice, telephony, served_by }
}

/// The share of a part that one provider served.
struct Share {
    provider: &'static str,
    amount: u64,
    cost: Usd,
    estimated: bool,
}

impl Share {
    fn new<P>(rate: &Rate<P>, amount: u64, cost: Decimal, is_counted_here: bool) -> Self {
        let estimated = amount > 0 && !rate.is_own_account && (is_counted_here || !rate.is_known);
        Self { provider: rate.provider, amount, cost: billed(rate, cost), estimated }
    }
}

/// A part of a cost, over all providers that served it.
struct Part {
    /// The one that served most.
    provider: &'static str,
    amount: u64,
    cost: Usd,
    estimated: bool,
    served_by: Vec<ServedCost>,
}

impl Part {
    /// Adds the shares of the provider that the catalogue chose and of those that stood in for it.
    fn new(
        usage: &Usage,
        service: Service,
        rates: &ProviderRates,
        share: impl Fn(&ProviderRates, &Usage) -> Share,
    ) -> Self {
        let own = share(rates, usage);
        let mut most = (own.amount, own.provider);
        let mut part =
            Self { provider: own.provider, amount: 0, cost: Usd::ZERO, estimated: false, served_by: vec![] };
        part.add(&own, service, rates.models.of(service));
        for StandInUsage { by, used } in usage.stand_ins(service) {
            let share = share(&catalogue::stand_in_rates(rates, by), used);
            if share.amount > most.0 {
                most = (share.amount, share.provider);
            }
            part.add(&share, service, &by.model);
        }
        part.provider = most.1;
        part
    }

    fn add(&mut self, share: &Share, role: Service, model: &str) {
        let &Share { provider, amount, cost, estimated } = share;
        self.amount += amount;
        self.cost = self.cost + cost;
        self.estimated |= estimated;
        if amount > 0 {
            self.served_by.push(ServedCost {
                role,
                provider: provider.into(),
                model: model.into(),
                cost,
                estimated,
            });
        }
    }
}

fn token_cost(prices: TokenPrices, used: &Usage) -> Decimal {
    let cached = used.cached_input_tokens.min(used.input_tokens);
    let uncached = used.input_tokens - cached;
    let written = used.cache_write_tokens.min(uncached);
    let millionths = prices.input * Decimal::from(uncached - written)
        + prices.cache_write * Decimal::from(written)
        + prices.cached_input * Decimal::from(cached)
        + prices.output * Decimal::from(used.output_tokens);
    millionths / Decimal::from(1_000_000)
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
            LegUse { ms, rate: Rate { provider: "carrier", price, is_own_account: false, is_known: true } }
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
