//! Clips against a server that speaks the part of S3's protocol that they need.

use std::sync::atomic::{AtomicUsize, Ordering};

use switchboard_model::{
    agents::Voice,
    credentials::{Credential, Provider},
    ids::CredentialId,
    secrets::Secret,
};

use switchboard_testkit::bucket::{self, Objects};

use super::*;
use crate::{sealing, table};

/// The time at which all objects were stored.
const STORED: &str = "Sun, 22 Nov 2026 09:30:00 GMT";

struct World {
    clips: Clips,
    objects: Objects,
    table: Table,
    sealer: Sealer,
    account: AccountId,
}

fn at(days: i64) -> Timestamp {
    Timestamp::from_millis(1_795_339_800_000 + days * 86_400_000)
}

/// The sets of an agent with a greeting: one for the greeting, one for the phrases of all agents.
fn sets(voice: &Voice, greeting: &str) -> Vec<ClipSet> {
    let set = |texts: &[&str]| ClipSet {
        voice: voice.clone(),
        language: "en".into(),
        texts: texts.iter().map(|&text| text.into()).collect(),
    };
    vec![set(&[greeting]), set(&["One moment, please.", "Sorry, I did not hear that."])]
}

fn greeter(greeting: &str) -> Vec<ClipSet> {
    sets(&Voice::default(), greeting)
}

impl World {
    async fn new() -> Self {
        let (url, objects) = bucket::serve_stored_at(STORED).await;
        let clips = Clips::new(&table::testing::config(&url).await, bucket::NAME.to_owned());
        Self {
            clips,
            objects,
            table: table::testing::new_table().await,
            sealer: sealing::testing::sealer().await,
            account: AccountId::new(at(0), 1),
        }
    }

    /// Prepares sets with a voice that synthesizes each text as its own bytes. Returns the number of requests to it, and
    /// its key.
    async fn prepare(
        &self,
        sets: &[ClipSet],
        now: Timestamp,
    ) -> (usize, Option<String>, Result<(), NotPrepared<ServiceError>>) {
        let (requests, mut key) = (AtomicUsize::new(0), None);
        let prepared =
            self.clips.prepare((&self.table, &self.sealer), self.account, sets.to_vec(), now, |_, own| {
                key = own.map(|own| own.api_key.reveal().to_owned());
                Ok(|text: &str| {
                    requests.fetch_add(1, Ordering::Relaxed);
                    std::future::ready(match text {
                        "Refuse this." => Err(ServiceError::Refused(Cause::new("the voice"))),
                        text => Ok(text.as_bytes().to_vec()),
                    })
                })
            });
        let prepared = prepared.await;
        (requests.into_inner(), key, prepared)
    }
}

#[tokio::test]
async fn a_stored_set_is_loaded_by_its_texts() {
    let world = World::new().await;
    let set = ClipSet {
        voice: Voice::default(),
        language: "en".into(),
        texts: vec!["Hello.".into(), "Hi.".into()],
    };
    assert_eq!(world.clips.load(world.account, &set).await.unwrap(), None);
    assert_eq!(world.clips.age(world.account, &set, at(0)).await.unwrap(), None);
    world.clips.store(world.account, &set, &[vec![1, 2], vec![3]]).await.unwrap();
    let loaded = world.clips.load(world.account, &set).await.unwrap().unwrap();
    assert_eq!((&*loaded["Hello."], &*loaded["Hi."], loaded.len()), (&[1, 2][..], &[3][..], 2));
    assert_eq!(world.clips.age(world.account, &set, at(3)).await.unwrap(), Some(Duration::from_hours(72)));
    let paths: Vec<_> = world.objects.lock().unwrap().keys().cloned().collect();
    assert_eq!(paths, [format!("clips/{}/{}", world.account, set.key())]);
    let other = AccountId::new(at(0), 2);
    assert_eq!(world.clips.load(other, &set).await.unwrap(), None);
}

#[tokio::test]
async fn a_damaged_object_counts_as_missing() {
    let world = World::new().await;
    let set = ClipSet { voice: Voice::default(), language: "en".into(), texts: vec!["Hello.".into()] };
    world.objects.lock().unwrap().insert(key(world.account, &set), Bytes::from_static(b"no clips"));
    assert_eq!(world.clips.load(world.account, &set).await.unwrap(), None);
}

#[tokio::test]
async fn too_much_audio_is_not_stored() {
    let world = World::new().await;
    let set = ClipSet { voice: Voice::default(), language: "en".into(), texts: vec!["Hello.".into()] };
    let stored =
        world.clips.store(world.account, &set, &[vec![0; switchboard_model::clips::MAX_BYTES]]).await;
    assert!(matches!(stored, Err(ServiceError::Refused(_))), "{stored:?}");
    assert!(world.objects.lock().unwrap().is_empty());
}

#[tokio::test]
async fn sets_are_prepared_once_and_again_before_they_expire() {
    let world = World::new().await;
    let agent = greeter("Good morning, this is the bakery.");
    let texts: usize = agent.iter().map(|set| set.texts.len()).sum();
    for (day, requests) in [(0, texts), (0, 0), (19, 0), (21, texts)] {
        let (times, key, prepared) = world.prepare(&agent, at(day)).await;
        assert!(prepared.is_ok(), "{prepared:?}");
        assert_eq!((times, key), (requests, None), "on day {day}");
    }
    for set in agent {
        let loaded = world.clips.load(world.account, &set).await.unwrap().unwrap();
        assert!(set.texts.iter().all(|text| loaded[text] == text.as_bytes()));
    }
    let other = greeter("Good evening, this is the bakery.");
    let greeting = other[0].texts.len();
    assert_eq!(world.prepare(&other, at(0)).await.0, greeting, "the phrases are there already");
}

#[tokio::test]
async fn a_failed_set_does_not_prevent_the_other() {
    let world = World::new().await;
    let agent = greeter("Refuse this.");
    let (_, _, prepared) = world.prepare(&agent, at(0)).await;
    assert!(matches!(prepared, Err(NotPrepared::Voice(_))), "{prepared:?}");
    assert_eq!(world.clips.load(world.account, &agent[0]).await.unwrap(), None);
    assert!(world.clips.load(world.account, &agent[1]).await.unwrap().is_some());
}

#[tokio::test]
async fn a_customers_voice_uses_only_the_customers_key() {
    let world = World::new().await;
    let id = CredentialId::new(at(0), 1);
    let voice = Voice::Deepgram { model: "aura-2-zeus-en".into(), credential_id: Some(id) };
    let agent = sets(&voice, "Hello.");
    let (requests, _, prepared) = world.prepare(&agent, at(0)).await;
    assert!(requests == 0 && matches!(prepared, Err(NotPrepared::NoKey)), "{prepared:?}");

    let credential = Credential {
        id,
        account_id: world.account,
        provider: Provider::Deepgram,
        last4: "omer".into(),
        region: None,
        user_id: None,
        base_url: None,
        created_at: at(0),
    };
    let own = Secret::new("dg-of-the-customer");
    let sealed = world.sealer.seal((world.account, &id.to_string()), &own).await.unwrap();
    world.table.create_credential(&credential, sealed).await.unwrap();
    let (requests, key, prepared) = world.prepare(&agent, at(0)).await;
    assert!(requests > 0 && prepared.is_ok(), "{prepared:?}");
    assert_eq!(key.as_deref(), Some("dg-of-the-customer"));
}
