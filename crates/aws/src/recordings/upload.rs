//! Uploads an object of any length, a few megabytes at a time.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::{
    Client,
    config::Builder,
    types::{CompletedMultipartUpload, CompletedPart},
};

use tokio::task::JoinSet;

use crate::failure::{Cause, ServiceError};

/// Bytes per part. S3 requires at least 5 MiB in all but the last part, and at most 10,000 parts: four hours at 16 kHz are
/// 110. A smaller object is uploaded with one request.
pub(super) const PART: usize = 8 * 1024 * 1024;

/// Parts that are sent at the same time.
const AT_ONCE: usize = 3;

/// A part takes a second at 10 MB/s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(40);

/// An upload in progress. The object exists once it is finished. The bucket deletes the parts of an upload that is
/// neither finished nor abandoned after a day.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    client: &'a Client,
    bucket: &'a str,
    key: String,
    /// `None` while all bytes fit into one part.
    id: Option<String>,
    parts: Vec<CompletedPart>,
    /// Parts that are being sent.
    sending: JoinSet<Result<CompletedPart, ServiceError>>,
    /// Bytes of the next part.
    waiting: Vec<u8>,
}

impl<'a> Upload<'a> {
    pub(super) fn new(client: &'a Client, bucket: &'a str, key: String) -> Self {
        Self { client, bucket, key, id: None, parts: vec![], sending: JoinSet::new(), waiting: vec![] }
    }

    /// Appends bytes. They are buffered, so pass a few at a time.
    pub(super) async fn write(&mut self, bytes: impl IntoIterator<Item = u8>) -> Result<(), ServiceError> {
        self.waiting.extend(bytes);
        while self.waiting.len() >= PART {
            let rest = self.waiting.split_off(PART);
            let part = std::mem::replace(&mut self.waiting, rest);
            self.send(part).await?;
        }
        Ok(())
    }

    /// Uploads the remaining bytes and completes the object.
    pub(super) async fn finish(mut self) -> Result<(), ServiceError> {
        let last = std::mem::take(&mut self.waiting);
        if self.id.is_none() {
            return self.put(last).await;
        }
        if !last.is_empty() {
            self.send(last).await?;
        }
        while self.sent().await? {}
        self.parts.sort_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts)).build();
        self.client
            .complete_multipart_upload()
            .bucket(self.bucket)
            .key(self.key)
            .set_upload_id(self.id)
            .multipart_upload(parts)
            .customize()
            .config_override(patient())
            .send()
            .await
            .map_err(|error| ServiceError::of("CompleteMultipartUpload", &error))?;
        Ok(())
    }

    /// Deletes the uploaded parts.
    pub(super) async fn abandon(mut self) {
        self.sending.shutdown().await;
        let Some(id) = self.id else { return };
        // If this fails, the bucket deletes the remaining parts after a day.
        let aborted = self.client.abort_multipart_upload().bucket(self.bucket).key(self.key).upload_id(id);
        let _ = aborted.send().await;
    }

    async fn put(&self, whole: Vec<u8>) -> Result<(), ServiceError> {
        self.client
            .put_object()
            .bucket(self.bucket)
            .key(&self.key)
            .content_type("audio/wav")
            .body(whole.into())
            .customize()
            .config_override(patient())
            .send()
            .await
            .map_err(|error| ServiceError::of("PutObject", &error))?;
        Ok(())
    }

    /// Begins to send a part, and waits until fewer than [`AT_ONCE`] are being sent.
    async fn send(&mut self, part: Vec<u8>) -> Result<(), ServiceError> {
        let id = self.id().await?;
        let number = i32::try_from(self.parts.len() + self.sending.len() + 1).unwrap_or(i32::MAX);
        let request = self
            .client
            .upload_part()
            .bucket(self.bucket)
            .key(&self.key)
            .upload_id(id)
            .part_number(number)
            .body(part.into())
            .customize()
            .config_override(patient());
        self.sending.spawn(async move {
            let sent = request.send().await.map_err(|error| ServiceError::of("UploadPart", &error))?;
            let part = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag)
                .set_checksum_crc32(sent.checksum_crc32);
            Ok(part.build())
        });
        while self.sending.len() >= AT_ONCE && self.sent().await? {}
        Ok(())
    }

    /// Waits for one of the parts that are being sent. False if there is none.
    async fn sent(&mut self) -> Result<bool, ServiceError> {
        let Some(sent) = self.sending.join_next().await else { return Ok(false) };
        let sent =
            sent.map_err(|error| ServiceError::Unavailable(Cause::new(format!("UploadPart: {error}"))))?;
        self.parts.push(sent?);
        Ok(true)
    }

    async fn id(&mut self) -> Result<String, ServiceError> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let created = self
            .client
            .create_multipart_upload()
            .bucket(self.bucket)
            .key(&self.key)
            .content_type("audio/wav")
            .send()
            .await
            .map_err(|error| ServiceError::of("CreateMultipartUpload", &error))?;
        let id = created.upload_id.ok_or_else(|| {
            ServiceError::Unavailable(Cause::new("CreateMultipartUpload: the response has no id"))
        })?;
        self.id = Some(id.clone());
        Ok(id)
    }
}

fn patient() -> Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(TIMEOUT)
        .build();
    aws_sdk_s3::Config::builder().timeout_config(timeouts)
}
