//! Placing a call: once, or not at all.

use std::time::Duration;

use serde_json::json;
use switchboard_aws::{
    queue::CallMessage,
    table::{Outcome, Table, testing},
};
use switchboard_filters::Filter;
use switchboard_model::{
    accounts::{Limits, sha256_hex},
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, LegId, LegState, Snapshot, State},
    costs::Prices,
    event_names::EventName,
    hooks::{Hook, Instruction},
    ids::ConversationId,
};
use switchboard_runtime as system;
use switchboard_testkit::server;
use tokio::task::JoinSet;

use crate::world::{Answer, SID, World, call_id, carrier, event, failures, sample};

const MESSAGE: &str = "2e1424d4-f796-459a-8184-9c92662be6da";

#[tokio::test]
async fn a_queued_call_is_placed_once_with_everything_the_carrier_needs() {
    let world = World::new(AgentConfig { max_duration_seconds: Some(90), ..AgentConfig::default() }).await;
    assert!(world.deliver().await.is_empty());

    let call = world.seen().calls[0].clone();
    let field = |name: &str| call.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(field("To"), Some("+14155550100"));
    assert_eq!(field("From"), Some("+14155550199"));
    assert_eq!(field("Timeout"), Some("60"));
    assert_eq!(field("TimeLimit"), Some("150"));
    assert_eq!(
        field("StatusCallback"),
        Some(
            "https://voice.example.com/twilio/acc_01JD8Q2M7X4T6R9V1B3C5D7E9F/cnv_01JD8QA1B2C3D4E5F6G7H8J9K0/status\
             #rc=3&rt=8000&rp=5xx,ct,rt"
        )
    );
    let events = call.iter().filter(|(key, _)| key == "StatusCallbackEvent").map(|(_, value)| value.as_str());
    assert_eq!(events.collect::<Vec<_>>(), ["initiated", "ringing", "answered", "completed"]);

    let twiml = field("Twiml").unwrap();
    let (before, rest) = twiml.split_once(r#"<Parameter name="token" value=""#).unwrap();
    let (token, after) = rest.split_once('"').unwrap();
    assert_eq!(
        before,
        "<Response><Connect><Stream url=\"wss://media.example.com/media/acc_01JD8Q2M7X4T6R9V1B3C5D7E9F/cnv_01JD8QA1B2C3D4E5F6G7H8J9K0\" \
         statusCallback=\"https://voice.example.com/twilio/acc_01JD8Q2M7X4T6R9V1B3C5D7E9F/cnv_01JD8QA1B2C3D4E5F6G7H8J9K0/stream\">\
         <Parameter name=\"account_id\" value=\"acc_01JD8Q2M7X4T6R9V1B3C5D7E9F\"/>\
         <Parameter name=\"conversation_id\" value=\"cnv_01JD8QA1B2C3D4E5F6G7H8J9K0\"/>"
    );
    assert_eq!(
        after,
        "/></Stream></Connect><Redirect method=\"POST\">\
         https://voice.example.com/twilio/acc_01JD8Q2M7X4T6R9V1B3C5D7E9F/cnv_01JD8QA1B2C3D4E5F6G7H8J9K0/resume\
         #rc=3&amp;rt=8000&amp;rp=5xx,ct,rt</Redirect></Response>"
    );

    let conversation = world.conversation().await;
    assert!(matches!(conversation.legs.caller().state, LegState::Dialing { .. }), "{conversation:?}");
    assert_eq!(conversation.legs.caller().carrier_call_id(), Some(&call_id(SID)));
    assert_eq!(token.len(), 64);
    assert_eq!(conversation.legs.caller().media_token_sha256, Some(sha256_hex(token)));
    assert_eq!(world.event_names().await, ["phone_call:connection_requested"]);
    assert_eq!(world.seen().messages.len(), 0);
}

#[tokio::test]
async fn a_call_without_a_time_limit_uses_the_carriers() {
    let world = World::new(AgentConfig { max_duration_seconds: None, ..AgentConfig::default() }).await;
    world.deliver().await;
    assert!(!world.seen().calls[0].iter().any(|(key, _)| key == "TimeLimit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_equal_messages_make_one_call() {
    let world = World::new(AgentConfig::default()).await;
    let mut deliveries = JoinSet::new();
    for _ in 0..20 {
        let dialer = world.dialer.clone();
        deliveries.spawn(async move { failures(&dialer.handle(event(&sample())).await) });
    }
    while let Some(failed) = deliveries.join_next().await {
        assert!(failed.unwrap().is_empty());
    }
    assert_eq!(world.seen().calls.len(), 1);
    assert_eq!(world.event_names().await, ["phone_call:connection_requested"]);
}

#[tokio::test]
async fn a_refused_call_ends_as_rejected() {
    let world = World::new(AgentConfig::default()).await;
    world.next_answer(Answer::Status(400));
    assert!(world.deliver().await.is_empty());
    assert!(world.deliver().await.is_empty());
    let (_, reason, _) = world.conversation().await.ended().unwrap();
    assert_eq!(reason, EndedReason::Unknown);
    let events = world.events().await;
    assert_eq!(events[1].data["reason"], "failed");
    assert_eq!(
        world.event_names().await,
        ["phone_call:connection_requested", "phone_call:rejected", "conversation:ended"]
    );
    assert_eq!(world.seen().calls.len(), 1);
}

#[tokio::test]
async fn a_call_is_retried_when_the_carrier_is_busy() {
    let world = World::new(AgentConfig::default()).await;
    world.next_answer(Answer::Status(429));
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.conversation().await.state, State::Queued);
    let messages = world.seen().messages.clone();
    assert_eq!(messages.len(), 1);
    let again = CallMessage::from_body(messages[0]["MessageBody"].as_str().unwrap());
    assert_eq!(again, Some(CallMessage::Place { job: world.job, hops: 1 }));
    assert!((5..=60).contains(&messages[0]["DelaySeconds"].as_i64().unwrap()), "{messages:?}");

    assert!(world.deliver().await.is_empty());
    assert_eq!(world.seen().calls.len(), 2);
    let conversation = world.conversation().await;
    assert!(matches!(conversation.legs.caller().state, LegState::Dialing { .. }), "{conversation:?}");
    assert_eq!(conversation.legs.caller().carrier_call_id(), Some(&call_id(SID)));
}

#[tokio::test]
async fn a_call_is_retried_when_the_carrier_is_unreachable() {
    let mut world = World::new(AgentConfig::default()).await;
    world.dialer.backend.carrier = carrier(&server::unused_url().await);
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.conversation().await.state, State::Queued);
    assert_eq!(world.seen().messages.len(), 1);
}

#[tokio::test]
async fn a_call_that_may_have_been_placed_is_not_placed_again() {
    for answer in [Answer::Status(500), Answer::Status(503), Answer::Garbled] {
        let world = World::new(AgentConfig::default()).await;
        world.next_answer(answer);
        assert!(world.deliver().await.is_empty());
        assert!(world.deliver().await.is_empty());
        let conversation = world.conversation().await;
        assert!(
            matches!(conversation.legs.caller().state, LegState::Dialing { .. }),
            "{answer:?}: {conversation:?}"
        );
        assert_eq!(conversation.legs.caller().carrier_call_id(), None, "{answer:?}");
        let seen = world.seen();
        assert_eq!((seen.calls.len(), seen.messages.len()), (1, 0), "{answer:?}");
    }
}

#[tokio::test]
async fn a_call_with_a_lost_response_continues_by_its_callbacks() {
    let world = World::new(AgentConfig::default()).await;
    world.next_answer(Answer::Dropped);
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.conversation().await.legs.caller().carrier_call_id(), None);
    world.change(|now| now.conversation.mark_ringing(LegId::CALLER, &call_id(SID), system::now())).await;
    assert!(world.deliver().await.is_empty());
    world
        .change(|now| {
            now.conversation.mark_answered(LegId::CALLER, &now.agent, &call_id("CA2"), system::now())
        })
        .await;
    assert_eq!(world.conversation().await.legs.caller().carrier_call_id(), Some(&call_id(SID)));
    let (calls, messages) = {
        let seen = world.seen();
        (seen.calls.len(), seen.messages.len())
    };
    assert_eq!((calls, messages), (1, 0));
    assert_eq!(world.event_names().await, ["phone_call:connection_requested", "phone_call:accepted"]);
}

#[tokio::test]
async fn a_call_that_ends_while_it_is_placed_is_hung_up() {
    let world = World::new(AgentConfig::default()).await;
    world.next_answer(Answer::WaitsForTheEnd);
    let ending = async {
        world.call_requested().await;
        world
            .change(|now| {
                let (usage, prices) = (&now.conversation.usage, Prices::default());
                now.conversation.end(&now.agent, EndedReason::AgentEnded, &[], usage, &prices, system::now())
            })
            .await;
        world.answer_now();
    };
    let (failures, ()) = tokio::join!(world.deliver(), ending);
    assert!(failures.is_empty());
    assert_eq!(world.seen().updates, [format!("/2010-04-01/Accounts/AC1/Calls/{SID}.json Status=completed")]);
    assert_eq!(world.event_names().await.last().copied(), Some("conversation:ended"));
}

#[tokio::test]
async fn a_call_that_does_not_end_meanwhile_is_not_hung_up() {
    let world = World::new(AgentConfig::default()).await;
    world.deliver().await;
    world.change(|now| now.conversation.mark_ringing(LegId::CALLER, &call_id("CA2"), system::now())).await;
    world.deliver().await;
    assert!(world.seen().updates.is_empty());
}

#[tokio::test]
async fn a_call_that_cannot_be_delayed_keeps_its_message() {
    let world = World::new(AgentConfig::default()).await;
    world.next_answer(Answer::Status(429));
    world.seen().queue_is_away = true;
    assert_eq!(world.deliver().await, [MESSAGE]);
    assert_eq!(world.conversation().await.state, State::Queued);
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.conversation().await.legs.caller().carrier_call_id(), Some(&call_id(SID)));
}

#[tokio::test]
async fn a_hook_that_hangs_up_ends_the_call_before_it_is_placed() {
    let hook = Hook {
        events: vec![EventName::ConnectionRequested],
        filter: None,
        instructions: vec![Instruction::HangUp],
    };
    let world = World::new(AgentConfig { hooks: vec![hook], ..AgentConfig::default() }).await;
    assert!(world.deliver().await.is_empty());
    let (_, reason, _) = world.conversation().await.ended().unwrap();
    assert_eq!(reason, EndedReason::AgentEnded);
    let names = ["phone_call:connection_requested", "phone_call:rejected", "conversation:ended"];
    assert_eq!(world.event_names().await, names);
    assert_eq!(world.events().await[1].data["reason"], "hung_up");
    assert_eq!(world.seen().calls.len(), 0);
}

#[tokio::test]
async fn a_hook_hangs_up_only_where_its_filter_matches() {
    for (filter, calls) in
        [("phone_call.to_number.startsWith('+1415')", 0), ("phone_call.to_number.startsWith('+49')", 1)]
    {
        let hook = Hook {
            events: vec![EventName::ConnectionRequested],
            filter: Some(Filter::parse(filter).unwrap()),
            instructions: vec![Instruction::HangUp],
        };
        let world = World::new(AgentConfig { hooks: vec![hook], ..AgentConfig::default() }).await;
        assert!(world.deliver().await.is_empty());
        assert_eq!(world.seen().calls.len(), calls, "{filter}");
    }
}

#[tokio::test]
async fn a_call_that_waited_over_an_hour_is_not_placed() {
    let world = World::with_call(AgentConfig::default(), Duration::from_secs(3_601)).await;
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.event_names().await, ["phone_call:rejected", "conversation:ended"]);
    assert_eq!(world.seen().calls.len(), 0);

    let world = World::with_call(AgentConfig::default(), Duration::from_mins(50)).await;
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.seen().calls.len(), 1);
}

#[tokio::test]
async fn a_malformed_message_blocks_no_other() {
    let world = World::new(AgentConfig::default()).await;
    let mut batch = sample();
    let good = batch["Records"][0].clone();
    let (mut bad, mut unknown) = (good.clone(), good.clone());
    bad["messageId"] = json!("bad");
    bad["body"] = json!("not a call");
    unknown["messageId"] = json!("unknown");
    unknown["body"] = json!(good["body"].as_str().unwrap().replace("K0\"", "K1\""));
    batch["Records"] = json!([bad, unknown, good]);
    // The queue moves it to its dead-letter queue.
    assert_eq!(failures(&world.dialer.handle(event(&batch)).await), ["bad"]);
    assert_eq!(world.seen().calls.len(), 1);
}

#[tokio::test]
async fn a_call_that_cannot_be_marked_is_not_placed() {
    let mut world = World::new(AgentConfig::default()).await;
    world.dialer.backend.table =
        Table::new(&testing::config(&server::unused_url().await).await, "switchboard".to_owned());
    assert_eq!(world.deliver().await, [MESSAGE]);
    assert_eq!(world.seen().calls.len(), 0);
}

#[tokio::test]
async fn a_call_waits_until_a_slot_is_returned() {
    let world = World::new(AgentConfig::default()).await;
    let waiting = world.conversation().await;
    let limits = Limits { live_calls: 1, ..world.table.limits(waiting.account_id).await.unwrap() };
    assert!(world.table.set_limits(waiting.account_id, &limits).await.unwrap());
    // Another call of the account, which is live.
    let id = ConversationId::new(system::now(), system::random_u128());
    let mut conversation = Conversation { id, state: State::Connecting, ..waiting.clone() };
    conversation.legs.caller_mut().state = LegState::Answered { answered_at: system::now() };
    let other = Snapshot { conversation, agent: AgentConfig::default() };
    world.table.create_conversation(&other).await.unwrap();

    assert!(world.deliver().await.is_empty());
    let now = world.conversation().await;
    let (version, usage) = (now.version, now.usage.clone());
    assert_eq!(now, Conversation { version, usage, ..waiting.clone() }, "but for what was spoken for it");
    {
        let seen = world.seen();
        assert_eq!((seen.calls.len(), seen.messages.len()), (0, 0), "it waits in the table");
    }
    assert!(world.wake().await.is_empty());
    assert_eq!(world.seen().messages.len(), 0, "no slot is free");

    let end = |now: &Snapshot| {
        let (usage, prices) = (&now.conversation.usage, Prices::default());
        now.conversation.end(&now.agent, EndedReason::UserEnded, &[], usage, &prices, system::now())
    };
    let ended = world.table.transition(waiting.account_id, id, end).await.unwrap();
    assert!(matches!(ended, Outcome::Changed(_)), "{ended:?}");
    world.seen().queue_is_away = true;
    assert_eq!(world.wake().await, ["wake"], "it comes again");
    world.seen().queue_is_away = false;
    assert!(world.wake().await.is_empty());
    let woken = world.seen().messages.pop().unwrap();
    assert_eq!(woken["MessageBody"], sample()["Records"][0]["body"]);
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.seen().calls.len(), 1);
    assert_eq!(world.counted().await, (0, 1));
}

#[tokio::test]
async fn a_delayed_or_refused_call_returns_its_slot() {
    for (answer, counted) in [(429, (1, 0)), (400, (0, 0))] {
        let world = World::new(AgentConfig::default()).await;
        assert_eq!(world.counted().await, (1, 0));
        world.next_answer(Answer::Status(answer));
        assert!(world.deliver().await.is_empty());
        assert_eq!(world.counted().await, counted, "{answer}");
    }
}
