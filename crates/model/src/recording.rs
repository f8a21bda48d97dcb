//! Joins the recorded pieces of a conversation into one WAV file.
//!
//! During a call the worker stores pieces of interleaved audio: one sample of the caller, one sample of the agent, in the
//! format of [`ConversationType::recording_format`](crate::conversations::ConversationType::recording_format).

use crate::audio::{AudioFormat, Encoding};

/// The mu-law byte of silence.
pub const SILENCE: u8 = 0xFF;

const HEADER_BYTES: u32 = 44;
const CHANNELS: u16 = 2;
const BITS: u16 = 16;

/// Bytes of a sample of the caller and one of the agent.
#[must_use]
pub const fn pair_bytes(format: AudioFormat) -> usize {
    match format.encoding {
        Encoding::MuLaw => 2,
        Encoding::Pcm16 => 4,
    }
}

/// A stereo 16-bit WAV file: left the caller, right the agent as the caller heard it.
#[must_use]
pub fn wav(format: AudioFormat, interleaved: &[u8]) -> Vec<u8> {
    let pairs = interleaved.len() / pair_bytes(format);
    let mut wav = wav_header(format, pairs).to_vec();
    wav.extend(wav_samples(format, &interleaved[..pairs * pair_bytes(format)]));
    wav
}

/// The header of a file with so many pairs of samples; [`wav_samples`] follow. A WAV file holds four gigabytes, which
/// are 18 hours at 16 kHz.
#[must_use]
pub fn wav_header(format: AudioFormat, pairs: usize) -> [u8; HEADER_BYTES as usize] {
    let block = CHANNELS * BITS / 8;
    let data_bytes = u32::try_from(pairs.saturating_mul(block.into())).unwrap_or(u32::MAX);
    let data_bytes = data_bytes.min(u32::MAX - HEADER_BYTES);
    let mut header = [0; HEADER_BYTES as usize];
    let fields: [&[u8]; 11] = [
        b"RIFF",
        &(HEADER_BYTES - 8 + data_bytes).to_le_bytes(),
        b"WAVEfmt ",
        &16_u32.to_le_bytes(),
        &[1_u16.to_le_bytes(), CHANNELS.to_le_bytes()].concat(), // PCM
        &format.sample_rate.to_le_bytes(),
        &(format.sample_rate * u32::from(block)).to_le_bytes(),
        &block.to_le_bytes(),
        &BITS.to_le_bytes(),
        b"data",
        &data_bytes.to_le_bytes(),
    ];
    header.copy_from_slice(&fields.concat());
    header
}

/// Converts interleaved audio to the samples of a WAV file, two bytes for each.
#[must_use]
pub fn wav_samples(format: AudioFormat, interleaved: &[u8]) -> Vec<u8> {
    match format.encoding {
        Encoding::MuLaw => interleaved.iter().flat_map(|byte| decode(*byte).to_le_bytes()).collect(),
        Encoding::Pcm16 => interleaved.to_vec(),
    }
}

/// Converts a mu-law byte to a linear sample (G.711: inverted bits; sign, three bits of exponent, four of mantissa;
/// bias 132).
#[must_use]
pub fn decode(mu_law: u8) -> i16 {
    SAMPLES[usize::from(mu_law)]
}

/// The sample of each mu-law byte.
static SAMPLES: [i16; 256] = {
    let mut samples = [0; 256];
    let mut byte = 0_u8;
    loop {
        samples[byte as usize] = linear(byte);
        if byte == u8::MAX {
            break samples;
        }
        byte += 1;
    }
};

const fn linear(mu_law: u8) -> i16 {
    let bits = !mu_law;
    let magnitude = (((bits & 0x0F) as i16) * 8 + 132) << ((bits & 0x70) >> 4);
    if bits & 0x80 == 0 { magnitude - 132 } else { 132 - magnitude }
}

/// Converts a linear sample to a mu-law byte.
#[must_use]
pub fn encode(sample: i16) -> u8 {
    const LOUDEST: u16 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = sample.unsigned_abs().min(LOUDEST) + 132;
    let exponent = 8 - magnitude.leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) & 0x0F;
    let bits = sign | u8::try_from(exponent << 4).unwrap_or(0x70) | u8::try_from(mantissa).unwrap_or(0x0F);
    !bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_decoding_and_encoding() {
        for byte in 0..=u8::MAX {
            // There are two zeros.
            let expected = if byte == 0x7F { SILENCE } else { byte };
            assert_eq!(encode(decode(byte)), expected, "{byte:#x}");
        }
        for (sample, byte) in [(i16::MAX, 0x80), (i16::MIN, 0x00), (1, 0xFF), (-5, 0x7E)] {
            assert_eq!(encode(sample), byte, "{sample}");
        }
    }

    #[test]
    fn decoding_agrees_with_the_standards_table() {
        for (byte, sample) in
            [(0xFF, 0), (0x7F, 0), (0x80, 32_124), (0x00, -32_124), (0xFE, 8), (0xF0, 120), (0x8F, 16_764)]
        {
            assert_eq!(decode(byte), sample, "{byte:#x}");
        }
    }

    #[test]
    fn the_caller_is_left_and_the_agent_right() {
        let wav = wav(AudioFormat::TELEPHONE, &[0x80, SILENCE, 0x00, SILENCE]);
        assert_eq!(wav.len(), 44 + 8);
        assert_eq!(&wav[..4], b"RIFF");
        assert_eq!(wav[4..8], (36_u32 + 8).to_le_bytes());
        assert_eq!(wav[22..24], 2_u16.to_le_bytes());
        assert_eq!(wav[24..28], 8_000_u32.to_le_bytes());
        assert_eq!(wav[44..46], 32_124_i16.to_le_bytes());
        assert_eq!(wav[46..48], [0, 0]);
        assert_eq!(wav[48..50], (-32_124_i16).to_le_bytes());
    }

    #[test]
    fn an_odd_byte_at_the_end_is_left_out() {
        assert_eq!(wav(AudioFormat::TELEPHONE, &[SILENCE; 3]).len(), 44 + 4);
        assert_eq!(wav(AudioFormat::WIDEBAND, &[0; 7]).len(), 44 + 4);
    }

    #[test]
    fn wideband_audio_stays_as_it_is() {
        let wav = wav(AudioFormat::WIDEBAND, &[1, 2, 3, 4]);
        assert_eq!(wav[24..28], 16_000_u32.to_le_bytes());
        assert_eq!(wav[28..32], 64_000_u32.to_le_bytes());
        assert_eq!(wav[44..], [1, 2, 3, 4]);
    }
}
