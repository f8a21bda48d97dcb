//! Decodes audio of any format to linear samples.

use switchboard_model::recording;
use switchboard_providers::audio::{AudioFormat, Encoding};

/// Linear samples; half a sample at the end is left out.
pub(crate) fn samples(format: AudioFormat, audio: &[u8]) -> impl DoubleEndedIterator<Item = i16> {
    let (width, decode): (usize, fn(&[u8]) -> i16) = match format.encoding {
        Encoding::MuLaw => (1, |sample| recording::decode(sample[0])),
        Encoding::Pcm16 => (2, |sample| i16::from_le_bytes([sample[0], sample[1]])),
    };
    audio.chunks_exact(width).map(decode)
}
