//! Reads the two channels of a recording. It shares no code with the recorder, so that it can check it.

use std::io::Cursor;

use hound::{SampleFormat, WavReader};

/// The level above which a tenth of a second counts as speech: -40 dB of full scale.
pub(crate) const AUDIBLE: f64 = 0.01;

/// A stereo recording: 16-bit samples of each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recording {
    /// Samples per second.
    pub(crate) rate: u32,
    /// The left channel.
    pub(crate) caller: Vec<i16>,
    /// The right channel.
    pub(crate) agent: Vec<i16>,
}

/// The loudness of both channels, and the length of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChannelLevels {
    pub(crate) seconds: f64,
    /// The loudest tenth of a second of the caller, as a fraction of full scale.
    pub(crate) caller: f64,
    /// The loudest tenth of a second of the agent, as a fraction of full scale.
    pub(crate) agent: f64,
}

impl Recording {
    /// Reads 16-bit stereo PCM; `None` for anything else.
    pub(crate) fn read(wav: &[u8]) -> Option<Self> {
        let mut reader = WavReader::new(Cursor::new(wav)).ok()?;
        let spec = reader.spec();
        if (spec.channels, spec.bits_per_sample, spec.sample_format) != (2, 16, SampleFormat::Int) {
            return None;
        }
        let samples: Vec<i16> = reader.samples().collect::<Result<_, _>>().ok()?;
        let (caller, agent) = samples.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
        Some(Self { rate: spec.sample_rate, caller, agent })
    }

    /// Measures both channels.
    pub(crate) fn levels(&self) -> ChannelLevels {
        let tenth = usize::try_from(self.rate / 10).unwrap_or(0).max(1);
        let loudest = |side: &[i16]| side.chunks(tenth).map(loudness).fold(0.0, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "a recording has far fewer than 2^52 samples")]
        let seconds = self.caller.len() as f64 / f64::from(self.rate);
        ChannelLevels { seconds, caller: loudest(&self.caller), agent: loudest(&self.agent) }
    }
}

impl ChannelLevels {
    /// Whether both channels contain speech.
    pub(crate) fn are_audible(self) -> bool {
        self.caller > AUDIBLE && self.agent > AUDIBLE
    }
}

/// The root mean square, as a fraction of full scale; zero for no samples.
pub(crate) fn loudness(samples: &[i16]) -> f64 {
    let square = |sample: &i16| (f64::from(*sample) / f64::from(i16::MAX)).powi(2);
    #[expect(clippy::cast_precision_loss, reason = "a recording has far fewer than 2^52 samples")]
    let mean = samples.iter().map(square).sum::<f64>() / samples.len().max(1) as f64;
    mean.sqrt()
}

#[cfg(test)]
mod tests {
    use switchboard_model::audio::AudioFormat;

    use super::*;

    /// One second at 8 kHz with a constant mu-law byte on each side, as the recorder writes it.
    fn recording(caller: u8, agent: u8) -> Vec<u8> {
        switchboard_model::recording::wav(AudioFormat::TELEPHONE, &[caller, agent].repeat(8_000))
    }

    #[test]
    fn each_channel_has_its_own_loudness() {
        let silence = switchboard_model::recording::SILENCE;
        let recorded = Recording::read(&recording(0x80, silence)).unwrap();
        assert_eq!((recorded.rate, recorded.caller[0], recorded.agent[0]), (8_000, 32_124, 0));
        let levels = recorded.levels();
        assert!((levels.seconds - 1.0).abs() < 1e-9);
        assert!(levels.caller > 0.9 && levels.agent < 1e-6);
        assert!(!levels.are_audible(), "one silent side is a broken recording");
        assert!(Recording::read(&recording(0x80, 0x80)).unwrap().levels().are_audible());
    }

    #[test]
    fn only_a_stereo_wav_is_read() {
        let mut mono = recording(0x80, 0x80);
        mono[22] = 1;
        for wrong in [&b""[..], b"RIFF", &mono] {
            assert_eq!(Recording::read(wrong), None);
        }
    }
}
