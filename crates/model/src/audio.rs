//! Audio formats, which convert between durations and numbers of bytes.
//!
//! All audio is mono. Code counts time, and asks the [`AudioFormat`] for bytes only where bytes leave or enter. This
//! module does not know the values of samples; the mu-law table is in [`crate::recording`].

use std::time::Duration;

/// Nanoseconds in a second.
const NANOS: u128 = 1_000_000_000;

/// The encoding of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// G.711 mu-law, one byte per sample.
    MuLaw,
    /// Signed 16-bit integers, little-endian.
    Pcm16,
}

impl Encoding {
    /// Bytes of one sample.
    #[must_use]
    pub const fn bytes_per_sample(self) -> u64 {
        match self {
            Self::MuLaw => 1,
            Self::Pcm16 => 2,
        }
    }

    /// The byte that silence consists of.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Self::MuLaw => 0xFF,
            Self::Pcm16 => 0,
        }
    }
}

/// Mono audio without a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AudioFormat {
    /// The encoding of a sample.
    pub encoding: Encoding,
    /// Samples per second, in hertz.
    pub sample_rate: u32,
}

impl AudioFormat {
    /// The telephone network's format and the carrier's media streams': mu-law at 8 kHz, 160 bytes in 20 ms.
    pub const TELEPHONE: Self = Self { encoding: Encoding::MuLaw, sample_rate: 8_000 };

    /// Linear audio at 16 kHz, as transcribers and voices take it beside the telephone's: 640 bytes in 20 ms.
    pub const WIDEBAND: Self = Self { encoding: Encoding::Pcm16, sample_rate: 16_000 };

    /// Bytes in a second.
    #[must_use]
    pub const fn bytes_per_second(self) -> u64 {
        self.sample_rate as u64 * self.encoding.bytes_per_sample()
    }

    /// The duration of `bytes`. An incomplete sample at the end does not count. It is exact where a sample lasts whole
    /// nanoseconds (8, 16 and 32 kHz), else rounded up, so that [`AudioFormat::bytes_in`] returns the same number.
    #[must_use]
    pub const fn duration_of(self, bytes: u64) -> Duration {
        let samples = (bytes / self.encoding.bytes_per_sample()) as u128;
        let nanos = (samples * NANOS).div_ceil(self.sample_rate as u128);
        Duration::new(saturating(nanos / NANOS), subsecond(nanos % NANOS))
    }

    /// The number of bytes in `duration`: whole samples, rounded down.
    #[must_use]
    pub const fn bytes_in(self, duration: Duration) -> u64 {
        let samples = saturating(duration.as_nanos() * self.sample_rate as u128 / NANOS);
        samples.saturating_mul(self.encoding.bytes_per_sample())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "larger values are replaced first")]
const fn saturating(value: u128) -> u64 {
    if value > u64::MAX as u128 { u64::MAX } else { value as u64 }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of a billion fits")]
const fn subsecond(nanos: u128) -> u32 {
    nanos as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDEBAND: AudioFormat = AudioFormat::WIDEBAND;

    #[test]
    fn telephone_audio_has_160_bytes_in_20_ms() {
        let frame = Duration::from_millis(20);
        assert_eq!(AudioFormat::TELEPHONE.bytes_in(frame), 160);
        assert_eq!(AudioFormat::TELEPHONE.duration_of(160), frame);
        assert_eq!(AudioFormat::TELEPHONE.duration_of(1), Duration::from_micros(125));
        assert_eq!(AudioFormat::TELEPHONE.bytes_per_second(), 8_000);
    }

    #[test]
    fn wideband_audio_has_whole_samples() {
        assert_eq!(WIDEBAND.bytes_in(Duration::from_millis(20)), 640);
        assert_eq!(WIDEBAND.bytes_in(Duration::from_nanos(62_501)), 2);
        assert_eq!(WIDEBAND.duration_of(641), WIDEBAND.duration_of(640));
    }

    #[test]
    fn impossible_durations_saturate() {
        assert_eq!(WIDEBAND.bytes_in(Duration::MAX), u64::MAX);
        assert!(AudioFormat::TELEPHONE.duration_of(u64::MAX) > Duration::from_hours(1));
    }

    proptest! {
        #[test]
        fn bytes_survive_the_way_through_a_duration(samples in 0..u64::from(u32::MAX), rate in 1_u32..400_000) {
            for encoding in [Encoding::MuLaw, Encoding::Pcm16] {
                let format = AudioFormat { encoding, sample_rate: rate };
                let bytes = samples * encoding.bytes_per_sample();
                prop_assert_eq!(format.bytes_in(format.duration_of(bytes)), bytes);
            }
        }

        #[test]
        fn a_duration_never_grows_on_its_way_through_bytes(micros in 0..u64::from(u32::MAX)) {
            let duration = Duration::from_micros(micros);
            let format = AudioFormat::TELEPHONE;
            let through = format.duration_of(format.bytes_in(duration));
            prop_assert!(through <= duration && duration.checked_sub(through).unwrap() < Duration::from_micros(125));
        }
    }
}
