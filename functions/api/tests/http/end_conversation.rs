use switchboard_model::conversations::{Lease, LegId, UtteranceProgress};

use crate::world::{Answer, CONVERSATION, Event, FOREIGN_TOKEN, World, at, call_id, conversation_id};

const CALL: &str = "CA0123456789abcdef0123456789abcdef";

impl World {
    async fn end(&self) -> Answer {
        self.send(Event::of("POST", &format!("/conversations/{CONVERSATION}/end"))).await
    }

    async fn log(&self) -> Vec<&'static str> {
        let (events, _) = self.table.events(self.account, conversation_id(), 0, 100).await.unwrap();
        events.iter().map(|event| event.name.as_str()).collect()
    }

    /// The sample's call, dialled, with the carrier's id.
    async fn placed_call(&self) {
        self.queued_call().await;
        self.change(|call| {
            call.conversation.mark_dialing(LegId::CALLER, &call.agent, "00".repeat(32), at(-9))
        })
        .await;
        self.change(|call| call.conversation.record_placed(LegId::CALLER, &call_id(CALL))).await;
    }

    async fn hold(&self, lease: &Lease) {
        assert!(self.table.take_lease(self.account, conversation_id(), lease).await.unwrap());
    }

    fn carrier_requests(&self) -> Vec<String> {
        self.shared_carrier.lock().requests.clone()
    }
}

#[tokio::test]
async fn a_queued_call_ends_at_once_and_is_never_dialled() {
    let world = World::new().await;
    world.queued_call().await;
    let answer = world.end().await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!((&body["status"], &body["ended_reason"]), (&"ended".into(), &"agent_ended".into()));
    assert_eq!(world.log().await, ["phone_call:rejected", "conversation:ended"]);
    assert!(world.carrier_requests().is_empty(), "the carrier knows of no call");
}

#[tokio::test]
async fn a_ringing_or_answered_call_ends_and_is_hung_up() {
    for answered in [false, true] {
        let world = World::new().await;
        world.placed_call().await;
        if answered {
            world
                .change(|call| {
                    call.conversation.mark_answered(LegId::CALLER, &call.agent, &call_id(CALL), at(-2))
                })
                .await;
        }
        let body = world.end().await.json();
        assert_eq!((&body["status"], &body["ended_reason"]), (&"ended".into(), &"agent_ended".into()));
        assert_eq!(world.carrier_requests(), [format!("{CALL}.json Status=completed")]);
        assert_eq!(world.log().await.last().copied(), Some("conversation:ended"));
    }
}

#[tokio::test]
async fn a_leased_call_is_left_to_its_worker() {
    let world = World::new().await;
    world.started_call().await;
    world.hold(&Lease::new("a".into(), at(-10))).await;
    for _ in 0..2 {
        let answer = world.end().await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &"started".into()));
    }
    let stored = world.table.conversation(world.account, conversation_id()).await.unwrap().unwrap();
    assert_eq!(stored.conversation.signals.end_requested_at, Some(at(0)));
    assert!(world.carrier_requests().is_empty(), "the last sentence may be heard");
}

#[tokio::test]
async fn a_call_with_an_expired_lease_ends_with_its_heard_words() {
    let world = World::new().await;
    world.placed_call().await;
    world
        .change(|call| call.conversation.mark_started(LegId::CALLER, &call.agent, &call_id(CALL), at(-90)))
        .await;
    let speaking = UtteranceProgress {
        kind: switchboard_model::messages::MessageKind::Speech,
        heard: "Your cake is".into(),
        unheard: "ready.".into(),
        started_at: at(-70),
    };
    world.hold(&Lease { utterance: Some(speaking), ..Lease::new("a".into(), at(-61)) }).await;
    let body = world.end().await.json();
    assert_eq!((&body["status"], &body["ended_reason"]), (&"ended".into(), &"agent_ended".into()));
    assert_eq!(body["messages"][0]["content"], "Your cake is");
    assert_eq!(world.carrier_requests(), [format!("{CALL}.json Status=completed")]);
    assert!(world.table.lease(world.account, conversation_id()).await.unwrap().is_none());
}

#[tokio::test]
async fn an_ended_call_stays_as_it_is() {
    let world = World::new().await;
    world.ended_call().await;
    let before = world.get(&format!("/conversations/{CONVERSATION}")).await;
    assert_eq!(world.end().await.body, before.body);
    assert_eq!(before.json()["ended_reason"], "user_ended");
    assert!(world.carrier_requests().is_empty());
}

#[tokio::test]
async fn a_call_of_another_account_cannot_be_ended() {
    let world = World::new().await;
    world.queued_call().await;
    let path = format!("/conversations/{CONVERSATION}/end");
    let other = world.send(Event::of("POST", &path).by_token(FOREIGN_TOKEN)).await;
    let unknown = world.send(Event::of("POST", "/conversations/cnv_01JD8QA1B2C3D4E5F6G7H8J9K1/end")).await;
    assert_eq!((other.status, &other.body), (404, &unknown.body));
    assert_eq!(world.send(Event::of("POST", &path).without("authorization")).await.status, 401);
    assert_eq!(world.get(&path).await.status, 405);
    assert!(world.log().await.is_empty());
}
