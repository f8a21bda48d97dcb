//! Reads a recording's two channels, as a check of what the system made, independent of how it did.

/// Quieter than this in its loudest tenth of a second (-40 dB), a channel holds no speech.
pub(crate) const AUDIBLE: f64 = 0.01;

/// A stereo recording: 16-bit samples of each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recording {
    /// Samples per second.
    pub(crate) rate: u32,
    /// Left.
    pub(crate) caller: Vec<i16>,
    /// Right.
    pub(crate) agent: Vec<i16>,
}

/// How loud each side of a stereo recording is, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChannelLevels {
    pub(crate) seconds: f64,
    /// The loudest tenth of a second of the caller (left), as a fraction of full scale.
    pub(crate) caller: f64,
    /// The loudest tenth of a second of the agent (right), likewise.
    pub(crate) agent: f64,
}

impl Recording {
    /// Reads 16-bit stereo PCM; none if the file is anything else.
    pub(crate) fn read(wav: &[u8]) -> Option<Self> {
        let word = |at: usize| wav.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        let is_wav = wav.starts_with(b"RIFF") && wav.get(8..16) == Some(b"WAVEfmt ");
        // PCM, two channels, 16 bits.
        if !is_wav || (word(20)?, word(22)?, word(34)?) != (1, 2, 16) || wav.get(36..40) != Some(b"data") {
            return None;
        }
        let (caller, agent) = wav[44..]
            .chunks_exact(4)
            .map(|pair| (i16::from_le_bytes([pair[0], pair[1]]), i16::from_le_bytes([pair[2], pair[3]])))
            .unzip();
        Some(Self { rate: word(24)?.into(), caller, agent })
    }

    /// How loud both sides are.
    pub(crate) fn sides(&self) -> ChannelLevels {
        let tenth = usize::try_from(self.rate / 10).unwrap_or(0).max(1);
        let loudest = |side: &[i16]| side.chunks(tenth).map(loudness).fold(0.0, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "a recording has far fewer than 2^52 samples")]
        let seconds = self.caller.len() as f64 / f64::from(self.rate);
        ChannelLevels { seconds, caller: loudest(&self.caller), agent: loudest(&self.agent) }
    }
}

impl ChannelLevels {
    /// Whether there is speech on both sides.
    pub(crate) fn are_audible(self) -> bool {
        self.caller > AUDIBLE && self.agent > AUDIBLE
    }
}

/// The root mean square, as a fraction of full scale; zero of nothing.
pub(crate) fn loudness(samples: &[i16]) -> f64 {
    let square = |sample: &i16| (f64::from(*sample) / f64::from(i16::MAX)).powi(2);
    #[expect(clippy::cast_precision_loss, reason = "a recording has far fewer than 2^52 samples")]
    let mean = samples.iter().map(square).sum::<f64>() / samples.len().max(1) as f64;
    mean.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One second at 8 kHz with a constant on each side, as the domain writes it.
    fn recording(caller: u8, agent: u8) -> Vec<u8> {
        switchboard_model::recording::wav(&[caller, agent].repeat(8_000))
    }

    #[test]
    fn each_side_has_its_own_loudness() {
        let silence = switchboard_model::recording::SILENCE;
        let recorded = Recording::read(&recording(0x80, silence)).unwrap();
        assert_eq!((recorded.rate, recorded.caller[0], recorded.agent[0]), (8_000, 32_124, 0));
        let sides = recorded.sides();
        assert!((sides.seconds - 1.0).abs() < 1e-9);
        assert!(sides.caller > 0.9 && sides.agent < 1e-6);
        assert!(!sides.are_audible(), "one silent side is a broken recording");
        assert!(Recording::read(&recording(0x80, 0x80)).unwrap().sides().are_audible());
    }

    #[test]
    fn what_is_no_stereo_wav_is_not_read() {
        let mut mono = recording(0x80, 0x80);
        mono[22] = 1;
        for wrong in [&b""[..], b"RIFF", &mono] {
            assert_eq!(Recording::read(wrong), None);
        }
    }
}
