//! Time in a call, and lengths of audio.
//!
//! The engine counts time, never bytes: it knows no audio format. Start at [`CallTime`].

use std::{ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

/// The length of the carrier's frames, and the shortest audio that is sent except at the end of a clause.
pub(crate) const FRAME: Duration = Duration::from_millis(20);
/// Lengths of audio are rounded to this: the shortest time that is a whole number of samples at 8, 16, 24 and
/// 48 kHz, so that a worker can convert each length to bytes without a remainder.
const GRAIN: Duration = Duration::from_micros(125);

/// Microseconds since the call's media began to flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallTime(pub u64);

impl CallTime {
    /// The time from `earlier` to this; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The time `by` earlier, but not before the call began.
    pub(crate) fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(micros(by)))
    }
}

impl Add<Duration> for CallTime {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros(by)))
    }
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// As many whole frames as fit.
pub(crate) fn whole_frames(audio: Duration) -> Duration {
    let frame = micros(FRAME);
    Duration::from_micros(micros(audio) / frame * frame)
}

/// Rounded up to a length that each audio format can express.
pub(crate) fn whole_grains(audio: Duration) -> Duration {
    share(audio, 1, 1)
}

/// `audio * part / whole`, rounded up like [`whole_grains`]; `whole` is not zero.
pub(crate) fn share(audio: Duration, part: u64, whole: u64) -> Duration {
    let grain = micros(GRAIN);
    let grains = (audio.as_micros() * u128::from(part)).div_ceil(u128::from(whole) * u128::from(grain));
    Duration::from_micros(u64::try_from(grains).unwrap_or(u64::MAX).saturating_mul(grain))
}

/// Serializes a duration as whole microseconds.
pub(crate) mod as_micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(super::micros(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}
