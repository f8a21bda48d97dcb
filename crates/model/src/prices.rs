//! What vendors charge: list prices in USD, pay as you go, as published in November 2026.
//!
//! Prices change: this file is the only place that knows them, and each row says its unit. What is
//! not listed costs the usual.

use rust_decimal::Decimal;

use crate::phone_numbers::E164;

/// Prices of a language model, per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenPrices {
    /// What goes in.
    pub input: Decimal,
    /// The part of the input that the vendor had cached.
    pub cached_input: Decimal,
    /// What comes out, reasoning included.
    pub output: Decimal,
}

/// `units` times ten to the minus `scale`.
const fn usd(units: u32, scale: u32) -> Decimal {
    Decimal::from_parts(units, 0, 0, false, scale)
}

/// Model name prefix, input, cached input, output: USD per million tokens, times 1,000.
/// The first matching row counts, so longer names come first.
const LANGUAGE_MODELS: &[(&str, u32, u32, u32)] = &[
    ("gpt-6-sol", 2_000, 200, 10_000),
    ("gpt-6.1-sol", 2_000, 100, 10_000),
    ("gpt-6.1-terra", 1_000, 50, 5_000),
    ("gpt-5.6-luna", 200, 20, 1_200),
    ("gpt-5.6-terra", 2_000, 200, 12_000),
    ("gpt-4o-mini", 150, 75, 600),
    ("gpt-4o", 2_500, 1_250, 10_000),
    ("gpt-4.1-mini", 400, 100, 1_600),
    ("gpt-4.1", 2_000, 500, 8_000),
    ("gpt-4-turbo", 10_000, 10_000, 30_000),
    ("gpt-4", 30_000, 30_000, 60_000),
    ("gpt-3.5-turbo", 500, 500, 1_500),
    ("gemini-3.5-flash-lite", 300, 30, 2_500),
    ("gemini-3.1-flash-lite", 250, 25, 1_500),
    ("gemini", 750, 75, 3_750),
];
/// Of `gpt-6-luna`, and of a model that is not listed.
const USUAL_LANGUAGE_MODEL: (&str, u32, u32, u32) = ("", 100, 10, 500);

/// Provider and model prefix, USD per minute of audio, times 10,000. The first matching row counts.
const TRANSCRIBERS: &[(&str, &str, u32)] = &[
    ("deepgram", "flux-general-multi", 78),
    ("deepgram", "flux", 65),
    ("deepgram", "nova-2", 58),
    ("azure", "", 167),
];
/// Of Deepgram's `nova-3`, and of a model that is not listed.
const USUAL_TRANSCRIBER: u32 = 48;

/// Provider and model prefix, USD per 1,000 characters, times 1,000. The first matching row counts.
const VOICES: &[(&str, &str, u32)] = &[
    ("elevenlabs", "eleven_multilingual", 100),
    ("elevenlabs", "", 50),
    ("azure", "", 16),
    ("rimeai", "", 50),
    ("rime", "", 50),
    ("playht", "", 0),
    ("deepgram", "aura-2", 30),
    ("deepgram", "aura-", 15),
];
/// Of a voice that is not listed.
const USUAL_VOICE: u32 = 30;

/// Outbound voice call, USD per started minute, times 10,000, by calling code; the longest matching
/// code counts.
const OUTBOUND_CALLS: &[(&str, u32)] = &[("+1", 140)];
/// Where no price is listed here the call is counted like one to the United States: too little for most
/// countries. The carrier's pricing API has each account's own prices.
const USUAL_OUTBOUND_CALL: u32 = 140;

/// Inbound voice call, USD per started minute, times 10,000, by the beginning of the number that is
/// called; the longest match counts. The longer ones of the United States are toll-free: who is called pays.
const INBOUND_CALLS: &[(&str, u32)] = &[
    ("+1", 85),
    ("+1800", 220),
    ("+1833", 220),
    ("+1844", 220),
    ("+1855", 220),
    ("+1866", 220),
    ("+1877", 220),
    ("+1888", 220),
];
/// Where no price is listed here the call is counted like one to a number in the United States.
const USUAL_INBOUND_CALL: u32 = 85;

/// Media streams, USD per started minute, times 10,000.
const MEDIA_STREAMS_PER_MINUTE: u32 = 40;

/// Whether a person or a machine answered, USD per call, times 10,000.
const MACHINE_DETECTION: u32 = 75;

/// What it costs to find out who answered a call.
#[must_use]
pub fn machine_detection() -> Decimal {
    usd(MACHINE_DETECTION, 4)
}

/// What a million tokens of `model` cost.
#[must_use]
pub fn language_model(model: &str) -> TokenPrices {
    let listed = LANGUAGE_MODELS.iter().find(|(prefix, ..)| model.starts_with(prefix));
    let (_, input, cached_input, output) = listed.unwrap_or(&USUAL_LANGUAGE_MODEL);
    TokenPrices { input: usd(*input, 3), cached_input: usd(*cached_input, 3), output: usd(*output, 3) }
}

/// What a minute of audio costs to transcribe.
#[must_use]
pub fn transcriber_per_minute(provider: &str, model: &str) -> Decimal {
    usd(find(TRANSCRIBERS, provider, model).unwrap_or(USUAL_TRANSCRIBER), 4)
}

/// What a thousand characters cost to speak.
#[must_use]
pub fn voice_per_thousand_characters(provider: &str, model: &str) -> Decimal {
    usd(find(VOICES, provider, model).unwrap_or(USUAL_VOICE), 3)
}

/// What a started minute of an outbound call to `to` costs, its media stream included.
#[must_use]
pub fn outbound_call_per_minute(to: &E164) -> Decimal {
    usd(of_number(OUTBOUND_CALLS, to).unwrap_or(USUAL_OUTBOUND_CALL) + MEDIA_STREAMS_PER_MINUTE, 4)
}

/// What a started minute of a call to our number `to` costs, its media stream included.
#[must_use]
pub fn inbound_call_per_minute(to: &E164) -> Decimal {
    usd(of_number(INBOUND_CALLS, to).unwrap_or(USUAL_INBOUND_CALL) + MEDIA_STREAMS_PER_MINUTE, 4)
}

fn of_number(table: &[(&str, u32)], number: &E164) -> Option<u32> {
    let listed = table.iter().filter(|(beginning, _)| number.as_str().starts_with(beginning));
    listed.max_by_key(|(beginning, _)| beginning.len()).map(|(_, price)| *price)
}

fn find(table: &[(&str, &str, u32)], provider: &str, model: &str) -> Option<u32> {
    table.iter().find(|row| row.0 == provider && model.starts_with(row.1)).map(|row| row.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins_and_unknown_models_cost_the_usual() {
        assert_eq!(language_model("gpt-4o-mini").input.to_string(), "0.150");
        assert_eq!(language_model("gpt-4o-2024-08-06").output.to_string(), "10.000");
        assert_eq!(language_model("gpt-6-luna"), language_model("something-new"));
    }

    #[test]
    fn every_row_is_reachable() {
        for (index, (prefix, ..)) in LANGUAGE_MODELS.iter().enumerate() {
            let first = LANGUAGE_MODELS.iter().position(|(other, ..)| prefix.starts_with(other));
            assert_eq!(first, Some(index), "{prefix} is hidden by an earlier row");
        }
        for table in [TRANSCRIBERS, VOICES] {
            for (index, row) in table.iter().enumerate() {
                let first = table.iter().position(|o| o.0 == row.0 && row.1.starts_with(o.1));
                assert_eq!(first, Some(index), "{row:?} is hidden by an earlier row");
            }
        }
    }

    #[test]
    fn a_call_includes_its_media_stream() {
        assert_eq!(outbound_call_per_minute(&"+14155550100".parse().unwrap()).to_string(), "0.0180");
        assert_eq!(inbound_call_per_minute(&"+14155550199".parse().unwrap()).to_string(), "0.0125");
        assert_eq!(inbound_call_per_minute(&"+18885550199".parse().unwrap()).to_string(), "0.0260");
    }
}
