//! Recordings: pieces while the call goes on, then one file.
//!
//! Objects: `{account}/{conversation}/pieces/{start}` (interleaved telephone audio, see
//! [`switchboard_model::recording`]), `{account}/{conversation}/recording.wav`, and the parts of the replay log of each
//! worker that had the call, `{account}/{conversation}/replay/{began}-{part}.jsonl`. A piece is named by where it
//! begins on the conversation's time line, in samples since its `started_at`, so that the pieces of
//! every worker that had the call find their place. The bucket deletes both after the deployment's
//! retention.

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
    ids::{AccountId, ConversationId},
    recording,
    time::Timestamp,
};

use crate::failure::{Cause, ServiceError};

/// The most that a recording holds, in samples: four hours, when the carrier ends every call. No piece may
/// claim to lie days ahead.
const LONGEST: usize = 4 * 60 * 60 * recording::SAMPLE_RATE as usize;
/// Bytes of a sample: the caller's and the agent's.
const SIDES: usize = 2;
/// As many as one request may delete (S3, `DeleteObjects`); also the size of a page of a listing.
const BATCH: usize = 1_000;

/// A stored piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    /// Where it begins, in samples since the conversation's `started_at`.
    start: u64,
    /// How long it is.
    bytes: usize,
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
        // An endpoint of our own (the emulator's) has no name per bucket.
        let s3 = Builder::from(config).force_path_style(config.endpoint_url().is_some()).build();
        Self { client: Client::from_conf(s3), bucket }
    }

    /// Stores one piece of interleaved telephone audio, of any length. `start_sample` is where it begins,
    /// in samples since the conversation's `started_at`. The same start again replaces it.
    pub async fn put_piece(
        &self,
        account: AccountId,
        conversation: ConversationId,
        start_sample: u64,
        interleaved_mu_law: impl Into<Bytes>,
    ) -> Result<(), ServiceError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(piece_key(account, conversation, start_sample))
            .body(ByteStream::from(interleaved_mu_law.into()))
            .send()
            .await
            .map_err(|error| ServiceError::of("PutObject", &error))?;
        Ok(())
    }

    /// Makes one WAV file of the pieces, each in its place, and deletes them. Between them it is silent;
    /// where two overlap, the one that begins later is heard; what lies beyond four hours is left out.
    /// However long it is, a few megabytes of it are in memory at a time.
    ///
    /// To be called when the last piece is stored: what comes later is dropped. Returns whether there
    /// is a recording now. It may be called again and by several at once, also after it failed half-way.
    pub async fn join(&self, account: AccountId, conversation: ConversationId) -> Result<bool, ServiceError> {
        // In this order: pieces go only after the file is there, so whoever sees some of them gone
        // also sees the file, and nobody makes a file of what others left over.
        let pieces = self.pieces(account, conversation).await?;
        let mut joined = self.is_joined(account, conversation).await?;
        if !joined && !pieces.is_empty() {
            // If a piece is gone meanwhile, another one was faster.
            self.put_wav(account, conversation, &pieces).await?;
            joined = true;
        }
        if joined {
            let keys = pieces.iter().map(|piece| piece_key(account, conversation, piece.start));
            self.delete(keys).await?;
        }
        Ok(joined)
    }

    /// Where anybody can fetch the recording, for as long as `valid` (at most seven days); none if
    /// there is no file (yet).
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

    /// Deletes whatever is stored of a conversation. It may be called again, also after it failed half-way.
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

    /// Stores one part of a replay log (see `switchboard_dialogue::replay`). `place` is when the worker's media
    /// began and the part's number, from 0.
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

    /// The replay logs of a conversation, one per worker that had the call, in order.
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

    /// The stored pieces, in the order in which they begin.
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
                let start = object.key()?.strip_prefix(&prefix)?.parse().ok()?;
                Some(Piece { start, bytes: usize::try_from(object.size()?).ok()? })
            };
            pieces.extend(page.contents().iter().filter_map(piece));
        }
        pieces.sort_unstable();
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

/// With the slash: no id begins with another.
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
fn piece_key(account: AccountId, conversation: ConversationId, start_sample: u64) -> String {
    format!("{}{start_sample:012}", pieces_prefix(account, conversation))
}

fn wav_key(account: AccountId, conversation: ConversationId) -> String {
    format!("{}recording.wav", prefix(account, conversation))
}

#[cfg(test)]
#[path = "recordings_tests.rs"]
mod tests;
