//! Recordings against a server that speaks as much of S3's protocol as they need.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use switchboard_model::time::Timestamp;

use super::*;
use crate::table::testing;

/// The objects of the bucket by their path.
type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

struct World {
    recordings: Recordings,
    objects: Objects,
    account: AccountId,
    conversation: ConversationId,
}

impl World {
    async fn new() -> Self {
        let objects = Objects::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::max(2 * upload::PART))
            .with_state(objects.clone());
        tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
        let at = Timestamp::from_millis(1_795_339_800_120);
        Self {
            recordings: Recordings::new(&testing::config(&url).await, "recordings".into()),
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

async fn answer(State(objects): State<Objects>, method: Method, uri: Uri, body: Bytes) -> Response {
    let mut objects = objects.lock().unwrap();
    let key = uri.path().strip_prefix("/recordings/").unwrap().to_owned();
    let query = uri.query().unwrap_or_default();
    match method {
        Method::PUT => {
            // Parts are objects until they are joined.
            let part = query.split('&').find_map(|part| part.strip_prefix("partNumber="));
            let name = part.map_or(key.clone(), |part| format!("{key}?{part:0>6}"));
            objects.insert(name, body);
            [(header::ETAG, "\"tag\"")].into_response()
        }
        Method::DELETE => {
            objects.retain(|name, _| !name.starts_with(&format!("{key}?")));
            StatusCode::NO_CONTENT.into_response()
        }
        Method::POST if query.starts_with("uploads") => {
            "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
                .into_response()
        }
        Method::POST if query.contains("uploadId") => {
            let (parts, others): (BTreeMap<_, _>, _) = std::mem::take(&mut *objects)
                .into_iter()
                .partition(|(name, _)| name.starts_with(&format!("{key}?")));
            *objects = others;
            let sizes: Vec<_> = parts.values().map(Bytes::len).collect();
            assert!(sizes[..sizes.len() - 1].iter().all(|size| *size >= 5 * 1024 * 1024), "{sizes:?}");
            let listed = String::from_utf8(body.to_vec()).unwrap().matches("<PartNumber>").count();
            assert_eq!(listed, sizes.len());
            objects.insert(key, parts.into_values().flatten().collect());
            "<CompleteMultipartUploadResult/>".into_response()
        }
        Method::GET if query.contains("list-type=2") => {
            let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap();
            let prefix = prefix.replace("%2F", "/");
            let listed = objects.iter().filter(|(key, _)| key.starts_with(&prefix));
            let contents = listed.fold(String::new(), |mut xml, (key, body)| {
                write!(xml, "<Contents><Key>{key}</Key><Size>{}</Size></Contents>", body.len()).unwrap();
                xml
            });
            format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>")
                .into_response()
        }
        Method::POST => {
            let xml = String::from_utf8(body.to_vec()).unwrap();
            for key in xml.split("<Key>").skip(1) {
                objects.remove(key.split_once("</Key>").unwrap().0);
            }
            "<DeleteResult/>".into_response()
        }
        _ => match objects.get(&key) {
            Some(body) => body.clone().into_response(),
            None => (
                StatusCode::NOT_FOUND,
                [(header::CONTENT_TYPE, "application/xml")],
                "<Error><Code>NoSuchKey</Code></Error>",
            )
                .into_response(),
        },
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
