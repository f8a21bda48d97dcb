//! No text makes a filter panic, overflow its stack or run long, neither in the parser nor in the evaluator.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use switchboard_filters::{Filter, Lazy, Variables};

static MESSAGE: LazyLock<Value> = LazyLock::new(
    || json!({ "role": "user", "content": "Well, goodbye. ".repeat(100), "interrupted": false }),
);
static FUNCTION: LazyLock<Value> = LazyLock::new(|| {
    let guests = vec![json!({ "name": "Ann", "age": 40, "notes": ["a".repeat(1_000)] }); 100];
    json!({ "id": "a", "name": "book", "arguments": { "guests": guests } })
});

fn conversation() -> Value {
    json!({
        "id": "cnv_01JD9XQ4T0000000000000000A", "type": "outbound_phone_call", "status": "started",
        "phone_call": { "provider": "twilio", "to_number": "+14155550100", "from_number": "+4930901820" },
        "metadata": { "plan": "gold" },
    })
}

fuzz_target!(|text: &str| {
    let Ok(filter) = Filter::parse(text) else { return };
    let null = Value::Null;
    for (event, message, function, duration) in [
        ("message:sent", &*MESSAGE, &*FUNCTION, json!(300)),
        ("phone_call:connection_requested", &null, &null, Value::Null),
    ] {
        // The result does not matter: evaluation ends.
        let _ = filter.matches(&Variables {
            event,
            duration: &duration,
            speech: &null,
            message,
            function,
            conversation: Lazy::new(conversation),
        });
    }
});
