//! Webhooks over HTTP that answer functions.

use switchboard_model::{
    deliveries::{Delivery, DeliveryStatus},
    webhooks::Webhook,
};
use tokio::net::TcpSocket;

use crate::{
    prelude::*,
    receiver::Receiver,
    support::agents::{calling, webhook},
};

/// Calls the function `price` once. Returns its result and the stored delivery.
async fn call_function(webhook: Webhook) -> (String, Delivery) {
    let world = World::new(calling(vec![webhook]), FAST_VOICE).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(&worker.address).await;
    world.vendors.respond_with(Response::Call("", "price"));
    world.vendors.respond_with(Response::Words("Well."));
    world.vendors.transcribe("What does it cost?").await;
    world.vendors.until("the second generation", |requests| requests.generations.len() == 2).await;
    let tools = world.vendors.last_messages().into_iter().filter(|(role, _)| role == "tool");
    let result = tools.map(|(_, content)| content).collect();
    (result, world.conversation.until_deliveries(1).await.remove(0))
}

#[tokio::test]
async fn a_signed_request_gets_the_functions_result() {
    // The receiver checks the signature.
    let receiver = Receiver::start().await;
    let (result, delivery) = call_function(receiver.webhook()).await;
    assert_eq!(result, r#"{"euros":3}"#);
    let called = receiver.called();
    assert_eq!(called.ids, [format!("{}_0", delivery.event_id)]);
    assert_eq!(called.bodies[0]["data"]["function"]["name"], "price");
    assert_eq!(delivery.status, DeliveryStatus::Delivered);
    assert_eq!(delivery.attempts[0].status, Some(200));
}

#[tokio::test]
async fn an_unreachable_or_private_webhook_fails_the_function() {
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("http://{}/", reserved.local_addr().unwrap());
    let private = "http://169.254.169.254/latest".to_owned();
    let cases = [
        (closed, "the connection was refused"),
        (private, "not called: URL should point to a public address"),
    ];
    for (url, reason) in cases {
        let (result, mut delivery) = call_function(webhook(&url)).await;
        assert_eq!(result, format!(r#"{{"error":"{reason}"}}"#));
        assert_eq!(delivery.status, DeliveryStatus::Failed);
        assert_eq!(delivery.attempts.remove(0).answer.as_deref(), Some(reason));
    }
}
