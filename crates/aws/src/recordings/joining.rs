//! Joins pieces on one time line while it reads them, and writes the file as it grows.

use aws_sdk_s3::operation::get_object::GetObjectError;
use futures_util::{StreamExt as _, stream};
use switchboard_model::{
    ids::{AccountId, ConversationId},
    recording,
};
use tokio::time::timeout;

use super::{LONGEST, Piece, Recordings, SIDES, piece_key, upload::Upload, wav_key};
use crate::failure::{Cause, ServiceError};

/// Maximum number of bytes that are written at once: ten seconds.
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
        let placed: Vec<Placed> = pieces.iter().filter_map(Placed::of).collect();
        let end = placed.iter().map(|piece| piece.start + piece.bytes).max().unwrap_or_default();
        upload.write(recording::wav_header(end / SIDES)).await?;
        let mut line = TimeLine::default();
        // Read ahead, in order: a recording of hours has more than a thousand pieces.
        let keys: Vec<_> = placed.iter().map(|piece| piece_key(account, conversation, piece.key)).collect();
        let mut read =
            stream::iter(keys).map(|key| async move { self.object(&key).await }).buffered(READ_AHEAD);
        for piece in placed {
            let Some(Some(mut audio)) = read.next().await.transpose()? else { return Ok(false) };
            // The header counts the listed length.
            audio.resize(piece.bytes, recording::SILENCE);
            // Later pieces start no earlier than this one.
            while let Some(settled) = line.settled(piece.start) {
                upload.write(recording::wav_samples(&settled)).await?;
            }
            line.lay(piece.start, &audio);
        }
        while let Some(settled) = line.settled(end) {
            upload.write(recording::wav_samples(&settled)).await?;
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

/// A piece in bytes of the time line, cut to the maximum length.
struct Placed {
    key: u64,
    start: usize,
    bytes: usize,
}

impl Placed {
    fn of(piece: &Piece) -> Option<Self> {
        let start = usize::try_from(piece.start).ok().filter(|start| *start < LONGEST)?;
        let samples = (piece.bytes / SIDES).min(LONGEST - start);
        Some(Self { key: piece.start, start: start * SIDES, bytes: samples * SIDES })
    }
}

/// Audio on the time line that is not written yet.
#[derive(Debug, Default)]
struct TimeLine {
    /// Number of bytes before `pending`, which are written.
    written: usize,
    /// The bytes after them. Beyond its end there is silence.
    pending: Vec<u8>,
}

impl TimeLine {
    /// The next bytes before `end`, which no later piece can change; `None` at `end`.
    fn settled(&mut self, end: usize) -> Option<Vec<u8>> {
        let length = end.saturating_sub(self.written).min(STRIDE);
        let mut stretch: Vec<u8> = self.pending.drain(..length.min(self.pending.len())).collect();
        stretch.resize(length, recording::SILENCE);
        self.written += length;
        (length > 0).then_some(stretch)
    }

    /// Places a piece over earlier audio. All bytes before `start` must be written.
    fn lay(&mut self, start: usize, audio: &[u8]) {
        let from = start.saturating_sub(self.written);
        let to = from + audio.len();
        self.pending.resize(self.pending.len().max(to), recording::SILENCE);
        self.pending[from..to].copy_from_slice(audio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_beyond_the_maximum_length_is_cut_off() {
        let bytes = |start: usize, bytes| {
            let placed = Placed::of(&Piece { start: start as u64, bytes })?;
            assert_eq!(placed.start, start * SIDES);
            Some(placed.bytes)
        };
        assert_eq!(bytes(LONGEST - 2, 100), Some(2 * SIDES));
        assert_eq!(bytes(LONGEST - 50, 100), Some(100));
        assert_eq!(bytes(LONGEST, 100), None);
        assert_eq!(bytes(7, 101), Some(100), "half a sample is none");
    }

    #[test]
    fn a_long_gap_is_written_in_strides() {
        let mut line = TimeLine::default();
        line.lay(0, &[1; 4]);
        let (mut written, mut longest) = (0, 0);
        while let Some(stretch) = line.settled(LONGEST * SIDES) {
            longest = longest.max(stretch.len());
            written += stretch.len();
        }
        assert_eq!((written, longest), (LONGEST * SIDES, STRIDE));
        line.lay(LONGEST * SIDES, &[2; 4]);
        assert_eq!(line.pending, [2; 4]);
    }
}
