//! Reads a recording's two channels, as a check of what the system made, independent of how it did.

/// How loud each side of a stereo recording is, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sides {
    pub(super) seconds: f64,
    /// The loudest tenth of a second of the caller (left), as a fraction of full scale.
    pub(super) caller: f64,
    /// The loudest tenth of a second of the agent (right), likewise.
    pub(super) agent: f64,
}

/// Quieter than this in its loudest tenth of a second (-40 dB), a channel holds no speech.
const AUDIBLE: f64 = 0.01;

impl Sides {
    /// Reads 16-bit stereo PCM; none if the file is anything else.
    pub(super) fn read(wav: &[u8]) -> Option<Self> {
        let word = |at: usize| wav.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        let is_wav = wav.starts_with(b"RIFF") && wav.get(8..16) == Some(b"WAVEfmt ");
        // PCM, two channels, 16 bits.
        if !is_wav || (word(20)?, word(22)?, word(34)?) != (1, 2, 16) || wav.get(36..40) != Some(b"data") {
            return None;
        }
        let rate = usize::from(word(24)?);
        let samples: Vec<f64> = wav[44..]
            .chunks_exact(2)
            .map(|bytes| f64::from(i16::from_le_bytes([bytes[0], bytes[1]])) / f64::from(i16::MAX))
            .collect();
        let loudest = |channel: usize| {
            let side: Vec<f64> = samples.iter().skip(channel).step_by(2).copied().collect();
            side.chunks((rate / 10).max(1)).map(root_mean_square).fold(0.0, f64::max)
        };
        #[expect(clippy::cast_precision_loss, reason = "a recording has far fewer than 2^52 samples")]
        let seconds = samples.len() as f64 / 2.0 / rate as f64;
        Some(Self { seconds, caller: loudest(0), agent: loudest(1) })
    }

    /// Whether there is speech on both sides.
    pub(super) fn are_audible(self) -> bool {
        self.caller > AUDIBLE && self.agent > AUDIBLE
    }
}

fn root_mean_square(samples: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a tenth of a second has few samples")]
    let mean = samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len() as f64;
    mean.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One second at 8 kHz with a constant on each side, as the domain writes it.
    fn recording(caller: u8, agent: u8) -> Vec<u8> {
        domain::recording::wav(&[caller, agent].repeat(8_000))
    }

    #[test]
    fn each_side_has_its_own_loudness() {
        let sides = Sides::read(&recording(0x80, domain::recording::SILENCE)).unwrap();
        assert!((sides.seconds - 1.0).abs() < 1e-9);
        assert!(sides.caller > 0.9 && sides.agent < 1e-6);
        assert!(!sides.are_audible(), "one silent side is a broken recording");
        assert!(Sides::read(&recording(0x80, 0x80)).unwrap().are_audible());
    }

    #[test]
    fn what_is_no_stereo_wav_is_not_read() {
        let mut mono = recording(0x80, 0x80);
        mono[22] = 1;
        for wrong in [&b""[..], b"RIFF", &mono] {
            assert_eq!(Sides::read(wrong), None);
        }
    }
}
