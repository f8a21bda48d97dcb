//! What a conversation used, and what that cost.

use std::{fmt, ops::Add};

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};

use crate::{
    agents::AgentConfig,
    conversations::{Conversation, ConversationType},
    prices, substitutions,
    time::Timestamp,
};

/// Dollars, exact. JSON shows them as a number ([`Usd::to_f64`]); they are stored as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(Decimal);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Rounded half up to a millionth of a dollar, the precision of every part of a cost.
    #[must_use]
    pub fn rounded(exact: Decimal) -> Self {
        Self(exact.round_dp_with_strategy(6, RoundingStrategy::MidpointAwayFromZero).normalize())
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

/// What the providers did for a conversation. Cancelled work counts as sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens the language model read, cached ones included.
    pub input_tokens: u64,
    /// Those of them the vendor had cached.
    pub cached_input_tokens: u64,
    /// Tokens the language model wrote.
    pub output_tokens: u64,
    /// Some of the tokens were counted by us, since a cancelled answer is never counted by the vendor.
    pub tokens_estimated: bool,
    /// Milliseconds of audio the transcriber was sent.
    pub transcriber_ms: u64,
    /// Characters the voice was asked to speak.
    pub characters: u64,
}

/// What a conversation cost, in parts. `total` is their exact sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostBreakdown {
    /// The sum of the parts.
    pub total: Usd,
    /// This deployment's own price.
    pub agent: TimedCost,
    /// The language model.
    pub language_model: TokenCost,
    /// The transcriber.
    pub transcriber: TimedCost,
    /// The voice.
    pub voice: CharacterCost,
    /// The carrier; none on the web.
    pub telephony: Option<TimedCost>,
}

/// A cost by time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedCost {
    /// Who served.
    pub provider: String,
    /// What it cost.
    pub cost: Usd,
    /// For how long, in milliseconds.
    pub ms: u64,
}

/// A cost by tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenCost {
    /// Who served.
    pub provider: String,
    /// What it cost.
    pub cost: Usd,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// A cost by characters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CharacterCost {
    /// Who served.
    pub provider: String,
    /// What it cost.
    pub cost: Usd,
    /// Characters spoken.
    pub characters: u64,
}

/// The deployment's own prices; the vendors' are in [`prices`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    /// USD per minute of a started conversation.
    pub agent_per_minute: Decimal,
}

/// What `conversation` cost if it ends at `ended_at`. A provider that is used with the customer's
/// own key, or account, costs 0.
#[must_use]
pub fn breakdown(
    conversation: &Conversation,
    agent: &AgentConfig,
    deployment: &Prices,
    ended_at: Timestamp,
) -> CostBreakdown {
    let usage = &conversation.usage;
    let serving = substitutions::serving(agent);
    let millis = |from: Option<Timestamp>| from.map_or(0, |from| as_millis(ended_at.since(from)));

    let agent_ms = millis(conversation.started_at());
    let agent_cost = TimedCost {
        provider: "voiceos".into(),
        cost: Usd::rounded(per_minute(deployment.agent_per_minute, agent_ms)),
        ms: agent_ms,
    };

    let model = serving.language_model.settings();
    let tokens = prices::language_model(&model.model);
    let uncached = usage.input_tokens.saturating_sub(usage.cached_input_tokens);
    let model_cost = tokens.input * Decimal::from(uncached)
        + tokens.cached_input * Decimal::from(usage.cached_input_tokens)
        + tokens.output * Decimal::from(usage.output_tokens);
    let language_model = TokenCost {
        provider: serving.language_model.provider().into(),
        cost: unless_own_key(model.credential_id.is_some(), model_cost / Decimal::from(1_000_000)),
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
    };

    let hearing = prices::transcriber_per_minute(serving.transcriber.provider(), serving.transcriber_model());
    let transcriber = TimedCost {
        provider: serving.transcriber.provider().into(),
        cost: unless_own_key(
            serving.transcriber.credential_id().is_some(),
            per_minute(hearing, usage.transcriber_ms),
        ),
        ms: usage.transcriber_ms,
    };

    let speaking = prices::voice_per_thousand_characters(serving.voice.provider(), serving.voice_model());
    let voice = CharacterCost {
        provider: serving.voice.provider().into(),
        cost: unless_own_key(
            serving.voice.credential_id().is_some(),
            speaking * Decimal::from(usage.characters) / Decimal::from(1_000),
        ),
        characters: usage.characters,
    };

    let telephony = conversation.phone_call.as_ref().map(|call| {
        let ms = millis(conversation.answered_at());
        let minutes = Decimal::from(ms.div_ceil(60_000));
        let per_minute = match conversation.kind {
            ConversationType::InboundPhoneCall => prices::inbound_call_per_minute(&call.to_number),
            ConversationType::OutboundPhoneCall | ConversationType::WebCall => {
                prices::outbound_call_per_minute(&call.to_number)
            }
        };
        let detection = match conversation.kind {
            ConversationType::OutboundPhoneCall if minutes > Decimal::ZERO && agent.asks_who_answered() => {
                prices::machine_detection()
            }
            _ => Decimal::ZERO,
        };
        let cost = unless_own_key(call.imported, per_minute * minutes + detection);
        TimedCost { provider: "twilio".into(), cost, ms }
    });

    let total = agent_cost.cost
        + language_model.cost
        + transcriber.cost
        + voice.cost
        + telephony.as_ref().map_or(Usd::ZERO, |telephony| telephony.cost);
    CostBreakdown { total, agent: agent_cost, language_model, transcriber, voice, telephony }
}

fn unless_own_key(own_key: bool, cost: Decimal) -> Usd {
    if own_key { Usd::ZERO } else { Usd::rounded(cost) }
}

fn per_minute(price: Decimal, ms: u64) -> Decimal {
    price * Decimal::from(ms) / Decimal::from(60_000)
}

fn as_millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "costs_tests.rs"]
mod tests;
