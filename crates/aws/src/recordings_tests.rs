//! Recordings against a server that speaks as much of S3's protocol as they need.

use std::{collections::BTreeMap, sync::MutexGuard};

use bytes::Bytes;
use switchboard_model::time::Timestamp;
use switchboard_testkit::bucket::{self, Objects};

use super::*;
use crate::table::testing;

struct World {
    recordings: Recordings,
    objects: Objects,
    account: AccountId,
    conversation: ConversationId,
}

impl World {
    async fn new() -> Self {
        let (url, objects) = bucket::serve().await;
        let at = Timestamp::from_millis(1_795_339_800_120);
        Self {
            recordings: Recordings::new(&testing::config(&url).await, bucket::NAME.to_owned()),
            objects,
            account: AccountId::new(at, 1),
            conversation: ConversationId::new(at, 2),
        }
    }

    async fn put(&self, start_sample: u64, audio: &[u8]) {
        self.recordings
            .put_piece(self.account, self.conversation, start_sample, audio.to_vec())
            .await
            .unwrap();
    }

    async fn join(&self) -> bool {
        self.recordings.join(self.account, self.conversation).await.unwrap()
    }

    async fn url(&self) -> Option<String> {
        self.recordings.url(self.account, self.conversation, Duration::from_mins(1)).await.unwrap()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap()
    }

    /// The one object there is.
    fn file(&self) -> Bytes {
        let objects = self.objects();
        assert_eq!(objects.len(), 1, "{:?}", objects.keys());
        assert!(objects.keys().all(|key| key.ends_with("/recording.wav")));
        objects.values().next().unwrap().clone()
    }
}

#[tokio::test]
async fn pieces_become_one_file_with_each_in_its_place_and_silence_between() {
    let world = World::new().await;
    assert!(!world.join().await);
    assert_eq!(world.url().await, None);
    world.put(7, &[0x00; 2]).await;
    world.put(1, &[0x80; 4]).await;
    assert_eq!(world.url().await, None);
    assert!(world.join().await);
    let gaps = [recording::SILENCE; 8];
    let whole = [&gaps[..2], &[0x80; 4], &gaps, &[0x00; 2]].concat();
    assert_eq!(world.file(), recording::wav(&whole));
    let url = world.url().await.unwrap();
    assert!(url.contains("/recordings/acc_") && url.contains("X-Amz-Expires=60"), "{url}");
}

#[tokio::test]
async fn where_the_pieces_of_two_workers_overlap_the_later_one_is_heard() {
    let world = World::new().await;
    // A part of a sample at the end of a piece moves nothing that comes after it.
    world.put(9, &[3; 5]).await;
    world.put(0, &[1; 12]).await;
    world.put(4, &[2; 4]).await;
    world.put(10, &[4; 4]).await;
    assert!(world.join().await);
    let whole = [&[1; 8][..], &[2; 4], &[recording::SILENCE; 6], &[3; 2], &[4; 4]].concat();
    assert_eq!(world.file(), recording::wav(&whole));
}

#[tokio::test]
async fn a_long_piece_is_heard_around_a_short_one_inside_it() {
    let world = World::new().await;
    world.put(0, &[1; 12]).await;
    world.put(2, &[2; 2]).await;
    assert!(world.join().await);
    assert_eq!(world.file(), recording::wav(&[&[1; 4][..], &[2; 2], &[1; 6]].concat()));
}

#[tokio::test]
async fn a_piece_that_claims_to_lie_days_ahead_does_not_grow_the_recording() {
    let world = World::new().await;
    world.put(0, &[1; 4]).await;
    world.put(u64::MAX, &[2; 4]).await;
    assert!(world.join().await);
    assert_eq!(world.file(), recording::wav(&[1; 4]));
}

#[tokio::test]
async fn a_recording_of_many_parts_is_the_same_as_in_one_piece() {
    let world = World::new().await;
    let mut whole = vec![];
    for number in 0_u8..60 {
        let piece = vec![number.wrapping_mul(37); 160_000];
        world.put(whole.len() as u64 / 2, &piece).await;
        whole.extend(piece);
    }
    assert!(whole.len() * 2 > 2 * upload::PART);
    assert!(world.join().await);
    assert!(world.file() == recording::wav(&whole));
}

#[tokio::test]
async fn nothing_is_left_of_a_join_that_finds_a_piece_gone() {
    let world = World::new().await;
    world.put(0, &vec![1; 160_000]).await;
    world.put(4_000_000, &[2; 2]).await;
    let pieces = world.recordings.pieces(world.account, world.conversation).await.unwrap();
    // Another one was faster, and has deleted it; of this one a part is written by then.
    world.objects().retain(|key, _| !key.ends_with("4000000"));
    world.recordings.put_wav(world.account, world.conversation, &pieces).await.unwrap();
    let objects = world.objects();
    assert_eq!(objects.len(), 1, "{:?}", objects.keys());
}

#[tokio::test]
async fn joining_again_changes_nothing_not_even_with_what_a_crash_left_over() {
    let world = World::new().await;
    world.put(0, &[0x80; 4]).await;
    world.put(2, &[0x00; 4]).await;
    assert!(world.join().await);
    let file = world.file();
    assert!(world.join().await);
    // As if the first one had died before it deleted this piece.
    world.put(2, &[0x00; 4]).await;
    assert!(world.join().await);
    assert_eq!(world.file(), file);
}

#[tokio::test]
async fn several_at_once_make_the_same_file() {
    let world = World::new().await;
    let pieces: Vec<u8> = (0..40).collect();
    for index in &pieces {
        world.put(u64::from(*index), &[*index; 2]).await;
    }
    let (first, second, third) = tokio::join!(world.join(), world.join(), world.join());
    assert!(first && second && third);
    let audio: Vec<u8> = pieces.iter().flat_map(|index| [*index; 2]).collect();
    assert_eq!(world.file(), recording::wav(&audio));
}

#[tokio::test]
async fn whatever_there_is_of_a_conversation_is_removed_and_nothing_else() {
    let world = World::new().await;
    world.put(0, &[0x80; 4]).await;
    assert!(world.join().await);
    world.put(2, &[0x00; 4]).await;
    let another = format!("{}/{}0/recording.wav", world.account, world.conversation);
    world.objects().insert(another.clone(), Bytes::new());
    for _ in 0..2 {
        world.recordings.remove(world.account, world.conversation).await.unwrap();
        assert_eq!(world.objects().keys().collect::<Vec<_>>(), [&another]);
    }
}
