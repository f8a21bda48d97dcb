//! The audio that is kept for an agent's next call (see [`switchboard_model::clips`]), in the bucket of the recordings:
//! `clips/{account}/{key}`, deleted by the bucket after 30 days.
//!
//! The function that begins a call [makes sure](Clips::prepare) that its sets exist; the worker
//! [reads](Clips::load) them. Clips are optional: if one is missing, the synthesizer speaks its text.

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
    agents::Voice,
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

/// Texts that the voice speaks at the same time: some vendors take fifteen requests at once, for all calls.
const AT_ONCE: usize = 8;

/// The bucket, as far as it keeps clips.
#[derive(Debug, Clone)]
pub struct Clips {
    client: Client,
    bucket: String,
}

/// Why a set is not there now. What another set needed is there.
#[derive(Debug, thiserror::Error)]
pub enum NotPrepared<E> {
    /// The bucket did not do what was asked.
    #[error("the bucket: {0}")]
    Bucket(#[from] ServiceError),
    /// The customer's key of the voice could not be read or opened.
    #[error("the voice's key: {0}")]
    Key(#[source] TableError),
    /// The customer's key of the voice was deleted.
    #[error("the voice's key was deleted")]
    NoKey,
    /// The voice.
    #[error("{0}")]
    Voice(#[source] E),
}

impl Clips {
    /// Those in `bucket`.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        // An endpoint of our own (the emulator's) has no name per bucket.
        let s3 = Builder::from(config).force_path_style(config.endpoint_url().is_some()).build();
        Self { client: Client::from_conf(s3), bucket }
    }

    /// The audio of each text of a set: mu-law, 8 kHz, mono, without any header. None: it is not there.
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

    /// How long ago a set was stored; none: it is not there.
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

    /// Stores the audio of each text of a set, in their order. The same set again replaces it.
    ///
    /// # Errors
    /// [`ServiceError::Refused`] also if it is too much.
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

    /// Has the voice speak whatever of `sets` is not there, or will soon be deleted, and
    /// stores it. `connect` makes a speaker of the voice as it is served and the customer's own key, if the
    /// voice names one. The speaker is called for each text, for all of them before the first is spoken.
    ///
    /// It may take as long as the voice does: give it a time limit. Ending it early loses what is not stored.
    pub async fn prepare<Speaker, Speaking, E>(
        &self,
        (table, sealer): (&Table, &Sealer),
        account: AccountId,
        sets: Vec<ClipSet>,
        now: Timestamp,
        connect: impl FnOnce(&Voice, Option<&OpenCredential>) -> Result<Speaker, E>,
    ) -> Result<(), NotPrepared<E>>
    where
        Speaker: Fn(&str) -> Speaking,
        Speaking: Future<Output = Result<Vec<u8>, E>>,
    {
        let sets = self.missing(account, sets, now).await?;
        let Some(ClipSet { voice, .. }) = sets.first() else { return Ok(()) };
        let own = match voice.credential_id() {
            Some(id) => {
                let opened = table.open_credential(sealer, account, id).await;
                Some(opened.map_err(NotPrepared::Key)?.ok_or(NotPrepared::NoKey)?)
            }
            None => None,
        };
        let speaker = connect(voice, own.as_ref()).map_err(NotPrepared::Voice)?;
        let turns = &Semaphore::new(AT_ONCE);
        let filled = join_all(sets.iter().map(|set| {
            // After one failed the others are not given up: whoever counts them should know how they end.
            let audio = join_all(set.texts.iter().map(|text| {
                let speaking = speaker(text);
                async {
                    // It is never closed.
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
