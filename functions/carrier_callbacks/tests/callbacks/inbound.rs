//! Inbound calls: the choice of the agent, and repeated callbacks.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, extract::State as Shared, http::StatusCode, routing::post};
use serde_json::{Value, json};
use switchboard_model::{
    accounts::{Account, Limits, Token},
    agents::{Agent, AgentConfig},
    conversations::{ConversationType, EndedReason, LegState, Snapshot},
    event_names::EventName,
    hooks::{Hook, Instruction},
    ids::{AgentId, ConversationId, PhoneNumberId},
    phone_numbers::{OwnAccount, PhoneNumber},
    webhooks::{Webhook, WebhookMethod},
};
use switchboard_providers::Secret;

use crate::world::{ACCOUNT, RETENTION, SID, TOKEN, World, at, call_id, ids, send, signed, signed_with};

const NUMBER: &str = "+14155550199";
const AGENT: &str = "agt_01JD9XQ4T0000000000000000A";
const REJECT: &str = "<Response><Reject reason=\"rejected\"/></Response>";
const BUSY: &str = "<Response><Reject reason=\"busy\"/></Response>";

fn id() -> ConversationId {
    ConversationId::of_call(ids().0, SID)
}

fn path(leaf: &str) -> String {
    format!("/twilio/{ACCOUNT}/{leaf}")
}

fn form(status: &str) -> String {
    format!("CallSid={SID}&CallStatus={status}&Direction=inbound&From=%2B14155550100&To=%2B14155550199")
}

fn greeter(greeting: &str) -> AgentConfig {
    AgentConfig { initial_message: Some(greeting.to_owned()), ..AgentConfig::default() }
}

impl World {
    /// With the number, its account with a signing secret, and a stored agent.
    async fn with_number(change: impl FnOnce(PhoneNumber) -> PhoneNumber) -> Self {
        let world = Self::new().await;
        let (account, _) = ids();
        let stored = Account::new(account, "Bakery".into(), at(0), "whsec_AAAA".into());
        world.table.create_account(&stored, &Token::new([1; 32])).await.unwrap();
        let agent = Agent::new(AGENT.parse().unwrap(), account, greeter("I am stored."), at(0));
        world.table.create_agent(&agent).await.unwrap();
        let id = PhoneNumberId::new(at(0), 1);
        let number = PhoneNumber::coming(id, account, NUMBER.parse().unwrap(), None, at(0));
        let number = change(number.arrived(format!("PN{:032}", 1)));
        world.table.add_phone_number(&number).await.unwrap();
        world
    }

    async fn call_in(&self) -> (StatusCode, String) {
        send(&self.router, signed(&path("inbound"), &form("ringing"))).await
    }

    async fn call(&self) -> Option<Snapshot> {
        self.table.conversation(ids().0, id()).await.unwrap()
    }

    async fn log(&self) -> (Vec<&'static str>, Vec<String>, Value) {
        let (events, _) = self.table.events(ids().0, id(), 0, 100).await.unwrap();
        let names = events.iter().map(|event| event.name.as_str()).collect();
        (names, events[0].faults.clone(), json!(events[0].number_webhook_calls))
    }
}

/// The requests that a receiver received.
type Received = Arc<Mutex<Vec<Value>>>;

/// A webhook that responds with this status and body.
async fn webhook(status: u16, answer: impl Into<Vec<u8>>) -> (Webhook, Received) {
    let answer = answer.into();
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/choose", listener.local_addr().unwrap());
    let choose = async move |Shared(received): Shared<Received>, Json(body): Json<Value>| {
        received.lock().unwrap().push(body);
        (StatusCode::from_u16(status).unwrap(), answer.clone())
    };
    let router = Router::new().route("/choose", post(choose)).with_state(received.clone());
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    let events = vec![EventName::ConnectionRequested];
    (Webhook { events, url, method: WebhookMethod::Post, headers: None, filter: None }, received)
}

fn stored_agent(number: PhoneNumber) -> PhoneNumber {
    PhoneNumber { inbound_agent_id: Some(AGENT.parse::<AgentId>().unwrap()), ..number }
}

#[tokio::test]
async fn the_sample_of_an_inbound_call_arrives_through_the_gateway() {
    let world = World::with_number(stored_agent).await;
    let sample = include_str!("../../../../events/http_twilio_inbound.json");
    let (status, twiml) = world.sample(sample).await;
    assert_eq!(status, StatusCode::OK);
    assert!(twiml.contains("<Stream"), "{twiml}");
    let call = world.call().await.unwrap().conversation.legs.caller().phone_call.clone().unwrap();
    assert_eq!((call.to_number.as_str(), call.from_number.as_str()), (NUMBER, "+14155550100"));
}

#[tokio::test]
async fn the_numbers_agent_answers_and_a_repeated_callback_too() {
    let world = World::with_number(stored_agent).await;
    let (status, twiml) = world.call_in().await;
    assert_eq!(status, StatusCode::OK);
    assert!(twiml.contains("<Connect><Stream url=\"wss://media.example.com/media/"), "{twiml}");
    assert!(twiml.contains(&format!("/{}/resume#rc=3", id())), "{twiml}");
    let Snapshot { conversation, agent } = world.call().await.unwrap();
    assert_eq!(conversation.kind, ConversationType::InboundPhoneCall);
    assert_eq!(conversation.agent_id.unwrap().to_string(), AGENT);
    assert_eq!(agent, greeter("I am stored."));
    assert_eq!(conversation.legs.caller().carrier_call_id(), Some(&call_id(SID)));
    assert_eq!(conversation.expires_at, Some(conversation.created_at.after(RETENTION)));
    assert!(matches!(conversation.legs.caller().state, LegState::Answered { .. }));
    let taken = ["phone_call:connection_requested", "phone_call:accepted"];
    assert_eq!(world.log().await, (taken.to_vec(), vec![], json!([])));
    let counters = world.table.counters(ids().0).await.unwrap();
    assert_eq!((counters.live, counters.inbound), (1, 1), "it counts beside the sample's");

    let (status, again) = world.call_in().await;
    assert_eq!(status, StatusCode::OK);
    assert!(again.contains("<Stream") && again != twiml, "another token: the first one may be lost");
    assert_eq!(world.log().await.0, taken, "the same conversation");

    let over = signed(&path("status"), &format!("{}&CallDuration=3", form("completed")));
    assert_eq!(send(&world.router, over).await, (StatusCode::OK, String::new()));
    let (_, reason, cost) = {
        let call = world.call().await.unwrap().conversation;
        let (at, reason, cost) = call.ended().unwrap();
        (at, reason, cost.clone())
    };
    assert_eq!(reason, EndedReason::UserEnded);
    assert!(cost.telephony.unwrap().cost.to_f64() > 0.0);
    assert_eq!(world.table.counters(ids().0).await.unwrap().inbound, 0);
}

#[tokio::test]
async fn a_call_without_an_agent_is_rejected_and_stays_so() {
    let gone = |number: PhoneNumber| PhoneNumber { inbound_agent_id: Some(AgentId::new(at(0), 9)), ..number };
    for (change, note) in [
        ((|number| number) as fn(PhoneNumber) -> PhoneNumber, "the number has no agent"),
        (gone, "the number's agent does not exist any more"),
    ] {
        let world = World::with_number(change).await;
        for _ in 0..2 {
            assert_eq!(world.call_in().await, (StatusCode::OK, REJECT.to_owned()));
        }
        let rejected = ["phone_call:connection_requested", "phone_call:rejected", "conversation:ended"];
        let (names, faults, _) = world.log().await;
        assert_eq!((names, faults), (rejected.to_vec(), vec![note.to_owned()]));
        let over = signed(&path("status"), &form("no-answer"));
        assert_eq!(send(&world.router, over).await.0, StatusCode::OK);
        let conversation = world.call().await.unwrap().conversation;
        assert_eq!((conversation.answered_at(), conversation.ended().unwrap().2.total.to_f64()), (None, 0.0));
    }
}

#[tokio::test]
async fn a_webhook_chooses_the_agent_or_leaves_it_to_the_number() {
    let given = r#"{ "agent_config": { "initial_message": "I came along." } }"#;
    let named = r#"{ "agent_id": "agt_01JD9XQ4T0000000000000000A" }"#;
    let marked = format!("\u{feff}{given}");
    let long =
        json!({ "agent_config": { "initial_message": "I came along.", "prompt": "a".repeat(39_000) } });
    let long = long.to_string();
    let stored = Some("I am stored.");
    let gave = "the number's webhooks.0 gave the agent's configuration";
    let chose = "the number's webhooks.0 chose the agent agt_01JD9XQ4T0000000000000000A";
    let own = "no webhook of the number chose an agent: its own agent takes the call";
    let none =
        |problem: &str| vec![format!("the number's webhooks.0 chose no agent: {problem}"), own.to_owned()];
    let one = |note: &str| vec![note.to_owned()];
    for (status, answer, greeting, notes) in [
        (200, given, Some("I came along."), one(gave)),
        (200, &*marked, Some("I came along."), one(gave)),
        (200, &*long, Some("I came along."), one(gave)),
        (200, named, stored, one(chose)),
        (200, "", stored, one(own)),
        (204, "", stored, one(own)),
        (200, "{}", stored, one(own)),
        (200, "null", stored, one(own)),
        (200, r#"{ "ok": true }"#, stored, one(own)),
        (200, r#"{ "reject": false }"#, stored, one(own)),
        (200, "OK", stored, none("its answer is not JSON, or too long")),
        (200, "<html></html>", stored, none("its answer is not JSON, or too long")),
        (200, "[]", stored, none("")),
        (200, "\u{1f}\u{8b}\u{8}", stored, none("its answer is not JSON, or too long")),
        (500, given, stored, none("it answered with status 500")),
        (308, "", stored, none("it answered with status 308")),
        (200, r#"{ "agent_id": "agt_01JD9XQ4T0000000000000000B" }"#, stored, none("agent_id: ")),
        (200, r#"{ "agent_config": { "prompt": 7 } }"#, stored, none("agent_config.prompt: ")),
        (200, r#"{ "reject": true }"#, None, one("the number's webhooks.0 rejected the call")),
    ] {
        let (webhook, received) = webhook(status, answer).await;
        let world =
            World::with_number(|number| PhoneNumber { webhooks: vec![webhook], ..stored_agent(number) })
                .await;
        let (taken, twiml) = world.call_in().await;
        assert_eq!(taken, StatusCode::OK);
        assert_eq!(twiml == REJECT, greeting.is_none(), "{answer}: {twiml}");
        let snapshot = world.call().await.unwrap();
        assert_eq!(snapshot.agent.initial_message.as_deref(), greeting, "{answer}");
        let (_, faults, calls) = world.log().await;
        let is_noted = faults.iter().zip(&notes).all(|(fault, note)| fault.starts_with(note));
        assert!(faults.len() == notes.len() && is_noted, "{answer}: {faults:?}, not {notes:?}");
        assert_eq!(calls[0]["attempt"]["status"], status, "{calls}");
        let received = received.lock().unwrap().clone();
        assert_eq!((received.len(), &received[0]["event"]), (1, &json!("phone_call:connection_requested")));
        assert_eq!(received[0]["conversation"]["id"], json!(id()));
        let (events, _) = world.table.events(ids().0, id(), 0, 1).await.unwrap();
        assert_eq!(received[0]["id"], json!(events[0].id));
    }
}

#[tokio::test]
async fn the_first_webhook_that_decides_wins() {
    let (silent, _) = webhook(200, "").await;
    let (failing, _) = webhook(500, "").await;
    let (choosing, _) = webhook(200, r#"{ "agent_config": {} }"#).await;
    let (rejecting, _) = webhook(200, r#"{ "reject": true }"#).await;
    let (gave, rejected) = ("1 gave the agent's configuration", "1 rejected the call");
    for (webhooks, takes, last_note) in [
        (vec![silent.clone(), choosing.clone(), rejecting.clone()], true, gave),
        (vec![silent.clone(), failing.clone(), choosing.clone()], true, "2 gave the agent's configuration"),
        (vec![failing, rejecting, choosing], false, rejected),
    ] {
        let world = World::with_number(|number| PhoneNumber { webhooks, ..stored_agent(number) }).await;
        assert_eq!(world.call_in().await.1 != REJECT, takes);
        let (_, notes, calls) = world.log().await;
        assert_eq!(calls.as_array().unwrap().len(), 3, "each was called once");
        assert_eq!(notes.last().unwrap(), &format!("the number's webhooks.{last_note}"));
    }
}

#[tokio::test]
async fn a_failing_webhook_of_a_number_without_an_agent_rejects() {
    let (failing, _) = webhook(500, "").await;
    let world = World::with_number(|number| PhoneNumber { webhooks: vec![failing], ..number }).await;
    assert_eq!(world.call_in().await.1, REJECT);
    assert_eq!(world.log().await.1.len(), 2, "the webhook and the number");
}

#[tokio::test]
async fn a_hook_of_the_agent_can_reject_the_call() {
    let world = World::with_number(stored_agent).await;
    let hook = Hook {
        events: vec![EventName::ConnectionRequested],
        filter: None,
        instructions: vec![Instruction::HangUp],
    };
    let change =
        |config: &AgentConfig| Ok::<_, ()>(AgentConfig { hooks: vec![hook.clone()], ..config.clone() });
    world.table.change_agent(ids().0, AGENT.parse().unwrap(), at(1), change).await.unwrap().unwrap().unwrap();
    assert_eq!(world.call_in().await.1, REJECT);
    let conversation = world.call().await.unwrap().conversation;
    assert_eq!(conversation.ended().unwrap().1, EndedReason::AgentEnded);
}

#[tokio::test]
async fn a_call_to_an_unknown_number_is_rejected_and_not_stored() {
    let world = World::new().await;
    assert_eq!(world.call_in().await, (StatusCode::OK, REJECT.to_owned()));
    assert!(world.call().await.is_none());
}

#[tokio::test]
async fn callbacks_of_an_imported_number_need_the_customers_signature() {
    let world = World::new().await;
    let (account, _) = ids();
    let id = PhoneNumberId::new(at(0), 1);
    let token = Secret::new("token-of-the-customer");
    let sealed = world.sealer.seal((account, &id.to_string()), &token).await.unwrap();
    let own = OwnAccount { account_sid: "AC9".into(), auth_token: sealed };
    let number = PhoneNumber::coming(id, account, NUMBER.parse().unwrap(), Some(own), at(0));
    world.table.add_phone_number(&number.arrived(format!("PN{:032}", 1))).await.unwrap();

    let call_in =
        async |token: &str| send(&world.router, signed_with(token, &path("inbound"), &form("ringing"))).await;
    assert_eq!(call_in("guessed").await.0, StatusCode::FORBIDDEN);
    assert!(world.call().await.is_none());
    assert_eq!(call_in(token.reveal()).await, (StatusCode::OK, REJECT.to_owned()));
    let conversation = world.call().await.unwrap().conversation;
    assert!(conversation.legs.caller().phone_call.as_ref().unwrap().imported);

    // The same holds for the callbacks of the conversation.
    let status = format!("/twilio/{ACCOUNT}/{}/status", self::id());
    let report =
        async |token: &str| send(&world.router, signed_with(token, &status, &form("completed"))).await.0;
    assert_eq!(report(token.reveal()).await, StatusCode::OK);
    assert_eq!(report("guessed").await, StatusCode::FORBIDDEN);
    // The token of a customer verifies no callbacks of other calls.
    let other = format!("/twilio/{ACCOUNT}/{}/status", crate::world::CONVERSATION);
    let forged = signed_with(token.reveal(), &other, &form("busy"));
    assert_eq!(send(&world.router, forged).await.0, StatusCode::FORBIDDEN);
    assert_eq!(
        send(&world.router, signed_with(TOKEN, &other, "CallStatus=x")).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_call_over_the_limit_is_busy_and_stored() {
    let world = World::with_number(stored_agent).await;
    let limits = Limits { inbound_calls: 0, ..Limits::default() };
    assert!(world.table.set_limits(ids().0, &limits).await.unwrap());
    assert_eq!(world.call_in().await, (StatusCode::OK, BUSY.to_owned()));
    let conversation = world.call().await.unwrap().conversation;
    assert_eq!(conversation.ended().unwrap().1, EndedReason::Unknown);
    let (names, faults, _) = world.log().await;
    assert_eq!(names, ["phone_call:connection_requested", "phone_call:rejected", "conversation:ended"]);
    assert_eq!(faults, ["the account has 0 live inbound calls, as many as it may"]);
    let (events, _) = world.table.events(ids().0, id(), 0, 100).await.unwrap();
    assert_eq!(events[1].data["reason"], "limit");
}

#[tokio::test]
async fn a_spent_account_takes_no_calls() {
    let world = World::with_number(stored_agent).await;
    let limits = Limits { daily_spend_usd: 0, ..Limits::default() };
    assert!(world.table.set_limits(ids().0, &limits).await.unwrap());
    assert_eq!(world.call_in().await.1, BUSY);
    assert_eq!(world.log().await.1, ["the account has reached its spend limit of 0 USD a day"]);
}

#[tokio::test]
async fn too_many_requests_about_one_number_are_busy_and_not_stored() {
    let world = World::with_number(stored_agent).await;
    let call_in = async |call: usize| {
        let sid = format!("CA{call:032}");
        let form = form("ringing").replace(SID, &sid);
        let answer = send(&world.router, signed(&path("inbound"), &form)).await.1;
        (answer, world.table.conversation(ids().0, ConversationId::of_call(ids().0, &sid)).await.unwrap())
    };
    let mut refused = 0;
    for call in 0..20 {
        let (answer, stored) = call_in(call).await;
        if stored.is_none() {
            assert_eq!(answer, BUSY);
            refused += 1;
        }
    }
    assert!((1..=10).contains(&refused), "{refused}: ten at once, then one a second");
}

#[tokio::test]
async fn the_fallback_accepts_a_call_whose_first_request_failed() {
    let world = World::with_number(stored_agent).await;
    let (status, twiml) = send(&world.router, signed(&path("fallback"), &form("ringing"))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(twiml.contains("<Stream"), "{twiml}");
    let forged = signed_with("other", &path("fallback"), &form("ringing"));
    assert_eq!(send(&world.router, forged).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn without_the_table_the_fallback_rings_on_and_is_busy_at_last() {
    let world = World::without_table().await;
    let (status, _) = send(&world.router, signed(&path("inbound"), &form("ringing"))).await;
    assert!(status.is_server_error(), "the carrier asks the fallback: {status}");
    let mut path = path("fallback");
    let mut paused = 0;
    loop {
        let (status, twiml) = send(&world.router, signed(&path, &form("ringing"))).await;
        assert_eq!(status, StatusCode::OK);
        if twiml == BUSY {
            break;
        }
        assert!(twiml.starts_with("<Response><Pause length="), "the caller hears it ring: {twiml}");
        let url = twiml.split_once(crate::world::PUBLIC_URL).unwrap().1;
        url.split_once('#').unwrap().0.clone_into(&mut path);
        paused += 1;
        assert!(paused < 10, "it ends");
    }
    assert_eq!(paused, 3);
}
