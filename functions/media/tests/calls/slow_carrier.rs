//! A carrier that stops reading.

use switchboard_model::conversations::State;

use crate::prelude::*;

/// Twenty seconds of speech: more than the worker and the connection can queue.
const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on public \
                    holidays we are closed. In the summer we close at seven. In the winter we close at five. On the \
                    first day of the year we are closed. In the week before Christmas we are open until eight in \
                    the evening, on Saturdays too. You find us around the corner from the old town hall. There is a \
                    place to leave your car in front of the door, and the bus stops on the other side of the road.";

#[tokio::test(start_paused = true)]
async fn a_carrier_that_stops_reading_loses_its_stream_and_keeps_its_call() {
    let world = World::new(greeting(LONG), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    phone.until("a second of speech", |received| received.sent_ms() > 1_400).await;
    phone.freeze();
    // The worker gives up the stream and the lease: the carrier's next stream may go to any worker.
    let lease = world
        .conversation
        .poll("a lease that is given back", async || {
            let lease = world.conversation.lease().await?;
            lease.utterance.as_ref().is_some_and(|words| words.heard.is_empty()).then_some(lease)
        })
        .await;
    let left = world.conversation.load().await;
    assert!(matches!(left.state, State::Started { .. }), "the conversation goes on");
    let [message] = &world.conversation.messages().await[..] else { panic!("one message was cut off") };
    assert!(message.interrupted);
    assert_eq!(format!("{} {}", message.content, lease.utterance.unwrap().unheard), LONG);
    assert_eq!(world.carrier.ended_calls(), [""; 0], "the carrier's call goes on");
}
