use switchboard_model::{audio::AudioFormat, recording};

use crate::world::{CONVERSATION, Event, World};

const RECORDING: &str = include_str!("../../../../events/http_get_recording.json");

impl World {
    fn key(&self, name: &str) -> String {
        format!("{}/{CONVERSATION}/{name}", self.account)
    }

    fn store_object(&self, name: &str, bytes: &'static [u8]) {
        self.objects.lock().unwrap().insert(self.key(name), bytes.into());
    }
}

#[tokio::test]
async fn a_recording_is_a_404_until_there_is_one() {
    let world = World::new().await;
    world.ended_call().await;
    insta::assert_snapshot!(world.send(Event::sample(RECORDING)).await.line(), @r#"404 {"detail":"Not found"}"#);
    world.store_object("recording.wav", b"RIFF");
    let answer = world.send(Event::sample(RECORDING)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let url = body["recording_url"].as_str().unwrap();
    assert!(url.contains(&world.key("recording.wav")), "{url}");
    assert!(url.contains("X-Amz-Expires=3600") && url.contains("X-Amz-Signature="), "{url}");
}

#[tokio::test]
async fn the_pieces_of_a_live_call_are_not_joined() {
    let world = World::new().await;
    world.started_call().await;
    world.store_object("pieces/000000000000", &[0x80; 4]);
    assert_eq!(world.send(Event::sample(RECORDING)).await.status, 404);
    let keys: Vec<String> = world.objects.lock().unwrap().keys().cloned().collect();
    assert_eq!(keys, [world.key("pieces/000000000000")]);
}

#[tokio::test]
async fn pieces_of_a_lost_worker_are_joined_on_request() {
    let world = World::new().await;
    world.ended_call().await;
    world.store_object("pieces/000000000000", &[0x80; 4]);
    // Two more samples of each side.
    world.store_object("pieces/000000000002", &[0x00; 4]);
    let answer = world.send(Event::sample(RECORDING)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let whole = recording::wav(AudioFormat::TELEPHONE, &[[0x80; 4], [0x00; 4]].concat());
    assert_eq!(world.objects.lock().unwrap().get(&world.key("recording.wav")).unwrap(), &whole);
}

#[tokio::test]
async fn a_long_recording_in_pieces_is_being_prepared() {
    let world = World::new().await;
    world.ended_call().await;
    for piece in 0..31 {
        world.store_object(&format!("pieces/{:012}", piece * 2), &[0x80; 4]);
    }
    let path = format!("/conversations/{CONVERSATION}/recording");
    let answer = world.get(&path).await;
    assert_eq!(answer.line(), r#"404 {"detail":"The recording is being prepared; ask again in a minute"}"#);
    assert_eq!(answer.header("retry-after"), Some("60"));
    let due = world.table.due_recordings(switchboard_runtime::now(), 10).await.unwrap();
    assert_eq!(due[0].conversation.to_string(), CONVERSATION, "the sweeper joins it");
}
