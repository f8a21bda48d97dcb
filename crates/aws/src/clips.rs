//! Clips: audio that is synthesized ahead for an agent (see [`switchboard_model::clips`]), in the bucket of the
//! recordings as `clips/{account}/{key}`. The bucket deletes it after 30 days.
//!
//! The function that starts a call [prepares](Clips::prepare) its sets; the worker [loads](Clips::load) them. Clips
//! are optional: if one is missing, the synthesizer speaks its text.

use std::{collections::HashMap, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    config::Builder,
    operation::{get_object::GetObjectError, head_object::HeadObjectError},
};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use switchboard_model::{
    clips::{ClipSet, MAX_AGE},
    credentials::OpenCredential,
    ids::AccountId,
    time::Timestamp,
};
use tokio::sync::Semaphore;

use crate::{
    failure::{Cause, ServiceError},
    sealing::Sealer,
    table::{Table, TableError},
};

/// Maximum number of texts that are synthesized at the same time: some vendors allow fifteen requests for all calls.
const AT_ONCE: usize = 8;

/// The clips in a bucket.
#[derive(Debug, Clone)]
pub struct Clips {
    client: Client,
    bucket: String,
}

/// Why a set could not be prepared. Other sets may be stored.
#[derive(Debug, thiserror::Error)]
pub enum NotPrepared<E> {
    /// The bucket did not carry out a request.
    #[error("the bucket: {0}")]
    Bucket(#[from] ServiceError),
    /// The customer's key of the voice could not be read or decrypted.
    #[error("the voice's key: {0}")]
    Key(#[source] TableError),
    /// The customer's key of the voice was deleted.
    #[error("the voice's key was deleted")]
    NoKey,
    /// The voice failed.
    #[error("{0}")]
    Voice(#[source] E),
}

impl Clips {
    /// The clips in `bucket`.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        // The emulator has no host name per bucket.
        let s3 = Builder::from(config).force_path_style(config.endpoint_url().is_some()).build();
        Self { client: Client::from_conf(s3), bucket }
    }

    /// The audio of each text of a set: mu-law, 8 kHz, mono, without a header. `None` if the set is not stored.
    pub async fn load(
        &self,
        account: AccountId,
        set: &ClipSet,
    ) -> Result<Option<HashMap<String, Bytes>>, ServiceError> {
        let got = self.client.get_object().bucket(&self.bucket).key(key(account, set)).send().await;
        let object = match got {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => {
                return Ok(None);
            }
            Err(error) => return Err(ServiceError::of("GetObject", &error)),
        };
        let body = object.body.collect().await;
        let body = body
            .map_err(|error| ServiceError::Unavailable(Cause::new(format!("GetObject: {error}"))))?
            .into_bytes();
        let audio = set.decode(&body);
        Ok(audio.map(|audio| {
            let clips = audio.into_iter().map(|clip| body.slice_ref(clip));
            set.texts.iter().cloned().zip(clips).collect()
        }))
    }

    /// Time since a set was stored; `None` if it is not stored.
    pub async fn age(
        &self,
        account: AccountId,
        set: &ClipSet,
        now: Timestamp,
    ) -> Result<Option<Duration>, ServiceError> {
        let head = self.client.head_object().bucket(&self.bucket).key(key(account, set)).send().await;
        match head {
            Ok(object) => {
                let stored = object.last_modified.and_then(|at| at.to_millis().ok());
                Ok(stored.map(|at| now.since(Timestamp::from_millis(at))))
            }
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            Err(error) => Err(ServiceError::of("HeadObject", &error)),
        }
    }

    /// Stores the audio of each text of a set, in the order of the texts. It replaces a stored set.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] also if the audio is too long.
    pub async fn store(
        &self,
        account: AccountId,
        set: &ClipSet,
        audio: &[Vec<u8>],
    ) -> Result<(), ServiceError> {
        let object = set.encode(audio).ok_or_else(|| ServiceError::Refused(Cause::new("too much audio")))?;
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key(account, set))
            .body(object.into())
            .send()
            .await
            .map_err(|error| ServiceError::of("PutObject", &error))?;
        Ok(())
    }

    /// Synthesizes and stores those of `sets` that are missing or will soon be deleted. `connect` makes a speaker from
    /// the voice and, if the voice names one, the customer's own key. The speaker is called for all texts before the
    /// first is synthesized.
    ///
    /// It takes as long as the voice does: give it a time limit. Cancelling it loses the sets that are not stored yet.
    pub async fn prepare<Speaker, Speaking, E>(
        &self,
        (table, sealer): (&Table, &Sealer),
        account: AccountId,
        sets: Vec<ClipSet>,
        now: Timestamp,
        connect: impl FnOnce(&ClipSet, Option<&OpenCredential>) -> Result<Speaker, E>,
    ) -> Result<(), NotPrepared<E>>
    where
        Speaker: Fn(&str) -> Speaking,
        Speaking: Future<Output = Result<Vec<u8>, E>>,
    {
        let sets = self.missing(account, sets, now).await?;
        let Some(first) = sets.first() else { return Ok(()) };
        let own = match first.voice.credential_id() {
            Some(id) => {
                let opened = table.open_credential(sealer, account, id).await;
                Some(opened.map_err(NotPrepared::Key)?.ok_or(NotPrepared::NoKey)?)
            }
            None => None,
        };
        let speaker = connect(first, own.as_ref()).map_err(NotPrepared::Voice)?;
        let turns = &Semaphore::new(AT_ONCE);
        let filled = join_all(sets.iter().map(|set| {
            // If one text fails, the others still finish, so that the caller counts how each one ended.
            let audio = join_all(set.texts.iter().map(|text| {
                let speaking = speaker(text);
                async {
                    // The semaphore is never closed.
                    let _turn = turns.acquire().await;
                    speaking.await
                }
            }));
            async {
                let audio: Vec<_> =
                    audio.await.into_iter().collect::<Result<_, _>>().map_err(NotPrepared::Voice)?;
                Ok(self.store(account, set, &audio).await?)
            }
        }));
        filled.await.into_iter().collect()
    }

    async fn missing(
        &self,
        account: AccountId,
        sets: Vec<ClipSet>,
        now: Timestamp,
    ) -> Result<Vec<ClipSet>, ServiceError> {
        let ages = try_join_all(sets.iter().map(|set| self.age(account, set, now))).await?;
        let is_missing = |age: &Option<Duration>| age.is_none_or(|age| age > MAX_AGE);
        let missing = sets.into_iter().zip(ages).filter(|(_, age)| is_missing(age));
        Ok(missing.map(|(set, _)| set).collect())
    }
}

fn key(account: AccountId, set: &ClipSet) -> String {
    format!("clips/{account}/{}", set.key())
}

#[cfg(test)]
#[path = "clips_tests.rs"]
mod tests;
