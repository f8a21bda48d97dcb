//! A whole conversation with the vendors' protocols.

use switchboard_model::{conversations::EndedReason, messages::Role};

use crate::prelude::*;

#[tokio::test]
async fn a_conversation_runs_from_the_greeting_to_the_hang_up() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let worker = world.worker().await;
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    world.vendors.respond_with(Response::Words("On Saturday we close at six."));
    world.vendors.transcribe("What time do you close?").await;
    world.conversation.until_messages(3).await;
    let expected = [
        ("system", "You are Ada."),
        ("assistant", "Hello, this is Ada."),
        ("user", "What time do you close?"),
    ];
    let expected = expected.map(|(role, content)| (role.to_owned(), content.to_owned()));
    assert_eq!(world.vendors.last_messages(), expected);

    world.vendors.respond_with(Response::Call("Thank you. Goodbye.", "end_call"));
    world.vendors.transcribe("No, thank you.").await;
    let (ended, reason) = world.conversation.ended().await;
    phone.closed().await;
    assert_eq!(reason, EndedReason::AgentEnded);
    let form = [("Status".to_owned(), "completed".to_owned())].to_vec();
    assert_eq!(
        world.vendors.requests().changed_calls,
        [(ended.legs.caller().carrier_call_id().unwrap().to_string(), form)]
    );
    let said: Vec<_> = world.conversation.messages().await;
    let said: Vec<_> = said.iter().map(|message| (message.role, message.content.as_str())).collect();
    let expected = [
        (Role::Agent, "Hello, this is Ada."),
        (Role::User, "What time do you close?"),
        (Role::Agent, "On Saturday we close at six."),
        (Role::User, "No, thank you."),
        (Role::Agent, "Thank you. Goodbye."),
    ];
    assert_eq!(said, expected);
    let (_, _, cost) = ended.ended().unwrap();
    assert_eq!((cost.language_model.input_tokens, cost.language_model.output_tokens), (200, 20));
}
