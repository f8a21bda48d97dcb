//! Recordings: pieces while the call goes on, then one file.
//!
//! Objects: `{account}/{conversation}/pieces/{start}` (interleaved telephone audio, see
//! [`domain::recording`]) and `{account}/{conversation}/recording.wav`. A piece is named by where it
//! begins on the conversation's time line, in samples since its `started_at`, so that the pieces of
//! every worker that had the call find their place. The bucket deletes both after the deployment's
//! retention.

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
/// The most that a recording holds, in samples: four hours, when the carrier ends every call. Joining
/// keeps it in memory (six bytes a sample), so no piece may claim to lie days ahead.
const LONGEST: usize = 4 * 60 * 60 * recording::SAMPLE_RATE as usize;
/// Bytes of a sample: the caller's and the agent's.
const SIDES: usize = 2;
/// As many as one request may delete (S3, `DeleteObjects`); also the size of a page of a listing.
const BATCH: usize = 1_000;

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
        interleaved_mu_law: Vec<u8>,
    ) -> Result<(), ServiceError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(piece_key(account, conversation, start_sample))
            .body(interleaved_mu_law.into())
            .send()
            .await
            .map_err(|error| ServiceError::of("PutObject", &error))?;
        Ok(())
    }

    /// Makes one WAV file of the pieces, each in its place, and deletes them. Between them it is silent;
    /// where two overlap, the one that begins later is heard; what lies beyond four hours is left out.
    /// To be called when the last piece is stored: what comes later is dropped. Returns whether there
    /// is a recording now. It may be called again and by several at once, also after it failed half-way.
    pub async fn join(&self, account: AccountId, conversation: ConversationId) -> Result<bool, ServiceError> {
        // In this order: pieces go only after the file is there, so whoever sees some of them gone
        // also sees the file, and nobody makes a file of what others left over.
        let pieces = self.pieces(account, conversation).await?;
        let mut joined = self.is_joined(account, conversation).await?;
        if !joined && !pieces.is_empty() {
            // None: another one was faster.
            if let Some(audio) = self.audio(account, conversation, &pieces).await? {
                self.put_wav(account, conversation, audio).await?;
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

    /// Where the stored pieces begin, in order.
    async fn pieces(
        &self,
        account: AccountId,
        conversation: ConversationId,
    ) -> Result<Vec<u64>, ServiceError> {
        let prefix = pieces_prefix(account, conversation);
        let mut pages =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(&prefix).into_paginator().send();
        let mut pieces = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ServiceError::of("ListObjectsV2", &error))?;
            let starts = page.contents().iter().filter_map(|object| object.key()?.strip_prefix(&prefix));
            pieces.extend(starts.filter_map(|start| start.parse::<u64>().ok()));
        }
        pieces.sort_unstable();
        Ok(pieces)
    }

    /// The pieces on one time line; none if one of them is gone meanwhile.
    async fn audio(
        &self,
        account: AccountId,
        conversation: ConversationId,
        pieces: &[u64],
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        let mut audio = Vec::new();
        for start in pieces {
            let Some(start_sample) = usize::try_from(*start).ok().filter(|start| *start < LONGEST) else {
                break;
            };
            let key = piece_key(account, conversation, *start);
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
            lay(&mut audio, start_sample, &bytes.into_bytes());
        }
        Ok(Some(audio))
    }

    async fn put_wav(
        &self,
        account: AccountId,
        conversation: ConversationId,
        interleaved_mu_law: Vec<u8>,
    ) -> Result<(), ServiceError> {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(UPLOAD_ATTEMPT_TIMEOUT)
            .operation_timeout(UPLOAD_TIMEOUT)
            .build();
        let wav = recording::wav(&interleaved_mu_law);
        drop(interleaved_mu_law);
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(wav_key(account, conversation))
            .content_type("audio/wav")
            .body(wav.into())
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
        pieces: &[u64],
    ) -> Result<(), ServiceError> {
        for batch in pieces.chunks(BATCH) {
            let objects = batch
                .iter()
                .map(|start| {
                    ObjectIdentifier::builder().key(piece_key(account, conversation, *start)).build()
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

/// Writes a piece, which begins at sample `start`, over what is there.
fn lay(audio: &mut Vec<u8>, start: usize, piece: &[u8]) {
    let samples = (piece.len() / SIDES).min(LONGEST.saturating_sub(start));
    let (from, to) = (start * SIDES, (start + samples) * SIDES);
    audio.resize(audio.len().max(to), recording::SILENCE);
    audio[from..to].copy_from_slice(&piece[..samples * SIDES]);
}

fn pieces_prefix(account: AccountId, conversation: ConversationId) -> String {
    format!("{account}/{conversation}/pieces/")
}

/// Twelve digits sort as text up to four years.
fn piece_key(account: AccountId, conversation: ConversationId, start_sample: u64) -> String {
    format!("{}{start_sample:012}", pieces_prefix(account, conversation))
}

fn wav_key(account: AccountId, conversation: ConversationId) -> String {
    format!("{account}/{conversation}/recording.wav")
}

#[cfg(test)]
#[path = "recordings_tests.rs"]
mod tests;
