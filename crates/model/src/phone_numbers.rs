//! Telephone numbers ([`E164`]), and the numbers of accounts ([`PhoneNumber`]).

mod number;
mod pool;
mod restricted;

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use self::number::{
    CallAccount, Carrier, CarrierAccount, OwnAccount, PhoneNumber, SETTLED_WITHIN, Standing,
};
pub use self::pool::PooledNumber;

/// A telephone number with its country code: `+`, then 7 to 15 digits, the first not 0 (ITU-T E.164).
/// It is personal: `Debug` shows only the first digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema)]
#[schemars(extend("pattern" = r"^\+[1-9][0-9]{6,14}$", "examples" = ["+14155550100"]))]
pub struct E164(String);

/// The text is not an E.164 number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a phone number in E.164 form, such as +14155550100")]
pub struct InvalidE164;

impl E164 {
    /// The number as text: `+14155550100`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The plus and the country calling code: `+1`, `+44`, `+351`. Some countries share one: the United States and its
    /// neighbours, Russia and Kazakhstan.
    #[must_use]
    pub fn calling_code(&self) -> &str {
        // ITU-T E.164, list of assigned codes: 1 and 7 stand alone, these have two digits, all others three.
        const TWO_DIGITS: [&str; 44] = [
            "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47",
            "48", "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65",
            "66", "81", "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
        ];
        let digits = match &self.0[1..3] {
            code if code.starts_with(['1', '7']) => 1,
            code if TWO_DIGITS.contains(&code) => 2,
            _ => 3,
        };
        &self.0[..=digits]
    }
}

/// Reads a country's calling code, such as `+1` or `+49`. None if no number can have it.
#[must_use]
pub fn parse_calling_code(text: &str) -> Option<String> {
    // Every number with this beginning must have exactly this code.
    let number: E164 = format!("{text}0000000").parse().ok()?;
    (number.calling_code() == text).then(|| text.to_owned())
}

impl FromStr for E164 {
    type Err = InvalidE164;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('+').ok_or(InvalidE164)?;
        let valid = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidE164) }
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[redacted]", &self.0[..3])
    }
}

impl Serialize for E164 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for E164 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_a_plus_a_country_code_and_7_to_15_digits() {
        for good in ["+14155550100", "+4930901820", "+442079460000", "+1234567", "+123456789012345"] {
            assert_eq!(good.parse::<E164>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "+",
            "14155550100",
            "+04155550100",
            "+123456",
            "+1234567890123456",
            "+1415555010a",
            "+1 415 555 0100",
            "+１４１５５５５",
        ] {
            assert_eq!(bad.parse::<E164>(), Err(InvalidE164), "{bad}");
        }
    }

    #[test]
    fn the_calling_code_has_one_to_three_digits() {
        for (number, code) in [
            ("+14155550100", "+1"),
            ("+79161234567", "+7"),
            ("+442079460000", "+44"),
            ("+4930901820", "+49"),
            ("+989121234567", "+98"),
            ("+351211234567", "+351"),
            ("+97143210000", "+971"),
        ] {
            assert_eq!(number.parse::<E164>().unwrap().calling_code(), code);
        }
    }

    #[test]
    fn debug_output_hides_the_number() {
        assert_eq!(format!("{:?}", "+14155550100".parse::<E164>().unwrap()), "+14[redacted]");
    }

    #[test]
    fn a_calling_code_is_one_that_numbers_have() {
        for good in ["+1", "+7", "+44", "+49", "+351", "+971"] {
            assert_eq!(parse_calling_code(good).as_deref(), Some(good));
        }
        for bad in ["", "+", "1", "49", "+4", "+35", "+3511", "+12", "+0", "+1a", "own", " +1", "+1 "] {
            assert_eq!(parse_calling_code(bad), None, "{bad}");
        }
    }
}
