//! Recordings: pieces during the call, then one WAV file.
//!
//! Objects: `{account}/{conversation}/pieces/{start}` (interleaved audio, see [`switchboard_model::recording`]; linear at
//! 16 kHz if the name ends with `-wide`, the telephone's otherwise), `{account}/{conversation}/recording.wav`, and the parts of the replay log of
//! each worker of the call, `{account}/{conversation}/replay/{began}-{part}.jsonl`. The name of a piece is its start,
//! in samples since the `started_at` of the conversation, so that the pieces of all workers of the call share one time
//! line. The bucket deletes all of them after the retention of the deployment.

mod joining;
mod upload;

use std::{collections::BTreeMap, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    config::Builder,
    operation::head_object::HeadObjectError,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{Delete, Object, ObjectIdentifier},
};
use bytes::Bytes;
use switchboard_model::{
    audio::AudioFormat,
    ids::{AccountId, ConversationId},
    time::Timestamp,
};

use crate::failure::{Cause, ServiceError};

/// Maximum length of a recording: the carrier ends every call after four hours. A piece of a web call that starts later is
/// ignored.
const LONGEST: Duration = Duration::from_hours(4);
/// Ends the name of a piece of [`AudioFormat::WIDEBAND`].
const WIDE: &str = "-wide";
/// Maximum number of objects in one deletion (S3, `DeleteObjects`).
const BATCH: usize = 1_000;

/// A stored piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    format: AudioFormat,
    /// Its start, in samples since the `started_at` of the conversation.
    start: u64,
    /// Its length.
    bytes: usize,
}

impl Piece {
    fn key(&self, account: AccountId, conversation: ConversationId) -> String {
        piece_key(account, conversation, self.format, self.start)
    }

    /// Its place among the pieces.
    fn order(&self) -> (Duration, usize) {
        (
            self.format.duration_of(self.start.saturating_mul(self.format.encoding.bytes_per_sample())),
            self.bytes,
        )
    }
}

/// The bucket of recordings.
#[derive(Debug, Clone)]
pub struct Recordings {
    client: Client,
    bucket: String,
}

impl Recordings {
    /// The recordings in `bucket`.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        // The emulator has no host name per bucket.
        let s3 = Builder::from(config).force_path_style(config.endpoint_url().is_some()).build();
        Self { client: Client::from_conf(s3), bucket }
    }

    /// Stores one piece of interleaved audio in this format, of any length. `start_sample` is its start, in samples since
    /// the `started_at` of the conversation. It replaces a piece with the same start.
    pub async fn put_piece(
        &self,
        account: AccountId,
        conversation: ConversationId,
        (format, start_sample): (AudioFormat, u64),
        interleaved: impl Into<Bytes>,
    ) -> Result<(), ServiceError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(piece_key(account, conversation, format, start_sample))
            .body(ByteStream::from(interleaved.into()))
            .send()
            .await
            .map_err(|error| ServiceError::of("PutObject", &error))?;
        Ok(())
    }

    /// Joins the pieces into one WAV file and deletes them. Gaps are silent; where two pieces overlap, the later one
    /// is kept; audio beyond four hours is dropped. Some 40 MB are in memory at most.
    ///
    /// Call it when the last piece is stored: later pieces are dropped. Returns whether there is a recording. It is
    /// idempotent, also after a failure, and safe to call concurrently.
    pub async fn join(&self, account: AccountId, conversation: ConversationId) -> Result<bool, ServiceError> {
        // Pieces are deleted only after the file is stored. So a caller that misses some of them also finds the file,
        // and no file is made of the remaining ones.
        let pieces = self.pieces(account, conversation).await?;
        let mut joined = self.is_joined(account, conversation).await?;
        if !joined && !pieces.is_empty() {
            // If a piece is missing, a concurrent call has joined them.
            self.put_wav(account, conversation, &pieces).await?;
            joined = true;
        }
        if joined {
            let keys = pieces.iter().map(|piece| piece.key(account, conversation));
            self.delete(keys).await?;
        }
        Ok(joined)
    }

    /// Number of pieces that are not joined.
    pub async fn count_pieces(
        &self,
        account: AccountId,
        conversation: ConversationId,
    ) -> Result<usize, ServiceError> {
        Ok(self.pieces(account, conversation).await?.len())
    }

    /// A link to the recording that needs no credentials and is valid for `valid` (at most seven days); `None` if
    /// there is no file yet.
    pub async fn url(
        &self,
        account: AccountId,
        conversation: ConversationId,
        valid: Duration,
    ) -> Result<Option<String>, ServiceError> {
        if !self.is_joined(account, conversation).await? {
            return Ok(None);
        }
        let until = PresigningConfig::expires_in(valid)
            .map_err(|error| ServiceError::Refused(Cause::new(error.to_string())))?;
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(wav_key(account, conversation))
            .presigned(until)
            .await
            .map_err(|error| ServiceError::of("presigned GetObject", &error))?;
        Ok(Some(request.uri().to_owned()))
    }

    /// The scheme, host and port of all links to recordings; empty if none can be signed.
    pub async fn link_origin(&self) -> String {
        let Ok(until) = PresigningConfig::expires_in(Duration::from_mins(1)) else { return String::new() };
        let signed = self.client.get_object().bucket(&self.bucket).key("any").presigned(until).await;
        let Ok(request) = signed else { return String::new() };
        let (scheme, rest) = request.uri().split_once("://").unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default();
        format!("{scheme}://{host}")
    }

    /// Deletes all objects of a conversation. It is idempotent, also after a failure.
    pub async fn remove(&self, account: AccountId, conversation: ConversationId) -> Result<(), ServiceError> {
        let prefix = prefix(account, conversation);
        let mut pages =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(&prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ServiceError::of("ListObjectsV2", &error))?;
            self.delete(page.contents().iter().filter_map(|object| Some(object.key()?.to_owned()))).await?;
        }
        Ok(())
    }

    /// Stores one part of a replay log (see `switchboard_dialogue::replay`). `place` is the start of the worker's
    /// media and the number of the part, from 0.
    pub async fn put_replay_part(
        &self,
        account: AccountId,
        conversation: ConversationId,
        (began_at, part): (Timestamp, u32),
        text: Vec<u8>,
    ) -> Result<(), ServiceError> {
        let began = began_at.as_millis();
        let key = format!("{}{began:015}-{part:04}.jsonl", replay_prefix(account, conversation));
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .body(text.into())
            .send()
            .await
            .map_err(|error| ServiceError::of("PutObject", &error))?;
        Ok(())
    }

    /// The replay logs of a conversation, one per worker of the call, in order.
    pub async fn replay_logs(
        &self,
        account: AccountId,
        conversation: ConversationId,
    ) -> Result<Vec<Vec<u8>>, ServiceError> {
        let prefix = replay_prefix(account, conversation);
        let mut pages =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(&prefix).into_paginator().send();
        let mut logs = BTreeMap::<String, Vec<u8>>::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ServiceError::of("ListObjectsV2", &error))?;
            for key in page.contents().iter().filter_map(Object::key) {
                let worker = key.rsplit_once('-').map_or(key, |(worker, _)| worker);
                logs.entry(worker.to_owned())
                    .or_default()
                    .extend(self.object(key).await?.unwrap_or_default());
            }
        }
        Ok(logs.into_values().collect())
    }

    async fn is_joined(
        &self,
        account: AccountId,
        conversation: ConversationId,
    ) -> Result<bool, ServiceError> {
        let head =
            self.client.head_object().bucket(&self.bucket).key(wav_key(account, conversation)).send().await;
        match head {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(false),
            Err(error) => Err(ServiceError::of("HeadObject", &error)),
        }
    }

    /// The stored pieces, ordered by start.
    async fn pieces(
        &self,
        account: AccountId,
        conversation: ConversationId,
    ) -> Result<Vec<Piece>, ServiceError> {
        let prefix = pieces_prefix(account, conversation);
        let mut pages =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(&prefix).into_paginator().send();
        let mut pieces = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ServiceError::of("ListObjectsV2", &error))?;
            let piece = |object: &Object| {
                let name = object.key()?.strip_prefix(&prefix)?;
                let (format, start) = name
                    .strip_suffix(WIDE)
                    .map_or((AudioFormat::TELEPHONE, name), |start| (AudioFormat::WIDEBAND, start));
                let bytes = usize::try_from(object.size()?).ok()?;
                Some(Piece { format, start: start.parse().ok()?, bytes })
            };
            pieces.extend(page.contents().iter().filter_map(piece));
        }
        pieces.sort_unstable_by_key(Piece::order);
        Ok(pieces)
    }

    async fn delete(&self, keys: impl Iterator<Item = String>) -> Result<(), ServiceError> {
        let keys: Vec<_> = keys.collect();
        for batch in keys.chunks(BATCH) {
            let objects = batch
                .iter()
                .map(|key| ObjectIdentifier::builder().key(key).build())
                .collect::<Result<Vec<_>, _>>()
                .and_then(|objects| Delete::builder().set_objects(Some(objects)).quiet(true).build())
                .map_err(|error| ServiceError::Refused(Cause::new(error.to_string())))?;
            self.client
                .delete_objects()
                .bucket(&self.bucket)
                .delete(objects)
                .send()
                .await
                .map_err(|error| ServiceError::of("DeleteObjects", &error))?;
        }
        Ok(())
    }
}

/// With the slash, so that it is no prefix of another conversation.
fn prefix(account: AccountId, conversation: ConversationId) -> String {
    format!("{account}/{conversation}/")
}

fn replay_prefix(account: AccountId, conversation: ConversationId) -> String {
    format!("{}replay/", prefix(account, conversation))
}

fn pieces_prefix(account: AccountId, conversation: ConversationId) -> String {
    format!("{}pieces/", prefix(account, conversation))
}

/// Twelve digits sort as text up to four years.
fn piece_key(account: AccountId, conversation: ConversationId, format: AudioFormat, start: u64) -> String {
    let end = if format == AudioFormat::WIDEBAND { WIDE } else { "" };
    format!("{}{start:012}{end}", pieces_prefix(account, conversation))
}

fn wav_key(account: AccountId, conversation: ConversationId) -> String {
    format!("{}recording.wav", prefix(account, conversation))
}

#[cfg(test)]
#[path = "recordings_tests.rs"]
mod tests;
