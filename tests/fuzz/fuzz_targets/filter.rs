//! No text crashes a filter, overflows its stack or runs long: not when it is read, not when it is
//! evaluated.
#![no_main]

use std::sync::LazyLock;

use switchboard_model::{agents::AgentConfig, conversations::Conversation, events::{EventName, Scope}, ids::{AccountId, ConversationId}, time::Timestamp};
use switchboard_filters::{Filter, Variables};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

struct World {
    conversation: Conversation,
    agent: AgentConfig,
    data: Value,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let at = Timestamp::from_millis(1_795_339_800_000);
    let (id, account) = (ConversationId::new(at, 1), AccountId::new(at, 2));
    let number = |text: &str| text.parse().expect("a phone number");
    let (to, from) = (number("+14155550100"), number("+4930901820"));
    let metadata = [("plan".to_owned(), "gold".to_owned())].into();
    let guests = vec![json!({ "name": "Ann", "age": 40, "notes": ["a".repeat(1_000)] }); 100];
    World {
        conversation: Conversation::outbound(id, account, None, to, from, at),
        agent: AgentConfig { metadata, ..AgentConfig::default() },
        data: json!({
            "message": { "role": "user", "content": "Well, goodbye. ".repeat(100), "interrupted": false },
            "function": { "id": "a", "name": "book", "arguments": { "guests": guests } },
            "duration": 300,
        }),
    }
});

fuzz_target!(|text: &str| {
    let World { conversation, agent, data } = &*WORLD;
    let Ok(filter) = Filter::parse(text) else { return };
    for (name, data) in [(EventName::MessageSent, data), (EventName::ConnectionRequested, &Value::Null)] {
        // Whether it matches or fails does not matter: it ends.
        let _ = filter.matches(&Variables::of(Scope { conversation, agent, name, data }));
    }
});
