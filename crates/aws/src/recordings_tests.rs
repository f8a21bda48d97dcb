//! Recordings against a server that speaks the part of S3's protocol that they need.

use std::{collections::BTreeMap, sync::MutexGuard};

use bytes::Bytes;
use switchboard_model::{recording, time::Timestamp};
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
            .put_piece(
                self.account,
                self.conversation,
                (AudioFormat::TELEPHONE, start_sample),
                audio.to_vec(),
            )
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

    /// The only object.
    fn file(&self) -> Bytes {
        let objects = self.objects();
        assert_eq!(objects.len(), 1, "{:?}", objects.keys());
        assert!(objects.keys().all(|key| key.ends_with("/recording.wav")));
        objects.values().next().unwrap().clone()
    }
}

#[tokio::test]
async fn pieces_are_joined_in_place_with_silence_between() {
    let world = World::new().await;
    assert!(!world.join().await);
    assert_eq!(world.url().await, None);
    world.put(7, &[0x00; 2]).await;
    world.put(1, &[0x80; 4]).await;
    assert_eq!(world.url().await, None);
    assert!(world.join().await);
    let gaps = [recording::SILENCE; 8];
    let whole = [&gaps[..2], &[0x80; 4], &gaps, &[0x00; 2]].concat();
    assert_eq!(world.file(), recording::wav(AudioFormat::TELEPHONE, &whole));
    let url = world.url().await.unwrap();
    assert!(url.contains("/recordings/acc_") && url.contains("X-Amz-Expires=60"), "{url}");
}

#[tokio::test]
async fn of_overlapping_pieces_the_later_one_is_kept() {
    let world = World::new().await;
    // An incomplete sample at the end of a piece does not shift later pieces.
    world.put(9, &[3; 5]).await;
    world.put(0, &[1; 12]).await;
    world.put(4, &[2; 4]).await;
    world.put(10, &[4; 4]).await;
    assert!(world.join().await);
    let whole = [&[1; 8][..], &[2; 4], &[recording::SILENCE; 6], &[3; 2], &[4; 4]].concat();
    assert_eq!(world.file(), recording::wav(AudioFormat::TELEPHONE, &whole));
}

#[tokio::test]
async fn a_short_piece_replaces_only_its_part_of_a_long_one() {
    let world = World::new().await;
    world.put(0, &[1; 12]).await;
    world.put(2, &[2; 2]).await;
    assert!(world.join().await);
    assert_eq!(
        world.file(),
        recording::wav(AudioFormat::TELEPHONE, &[&[1; 4][..], &[2; 2], &[1; 6]].concat())
    );
}

#[tokio::test]
async fn a_piece_days_ahead_is_dropped() {
    let world = World::new().await;
    world.put(0, &[1; 4]).await;
    world.put(u64::MAX, &[2; 4]).await;
    assert!(world.join().await);
    assert_eq!(world.file(), recording::wav(AudioFormat::TELEPHONE, &[1; 4]));
}

#[tokio::test]
async fn a_multipart_recording_equals_a_single_one() {
    let world = World::new().await;
    let mut whole = vec![];
    for number in 0_u8..60 {
        let piece = vec![number.wrapping_mul(37); 160_000];
        world.put(whole.len() as u64 / 2, &piece).await;
        whole.extend(piece);
    }
    assert!(whole.len() * 2 > 2 * upload::PART);
    assert!(world.join().await);
    assert!(world.file() == recording::wav(AudioFormat::TELEPHONE, &whole));
}

#[tokio::test]
async fn a_join_with_a_missing_piece_leaves_nothing() {
    let world = World::new().await;
    world.put(0, &vec![1; 160_000]).await;
    world.put(4_000_000, &[2; 2]).await;
    let pieces = world.recordings.pieces(world.account, world.conversation).await.unwrap();
    // A concurrent join has deleted it; a part of this one is uploaded by then.
    world.objects().retain(|key, _| !key.ends_with("4000000"));
    world.recordings.put_wav(world.account, world.conversation, &pieces).await.unwrap();
    let objects = world.objects();
    assert_eq!(objects.len(), 1, "{:?}", objects.keys());
}

#[tokio::test]
async fn joining_is_idempotent_also_after_a_crash() {
    let world = World::new().await;
    world.put(0, &[0x80; 4]).await;
    world.put(2, &[0x00; 4]).await;
    assert!(world.join().await);
    let file = world.file();
    assert!(world.join().await);
    // As after a crash of the first join before it deleted this piece.
    world.put(2, &[0x00; 4]).await;
    assert!(world.join().await);
    assert_eq!(world.file(), file);
}

#[tokio::test]
async fn concurrent_joins_write_the_same_file() {
    let world = World::new().await;
    let pieces: Vec<u8> = (0..40).collect();
    for index in &pieces {
        world.put(u64::from(*index), &[*index; 2]).await;
    }
    let (first, second, third) = tokio::join!(world.join(), world.join(), world.join());
    assert!(first && second && third);
    let audio: Vec<u8> = pieces.iter().flat_map(|index| [*index; 2]).collect();
    assert_eq!(world.file(), recording::wav(AudioFormat::TELEPHONE, &audio));
}

#[tokio::test]
async fn remove_deletes_one_conversation_completely() {
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

#[tokio::test]
async fn the_recording_of_a_web_call_is_wide_and_takes_earlier_telephone_pieces() {
    let world = World::new().await;
    world.put(0, &[0x80, recording::SILENCE]).await;
    let place = (AudioFormat::WIDEBAND, 3);
    world.recordings.put_piece(world.account, world.conversation, place, vec![1, 2, 3, 4]).await.unwrap();
    assert!(world.join().await);
    let loud = [0x7C, 0x7D, 0, 0];
    let whole = [loud, loud, [0; 4], [1, 2, 3, 4]].concat();
    assert_eq!(world.file(), recording::wav(AudioFormat::WIDEBAND, &whole));
}
