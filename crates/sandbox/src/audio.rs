//! Telephone audio: the mu-law codec, resampling, and the segmentation of a stream into utterances.
//!
//! The sandbox sends and receives 8 kHz mono mu-law in frames of 20 ms; the offline engines take 16 kHz and give
//! 24 kHz. This module knows neither engines nor sockets. Start reading at [`Segmenter`].

use std::collections::VecDeque;
use std::f32::consts::PI;
use std::time::Duration;

/// Samples per second of telephone audio; mu-law has one byte per sample.
pub const SAMPLE_RATE: u32 = 8000;

/// Bytes of one 20 ms frame of telephone audio.
pub const FRAME_BYTES: usize = 160;

/// The mu-law byte of a sample of zero.
pub const SILENCE: u8 = 0xFF;

/// Duration of one frame of [`FRAME_BYTES`].
const FRAME: Duration = Duration::from_millis(20);

/// Added to the magnitude by G.711, so that the bits of all segments have the same form.
const BIAS: i16 = 0x84;

/// Decodes a mu-law byte to a 16-bit linear sample (ITU-T G.711).
#[must_use]
pub fn decode(byte: u8) -> i16 {
    let bits = !byte;
    let mantissa = i16::from(bits & 0x0F);
    let magnitude = (((mantissa << 3) + BIAS) << ((bits >> 4) & 0x07)) - BIAS;
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Encodes a 16-bit linear sample as a mu-law byte (ITU-T G.711); samples above the range of the code are clipped.
#[must_use]
pub fn encode(sample: i16) -> u8 {
    let sign: u8 = if sample < 0 { 0x80 } else { 0 };
    let magnitude = sample.unsigned_abs().min(32_635) + BIAS.unsigned_abs();
    // Because of the bias the leading bit is 7 or higher, so the exponent is 0 to 7.
    let exponent = 8 - magnitude.leading_zeros().min(8);
    let [_, mantissa] = ((magnitude >> (exponent + 3)) & 0x0F).to_be_bytes();
    let [.., exponent] = exponent.to_be_bytes();
    !(sign | (exponent << 4) | mantissa)
}

/// Converts linear samples to another rate, low-passed below half of the lower rate.
///
/// A polyphase windowed-sinc filter with 16 zero crossings to either side (Hamming): the pass band ends at 0.8 of half
/// the lower rate; images and aliases are below -50 dB, which is less than the noise of mu-law. It is written by hand
/// because whole utterances are converted: the result has exact length and no delay, while the streaming resamplers
/// of the usual crates work on blocks whose delay and padding would have to be cut off again.
#[must_use]
pub fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    const ZERO_CROSSINGS: usize = 16;
    let divisor = gcd(from, to);
    let (up, down) = (index(to / divisor), index(from / divisor));
    if up == down {
        return samples.to_vec();
    }
    let reach = ZERO_CROSSINGS * down.div_ceil(up);
    let filters: Vec<Vec<f32>> = (0..up).map(|phase| kernel(phase, up, down, reach)).collect();
    // Silence before and after, so that the filter never reads outside the buffer.
    let mut padded = vec![0.0; reach];
    padded.extend(samples.iter().map(|&sample| f32::from(sample)));
    padded.resize(padded.len() + reach + 1, 0.0);
    (0..(samples.len() * up).div_ceil(down))
        .map(|n| {
            let at = n * down / up;
            let taps = &filters[n * down % up];
            let sum: f32 = padded[at..at + taps.len()].iter().zip(taps).map(|(x, tap)| x * tap).sum();
            to_sample(sum)
        })
        .collect()
}

/// The filter for an output sample that lies `phase / up` of an input sample after the middle one.
fn kernel(phase: usize, up: usize, down: usize, reach: usize) -> Vec<f32> {
    let cutoff = 0.9 * (ratio(up, down)).min(1.0);
    let width = ratio(reach + 1, 1);
    let mut taps: Vec<f32> = (0..=2 * reach)
        .map(|k| {
            let x = ratio(k, 1) - ratio(reach, 1) - ratio(phase, up);
            let sinc = if x.abs() < 1e-6 { 1.0 } else { (PI * cutoff * x).sin() / (PI * cutoff * x) };
            sinc * (0.54 + 0.46 * (PI * x / width).cos())
        })
        .collect();
    let gain: f32 = taps.iter().sum();
    for tap in &mut taps {
        *tap /= gain;
    }
    taps
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(crate) fn index(n: u32) -> usize {
    usize::try_from(n).expect("a sample rate fits the address space")
}

#[expect(clippy::cast_precision_loss, reason = "filter lengths are a few hundred")]
pub(crate) fn ratio(a: usize, b: usize) -> f32 {
    a as f32 / b as f32
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i16 first")]
pub(crate) fn to_sample(value: f32) -> i16 {
    value.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
}

/// Duration of this many bytes of telephone audio.
#[must_use]
pub fn duration(bytes: usize) -> Duration {
    // 125 microseconds per byte. More audio than fits is longer than any call.
    Duration::from_micros(u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(125))
}

/// Number of bytes of telephone audio in this duration, rounded down.
pub(crate) fn bytes(length: Duration) -> usize {
    usize::try_from(length.as_micros() / 125).unwrap_or(usize::MAX)
}

/// A finding of [`Segmenter`]. Times count from the first byte that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Speech began.
    Started {
        /// The beginning of the speech, which lies before its detection.
        at: Duration,
    },
    /// Speech ended: the required silence has passed, or the stream was flushed.
    Ended {
        /// The beginning of the speech.
        start: Duration,
        /// The end of the speech, without the silence that proved it.
        end: Duration,
        /// The speech in mu-law, with up to 200 ms before and after it.
        audio: Vec<u8>,
    },
}

/// Cuts a mu-law stream into utterances by the energy of its 20 ms frames, with hysteresis.
///
/// The levels are fixed, because simulated lines have little noise.
#[derive(Debug)]
pub struct Segmenter {
    /// Frames of silence that end an utterance.
    silence: u64,
    /// Bytes that do not fill a frame yet.
    rest: Vec<u8>,
    /// Number of whole frames.
    frames: u64,
    /// The last frames before an utterance, whose first sounds are quieter than the level of onset.
    before: VecDeque<u8>,
    /// Voiced frames in a row outside of an utterance.
    run: u64,
    utterance: Option<Utterance>,
}

/// The current utterance.
#[derive(Debug)]
struct Utterance {
    /// The first frame of speech.
    start: u64,
    /// The frame after the last one with speech.
    end: u64,
    audio: Vec<u8>,
}

impl Segmenter {
    /// The mean square from which speech begins: -40 dBFS.
    const ONSET: i64 = 328 * 328;
    /// The mean square below which a frame of an utterance is silent: -46 dBFS.
    const RELEASE: i64 = 164 * 164;
    /// Voiced frames in a row that make an onset (60 ms); a click is shorter.
    const ONSET_FRAMES: u64 = 3;
    /// Bytes kept before and after the speech (200 ms).
    const MARGIN: usize = 1600;
    /// Maximum length of an utterance (30 s), which bounds memory.
    const LONGEST: usize = 30 * 8000;

    /// Creates a segmenter that ends an utterance after this much silence, in steps of 20 ms. With [`Duration::MAX`]
    /// only [`Segmenter::flush`] ends one.
    #[must_use]
    pub fn new(silence: Duration) -> Self {
        let frames = silence.as_nanos().div_ceil(FRAME.as_nanos()).max(1);
        Self {
            silence: u64::try_from(frames).unwrap_or(u64::MAX),
            rest: Vec::new(),
            frames: 0,
            before: VecDeque::new(),
            run: 0,
            utterance: None,
        }
    }

    /// Takes the next bytes of the stream, in any number; returns the findings in order.
    pub fn push(&mut self, mulaw: &[u8]) -> Vec<Segment> {
        let mut found = Vec::new();
        self.rest.extend_from_slice(mulaw);
        let bytes = std::mem::take(&mut self.rest);
        let mut frames = bytes.chunks_exact(FRAME_BYTES);
        for frame in &mut frames {
            found.extend(self.frame(frame));
        }
        self.rest = frames.remainder().to_vec();
        found
    }

    /// The audio of the current utterance: from up to 200 ms before its start to the last whole frame.
    #[must_use]
    pub fn current(&self) -> Option<&[u8]> {
        self.utterance.as_ref().map(|utterance| utterance.audio.as_slice())
    }

    /// Duration of the silence at the end of the current utterance; zero if it is voiced or there is none.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.utterance.as_ref().map_or(Duration::ZERO, |utterance| time(self.frames - utterance.end))
    }

    /// Ends the current utterance without waiting for silence.
    pub fn flush(&mut self) -> Option<Segment> {
        let utterance = self.utterance.take()?;
        let frames = usize::try_from(self.frames - utterance.end).unwrap_or(usize::MAX);
        let mut audio = utterance.audio;
        let silent = frames.saturating_mul(FRAME_BYTES).min(audio.len());
        let spoken = audio.len() - silent;
        // The next utterance must not begin with audio of this one's speech.
        self.before = audio[audio.len() - silent.min(Self::MARGIN)..].iter().copied().collect();
        audio.truncate(spoken + silent.min(Self::MARGIN));
        Some(Segment::Ended { start: time(utterance.start), end: time(utterance.end), audio })
    }

    fn frame(&mut self, frame: &[u8]) -> Option<Segment> {
        self.frames += 1;
        let energy = mean_square(frame);
        if let Some(utterance) = &mut self.utterance {
            utterance.audio.extend_from_slice(frame);
            if energy >= Self::RELEASE {
                utterance.end = self.frames;
            }
            let over = self.frames - utterance.end >= self.silence || utterance.audio.len() >= Self::LONGEST;
            return if over { self.flush() } else { None };
        }
        self.before.extend(frame);
        self.run = if energy >= Self::ONSET { self.run + 1 } else { 0 };
        if self.run < Self::ONSET_FRAMES {
            let surplus = self.before.len().saturating_sub(Self::MARGIN + 2 * FRAME_BYTES);
            self.before.drain(..surplus);
            return None;
        }
        let start = self.frames - self.run;
        self.run = 0;
        self.utterance = Some(Utterance { start, end: self.frames, audio: self.before.drain(..).collect() });
        Some(Segment::Started { at: time(start) })
    }
}

fn mean_square(frame: &[u8]) -> i64 {
    let sum: i64 = frame.iter().map(|&byte| i64::from(decode(byte)).pow(2)).sum();
    sum / i64::try_from(frame.len().max(1)).expect("a frame is short")
}

/// The time at which a frame begins.
fn time(frame: u64) -> Duration {
    Duration::from_millis(frame.saturating_mul(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone of this many frames.
    fn tone(frames: usize, frequency: f32, amplitude: f32) -> Vec<u8> {
        sine(frames * FRAME_BYTES, frequency, amplitude, SAMPLE_RATE).into_iter().map(encode).collect()
    }

    fn sine(samples: usize, frequency: f32, amplitude: f32, rate: u32) -> Vec<i16> {
        let rate = ratio(index(rate), 1);
        (0..samples)
            .map(|n| to_sample(amplitude * (2.0 * PI * frequency * ratio(n, 1) / rate).sin()))
            .collect()
    }

    fn silence(frames: usize) -> Vec<u8> {
        vec![SILENCE; frames * FRAME_BYTES]
    }

    fn loudest(samples: &[i16]) -> u16 {
        samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap()
    }

    #[test]
    fn mu_law_decodes_as_in_the_standard() {
        let golden = [(0xFF, 0), (0x7F, 0), (0x80, 32_124), (0x00, -32_124), (0xFE, 8), (0x7E, -8)];
        for (byte, sample) in golden {
            assert_eq!(decode(byte), sample, "byte {byte:#04x}");
        }
        assert_eq!(decode(0xEF), 132, "the second segment begins at 132");
        assert_eq!(decode(0x8F), 16_764, "the last segment begins at 16764");
    }

    #[test]
    fn mu_law_encodes_as_in_the_standard() {
        let golden = [
            (0, 0xFF),
            (8, 0xFE),
            (-8, 0x7E),
            (1000, 0xCE),
            (-1000, 0x4E),
            (i16::MAX, 0x80),
            (i16::MIN, 0x00),
        ];
        for (sample, byte) in golden {
            assert_eq!(encode(sample), byte, "sample {sample}");
        }
    }

    #[test]
    fn every_byte_but_negative_zero_survives_the_round_trip() {
        for byte in 0..=u8::MAX {
            let expected = if byte == 0x7F { 0xFF } else { byte };
            assert_eq!(encode(decode(byte)), expected);
        }
    }

    #[test]
    fn resampling_keeps_a_tone_of_the_pass_band() {
        for (from, to) in [(24_000, 8000), (8000, 16_000), (24_000, 16_000)] {
            let out = resample(&sine(index(from), 1000.0, 10_000.0, from), from, to);
            assert_eq!(out.len(), index(to), "one second stays one second");
            let expected = sine(index(to), 1000.0, 10_000.0, to);
            let middle = out.len() / 4..out.len() * 3 / 4;
            for (a, b) in out[middle.clone()].iter().zip(&expected[middle]) {
                assert!(a.abs_diff(*b) < 100, "{from} to {to}: {a} for {b}");
            }
        }
    }

    #[test]
    fn resampling_removes_what_the_lower_rate_cannot_carry() {
        let out = resample(&sine(24_000, 5000.0, 10_000.0, 24_000), 24_000, 8000);
        let level = loudest(&out[1000..7000]);
        assert!(level < 32, "a tone of 5 kHz must not fold down to 3 kHz, but {level} is left");
        let out = resample(&sine(8000, 3000.0, 10_000.0, 8000), 8000, 16_000);
        let shifted: Vec<i16> =
            out.iter().enumerate().map(|(n, x)| if n % 2 == 0 { *x } else { -x }).collect();
        let image = resample(&shifted, 16_000, 8000);
        assert!(loudest(&image[1000..7000]) < 100, "the tone must have no image at 5 kHz");
    }

    #[test]
    fn an_utterance_has_its_true_start_and_end() {
        let mut segmenter = Segmenter::new(Duration::from_millis(300));
        let stream = [silence(50), tone(40, 440.0, 8000.0), silence(20)].concat();
        let found = segmenter.push(&stream);
        let [Segment::Started { at }, Segment::Ended { start, end, audio }] = found.as_slice() else {
            panic!("one utterance, found {found:?}")
        };
        assert_eq!(*at, Duration::from_secs(1));
        assert_eq!(*start, Duration::from_secs(1));
        assert_eq!(*end, Duration::from_millis(1800));
        assert_eq!(audio.len(), (10 + 40 + 10) * FRAME_BYTES, "200 ms before and after are kept");
        assert_eq!(audio[10 * FRAME_BYTES..50 * FRAME_BYTES], stream[50 * FRAME_BYTES..90 * FRAME_BYTES]);
    }

    #[test]
    fn the_size_of_the_pushed_pieces_makes_no_difference() {
        let stream =
            [silence(12), tone(30, 300.0, 5000.0), silence(40), tone(9, 300.0, 5000.0), silence(40)].concat();
        let mut whole = Segmenter::new(Duration::from_millis(500));
        let expected = whole.push(&stream);
        assert_eq!(expected.len(), 4);
        let mut pieces = Segmenter::new(Duration::from_millis(500));
        let found: Vec<Segment> = stream.chunks(37).flat_map(|piece| pieces.push(piece)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn clicks_are_not_speech_and_short_pauses_do_not_end_it() {
        let mut segmenter = Segmenter::new(Duration::from_millis(300));
        let click = [silence(10), tone(2, 440.0, 8000.0), silence(30)].concat();
        assert_eq!(segmenter.push(&click), []);
        let pause = [tone(10, 440.0, 8000.0), silence(14), tone(10, 440.0, 8000.0)].concat();
        assert_eq!(segmenter.push(&pause), [Segment::Started { at: Duration::from_millis(840) }]);
        assert_eq!(segmenter.silent_for(), Duration::ZERO);
    }

    #[test]
    fn a_quiet_end_belongs_to_speech_but_cannot_begin_it() {
        let quiet = tone(10, 440.0, 330.0);
        let mut segmenter = Segmenter::new(Duration::from_millis(100));
        assert_eq!(segmenter.push(&quiet), []);
        segmenter.push(&tone(10, 440.0, 8000.0));
        segmenter.push(&quiet);
        let found = segmenter.push(&silence(5));
        assert!(
            matches!(found.as_slice(), [Segment::Ended { end, .. }] if *end == Duration::from_millis(600))
        );
    }

    #[test]
    fn the_current_utterance_can_be_read_and_flushed() {
        let mut segmenter = Segmenter::new(Duration::MAX);
        assert_eq!(segmenter.flush(), None);
        assert_eq!(segmenter.current(), None);
        segmenter.push(&[tone(20, 440.0, 8000.0), silence(30)].concat());
        assert_eq!(segmenter.current().map(<[u8]>::len), Some(50 * FRAME_BYTES));
        assert_eq!(segmenter.silent_for(), Duration::from_millis(600));
        let Some(Segment::Ended { end, audio, .. }) = segmenter.flush() else { panic!("an utterance") };
        assert_eq!((end, audio.len()), (Duration::from_millis(400), 30 * FRAME_BYTES));
        assert_eq!(segmenter.flush(), None);
    }

    #[test]
    fn an_utterance_contains_no_speech_of_the_one_before() {
        let mut segmenter = Segmenter::new(Duration::from_millis(100));
        let stream = [tone(20, 440.0, 8000.0), silence(6), tone(20, 300.0, 4000.0), silence(6)].concat();
        let found = segmenter.push(&stream);
        let [_, _, Segment::Started { at }, Segment::Ended { audio, .. }] = found.as_slice() else {
            panic!("two utterances, found {found:?}")
        };
        assert_eq!(*at, Duration::from_millis(520));
        assert_eq!(
            *audio,
            stream[20 * FRAME_BYTES..51 * FRAME_BYTES],
            "only the silence between them is shared"
        );
    }

    #[test]
    fn endless_speech_is_cut_to_bound_memory() {
        let mut segmenter = Segmenter::new(Duration::MAX);
        let found = segmenter.push(&tone(1501, 440.0, 8000.0));
        assert!(matches!(found.as_slice(), [Segment::Started { .. }, Segment::Ended { .. }]));
    }
}
