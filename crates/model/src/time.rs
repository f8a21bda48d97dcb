//! Points in time, in the API's form: RFC 3339, UTC, milliseconds, `Z`.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time, to the millisecond. `2026-11-22T09:30:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String", extend("format" = "date-time", "examples" = ["2026-11-22T09:30:00.000Z"]))]
pub struct Timestamp(jiff::Timestamp);

/// The text was not an RFC 3339 time.
#[derive(Debug, thiserror::Error)]
#[error("not an RFC 3339 time")]
pub struct InvalidTimestamp(#[source] jiff::Error);

impl Timestamp {
    /// The time `millis` milliseconds after 1970. A time out of range becomes the nearest representable one.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(jiff::Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        }))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// The day in UTC.
    #[must_use]
    pub fn date(self) -> jiff::civil::Date {
        jiff::tz::Offset::UTC.to_datetime(self.0).date()
    }

    /// The duration since `earlier`; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.as_millis() - earlier.as_millis()).unwrap_or(0))
    }

    /// The time `by` later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Timestamp {
    /// Parses the forms of ISO 8601 that clients send: a date, or a date and a time, the offset as `Z`, `+01:00` or
    /// `+0100`. Without an offset it is UTC.
    pub fn from_iso8601(text: &str) -> Result<Self, InvalidTimestamp> {
        // In a query, a plus that was not escaped became a space.
        let text = if text.contains('T') { text.replace(' ', "+") } else { text.to_owned() };
        text.parse().or_else(|_| {
            let civil: jiff::civil::DateTime = text.parse().map_err(InvalidTimestamp)?;
            let time = jiff::tz::Offset::UTC.to_timestamp(civil).map_err(InvalidTimestamp)?;
            Ok(Self::from_millis(time.as_millisecond()))
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time: jiff::Timestamp = text.parse().map_err(InvalidTimestamp)?;
        Ok(Self::from_millis(time.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_milliseconds_and_z() {
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(1_795_339_800_120).to_string(), "2026-11-22T09:30:00.120Z");
    }

    #[test]
    fn times_survive_a_round_trip_and_offsets_are_converted() {
        let time: Timestamp = "2026-11-22T10:30:00.1239+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-22T09:30:00.123Z");
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    }

    #[test]
    fn many_spellings_of_a_time_are_accepted() {
        let time = Timestamp::from_millis(1_795_339_800_000);
        for text in [
            "2026-11-22T09:30:00Z",
            "2026-11-22T09:30:00z",
            "2026-11-22T09:30Z",
            "2026-11-22T09:30:00.000Z",
            "2026-11-22T09:30:00.000000+00:00",
            "2026-11-22T09:30:00.000000+0000",
            "2026-11-22T09:30:00+00",
            "2026-11-22T09:30:00 0000",
            "2026-11-22T09:30:00",
            "2026-11-22T09:30",
            "2026-11-22 09:30:00",
            "2026-11-22T10:30:00+0100",
            "2026-11-22T01:30:00-08:00",
        ] {
            assert_eq!(Timestamp::from_iso8601(text).unwrap(), time, "{text}");
        }
        let midnight = Timestamp::from_iso8601("2026-11-22").unwrap();
        assert_eq!(midnight.to_string(), "2026-11-22T00:00:00.000Z");
        for text in
            ["", "now", "22.11.2026", "2026-13-01", "2026-11-22T25:00:00Z", "1795339800", "99999-01-01"]
        {
            assert!(Timestamp::from_iso8601(text).is_err(), "{text}");
        }
    }

    #[test]
    fn since_never_goes_negative() {
        let (early, late) = (Timestamp::from_millis(1_000), Timestamp::from_millis(3_500));
        assert_eq!(late.since(early), Duration::from_millis(2_500));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
