//! Joins pieces on one time line while it reads them, and writes the file as it grows.

use aws_sdk_s3::operation::get_object::GetObjectError;
use futures_util::{StreamExt as _, stream};
use switchboard_model::{
    audio::AudioFormat,
    ids::{AccountId, ConversationId},
    recording,
};
use tokio::time::timeout;

use super::{LONGEST, Piece, Recordings, upload::Upload, wav_key};
use crate::failure::{Cause, ServiceError};

/// Maximum number of bytes that are written at once: ten seconds of a phone call.
const STRIDE: usize = 160_000;
/// Pieces that are read at the same time.
const READ_AHEAD: usize = 8;

impl Recordings {
    /// Writes the file, unless a piece is missing: then a concurrent call has written it.
    pub(super) async fn put_wav(
        &self,
        account: AccountId,
        conversation: ConversationId,
        pieces: &[Piece],
    ) -> Result<(), ServiceError> {
        let mut upload = Upload::new(&self.client, &self.bucket, wav_key(account, conversation));
        match self.write_wav(account, conversation, pieces, &mut upload).await {
            Ok(true) => upload.finish().await,
            Ok(false) => {
                upload.abandon().await;
                Ok(())
            }
            Err(error) => {
                upload.abandon().await;
                Err(error)
            }
        }
    }

    /// False if a piece is missing.
    async fn write_wav(
        &self,
        account: AccountId,
        conversation: ConversationId,
        pieces: &[Piece],
        upload: &mut Upload<'_>,
    ) -> Result<bool, ServiceError> {
        // Workers of different versions may have held the call: the file has the better format.
        let is_wide = pieces.iter().any(|piece| piece.format == AudioFormat::WIDEBAND);
        let format = if is_wide { AudioFormat::WIDEBAND } else { AudioFormat::TELEPHONE };
        let placed: Vec<Placed> = pieces.iter().filter_map(|piece| Placed::of(*piece, format)).collect();
        let end = placed.iter().map(|piece| piece.start + piece.bytes).max().unwrap_or_default();
        upload.write(recording::wav_header(format, end / recording::pair_bytes(format))).await?;
        let mut line = TimeLine::new(format);
        // Read ahead, in order: a recording of hours has more than a thousand pieces.
        let keys: Vec<_> = placed.iter().map(|placed| placed.piece.key(account, conversation)).collect();
        let mut read =
            stream::iter(keys).map(|key| async move { self.object(&key).await }).buffered(READ_AHEAD);
        for placed in placed {
            let Some(Some(audio)) = read.next().await.transpose()? else { return Ok(false) };
            let mut audio = converted(audio, placed.piece.format, format);
            // The header counts the listed length.
            audio.resize(placed.bytes, format.encoding.silence());
            // Later pieces start no earlier than this one.
            while let Some(settled) = line.settled(placed.start) {
                upload.write(recording::wav_samples(format, &settled)).await?;
            }
            line.lay(placed.start, &audio);
        }
        while let Some(settled) = line.settled(end) {
            upload.write(recording::wav_samples(format, &settled)).await?;
        }
        Ok(true)
    }

    /// The content of an object; `None` if the object does not exist.
    pub(super) async fn object(&self, key: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        let got = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let body = match got {
            Ok(object) => object.body,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => {
                return Ok(None);
            }
            Err(error) => return Err(ServiceError::of("GetObject", &error)),
        };
        let bytes = timeout(crate::OPERATION_TIMEOUT, body.collect())
            .await
            .map_err(|_| ServiceError::Unavailable(Cause::new("GetObject: the body took too long")))?
            .map_err(|error| ServiceError::Unavailable(Cause::new(format!("GetObject: {error}"))))?;
        Ok(Some(bytes.to_vec()))
    }
}

/// Audio of a piece in the format of the file: each pair of telephone samples twice in a wideband file.
fn converted(audio: Vec<u8>, from: AudioFormat, to: AudioFormat) -> Vec<u8> {
    if from == to {
        return audio;
    }
    let samples = recording::wav_samples(from, &audio);
    samples.chunks_exact(recording::pair_bytes(to)).flat_map(|pair| pair.repeat(2)).collect()
}

/// A piece in bytes of the time line, cut to the maximum length.
struct Placed {
    piece: Piece,
    start: usize,
    bytes: usize,
}

impl Placed {
    /// In a file of this format.
    fn of(piece: Piece, format: AudioFormat) -> Option<Self> {
        let (pair, longest) = (recording::pair_bytes(format), longest(format));
        let samples = if piece.format == format { 1 } else { 2 };
        let start =
            usize::try_from(piece.start).ok()?.checked_mul(samples).filter(|start| *start < longest)?;
        let length = samples * (piece.bytes / recording::pair_bytes(piece.format));
        Some(Self { piece, start: start * pair, bytes: length.min(longest - start) * pair })
    }
}

/// The maximum length of a recording, in samples.
fn longest(format: AudioFormat) -> usize {
    usize::try_from(LONGEST.as_secs() * u64::from(format.sample_rate)).unwrap_or(usize::MAX)
}

/// Audio on the time line that is not written yet.
#[derive(Debug)]
struct TimeLine {
    /// The byte of silence.
    silence: u8,
    /// Number of bytes before `pending`, which are written.
    written: usize,
    /// The bytes after them. Beyond its end there is silence.
    pending: Vec<u8>,
}

impl TimeLine {
    fn new(format: AudioFormat) -> Self {
        Self { silence: format.encoding.silence(), written: 0, pending: vec![] }
    }

    /// The next bytes before `end`, which no later piece can change; `None` at `end`.
    fn settled(&mut self, end: usize) -> Option<Vec<u8>> {
        let length = end.saturating_sub(self.written).min(STRIDE);
        let mut stretch: Vec<u8> = self.pending.drain(..length.min(self.pending.len())).collect();
        stretch.resize(length, self.silence);
        self.written += length;
        (length > 0).then_some(stretch)
    }

    /// Places a piece over earlier audio. All bytes before `start` must be written.
    fn lay(&mut self, start: usize, audio: &[u8]) {
        let from = start.saturating_sub(self.written);
        let to = from + audio.len();
        self.pending.resize(self.pending.len().max(to), self.silence);
        self.pending[from..to].copy_from_slice(audio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELEPHONE: AudioFormat = AudioFormat::TELEPHONE;
    const WIDEBAND: AudioFormat = AudioFormat::WIDEBAND;

    #[test]
    fn audio_beyond_the_maximum_length_is_cut_off() {
        let longest = longest(TELEPHONE);
        let bytes = |start: usize, bytes| {
            let piece = Piece { format: TELEPHONE, start: start as u64, bytes };
            let placed = Placed::of(piece, TELEPHONE)?;
            assert_eq!(placed.start, start * 2);
            Some(placed.bytes)
        };
        assert_eq!(bytes(longest - 2, 100), Some(4));
        assert_eq!(bytes(longest - 50, 100), Some(100));
        assert_eq!(bytes(longest, 100), None);
        assert_eq!(bytes(7, 101), Some(100), "half a sample is none");
    }

    #[test]
    fn telephone_audio_in_a_wideband_file_keeps_its_time() {
        let placed = Placed::of(Piece { format: TELEPHONE, start: 8_000, bytes: 16_000 }, WIDEBAND).unwrap();
        assert_eq!((placed.start, placed.bytes), (64_000, 64_000), "the second second");
        assert_eq!(converted(vec![0x80, 0xFF], TELEPHONE, WIDEBAND), [0x7C, 0x7D, 0, 0, 0x7C, 0x7D, 0, 0]);
    }

    #[test]
    fn a_long_gap_is_written_in_strides() {
        let end = longest(TELEPHONE) * 2;
        let mut line = TimeLine::new(TELEPHONE);
        line.lay(0, &[1; 4]);
        let (mut written, mut longest) = (0, 0);
        while let Some(stretch) = line.settled(end) {
            longest = longest.max(stretch.len());
            written += stretch.len();
        }
        assert_eq!((written, longest), (end, STRIDE));
        line.lay(end, &[2; 4]);
        assert_eq!(line.pending, [2; 4]);
    }
}
