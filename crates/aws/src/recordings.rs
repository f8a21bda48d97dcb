//! Recordings: pieces while the call goes on, then one file.
//!
//! Objects: `{account}/{conversation}/pieces/{index}` (interleaved telephone audio, see
//! [`domain::recording`]) and `{account}/{conversation}/recording.wav`. The bucket deletes both after
//! the deployment's retention.

use std::time::Duration;

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client,
    config::Builder,
    operation::{get_object::GetObjectError, head_object::HeadObjectError},
    presigning::PresigningConfig,
    types::{Delete, ObjectIdentifier},
};
use domain::{
    ids::{AccountId, ConversationId},
    recording,
};

use crate::failure::{Cause, ServiceError};

/// Ten minutes of recording are 19 MB; at 10 MB/s they take two seconds, four hours a minute.
const UPLOAD_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(90);
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(3);
/// As many as one request may delete (S3, `DeleteObjects`); also the size of a page of a listing.
const BATCH: usize = 1_000;

/// The bucket of recordings.
#[derive(Debug, Clone)]
pub struct Recordings {
    client: Client,
    bucket: String,
}

/// A stored piece: its place in the recording and its length in bytes.
struct Piece {
    index: u32,
    bytes: usize,
}

impl Recordings {
    /// The recordings in `bucket`.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        // An endpoint of our own (the emulator's) has no name per bucket.
        let s3 = Builder::from(config).force_path_style(config.endpoint_url().is_some()).build();
        Self { client: Client::from_conf(s3), bucket }
    }

    /// Stores one piece of interleaved telephone audio. `index` counts from 0; all pieces but the last
    /// are equally long. The same index again replaces it.
    pub async fn put_piece(
        &self,
        account: AccountId,
        conversation: ConversationId,
        index: u32,
        interleaved_mu_law: Vec<u8>,
    ) -> Result<(), ServiceError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(piece_key(account, conversation, index))
            .body(interleaved_mu_law.into())
            .send()
            .await
            .map_err(|error| ServiceError::of("PutObject", &error))?;
        Ok(())
    }

    /// Makes one WAV file of the pieces and deletes them; a piece that is missing is silence. To be
    /// called when the last piece is stored: what comes later is dropped. Returns whether there is a
    /// recording now. It may be called again and by several at once, also after it failed half-way.
    pub async fn join(&self, account: AccountId, conversation: ConversationId) -> Result<bool, ServiceError> {
        // In this order: pieces go only after the file is there, so whoever sees some of them gone
        // also sees the file, and nobody makes a file of what others left over.
        let pieces = self.pieces(account, conversation).await?;
        let mut joined = self.is_joined(account, conversation).await?;
        if !joined && !pieces.is_empty() {
            // None: another one was faster.
            if let Some(audio) = self.audio(account, conversation, &pieces).await? {
                self.put_wav(account, conversation, &audio).await?;
            }
            joined = true;
        }
        if joined {
            self.delete(account, conversation, &pieces).await?;
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
            pieces.extend(page.contents().iter().filter_map(|object| {
                let index = object.key()?.strip_prefix(&prefix)?.parse().ok()?;
                Some(Piece { index, bytes: usize::try_from(object.size()?).ok()? })
            }));
        }
        pieces.sort_unstable_by_key(|piece| piece.index);
        Ok(pieces)
    }

    /// The pieces behind one another; none if one of them is gone meanwhile.
    async fn audio(
        &self,
        account: AccountId,
        conversation: ConversationId,
        pieces: &[Piece],
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        let full = pieces.iter().map(|piece| piece.bytes).max().unwrap_or(0);
        let mut audio = Vec::with_capacity(full * pieces.len());
        let mut next = 0;
        for piece in pieces {
            for _missing in next..piece.index {
                audio.resize(audio.len() + full, recording::SILENCE);
            }
            next = piece.index.saturating_add(1);
            let key = piece_key(account, conversation, piece.index);
            let got = self.client.get_object().bucket(&self.bucket).key(key).send().await;
            let body = match got {
                Ok(object) => object.body,
                Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => {
                    return Ok(None);
                }
                Err(error) => return Err(ServiceError::of("GetObject", &error)),
            };
            let bytes = tokio::time::timeout(crate::OPERATION_TIMEOUT, body.collect())
                .await
                .map_err(|_| ServiceError::Unavailable(Cause::new("GetObject: the body took too long")))?
                .map_err(|error| ServiceError::Unavailable(Cause::new(format!("GetObject: {error}"))))?;
            audio.extend_from_slice(&bytes.into_bytes());
        }
        Ok(Some(audio))
    }

    async fn put_wav(
        &self,
        account: AccountId,
        conversation: ConversationId,
        interleaved_mu_law: &[u8],
    ) -> Result<(), ServiceError> {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(UPLOAD_ATTEMPT_TIMEOUT)
            .operation_timeout(UPLOAD_TIMEOUT)
            .build();
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(wav_key(account, conversation))
            .content_type("audio/wav")
            .body(recording::wav(interleaved_mu_law).into())
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| ServiceError::of("PutObject", &error))?;
        Ok(())
    }

    async fn delete(
        &self,
        account: AccountId,
        conversation: ConversationId,
        pieces: &[Piece],
    ) -> Result<(), ServiceError> {
        for batch in pieces.chunks(BATCH) {
            let objects = batch
                .iter()
                .map(|piece| {
                    ObjectIdentifier::builder().key(piece_key(account, conversation, piece.index)).build()
                })
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

fn pieces_prefix(account: AccountId, conversation: ConversationId) -> String {
    format!("{account}/{conversation}/pieces/")
}

fn piece_key(account: AccountId, conversation: ConversationId, index: u32) -> String {
    format!("{}{index:06}", pieces_prefix(account, conversation))
}

fn wav_key(account: AccountId, conversation: ConversationId) -> String {
    format!("{account}/{conversation}/recording.wav")
}

#[cfg(test)]
#[path = "recordings_tests.rs"]
mod tests;
