//! A call as lines of text, one per event that matters to a reader.

use std::time::Duration;

use serde_json::Value;

/// The side that began a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The agent calls a person.
    Outbound,
    /// A person rings a number.
    Inbound,
}

/// An event, `elapsed` after the call was begun; `None` if it does not matter to a reader.
pub(crate) fn line(elapsed: Duration, event: &Value, direction: Direction) -> Option<String> {
    let data = &event["data"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_outbound = direction == Direction::Outbound;
    let line = match event["event"].as_str().unwrap_or_default() {
        "phone_call:connection_requested" if is_outbound => "  the carrier dials".to_owned(),
        "phone_call:connection_requested" => "  the number rings".to_owned(),
        "phone_call:accepted" if is_outbound => "  the person picks up".to_owned(),
        "phone_call:accepted" => "  the agent picks up".to_owned(),
        "phone_call:rejected" => format!("  the call was not taken: {}", text(&data["reason"])),
        "function_call:triggered" => format!("  the agent calls {}()", text(&data["function"]["name"])),
        "conversation:ended" => format!("  the call is over: {}", text(&data["ended_reason"])),
        "message:sent" => message(data),
        _ => return None,
    };
    Some(format!("{:6.1} s  {line}", elapsed.as_secs_f64()))
}

fn message(data: &Value) -> String {
    let message = &data["message"];
    let who = if message["role"] == "agent" { "agent " } else { "person" };
    let cut = if message["interrupted"] == true { " [interrupted]" } else { "" };
    let line = format!("{who}  {}{cut}", message["content"].as_str().unwrap_or_default());
    let Some(latency) = data["latency"].as_object() else { return line };
    let ms = |stage: &str| latency.get(stage).and_then(Value::as_u64).unwrap_or_default();
    format!(
        "{line}\n                  answered in {} ms: transcript {}, model {}, voice {}, sending {}",
        ms("response_ms"),
        ms("transcript_ms"),
        ms("model_ms"),
        ms("voice_ms"),
        ms("send_ms")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_beginning_of_a_call_depends_on_its_direction() {
        let lines = |direction| {
            let names = ["phone_call:connection_requested", "phone_call:accepted", "conversation:duration"];
            names.map(|name| line(Duration::from_millis(1_240), &json!({ "event": name }), direction))
        };
        let some = |text: &str| Some(text.to_owned());
        let outbound = [some("   1.2 s    the carrier dials"), some("   1.2 s    the person picks up"), None];
        assert_eq!(lines(Direction::Outbound), outbound);
        let inbound = [some("   1.2 s    the number rings"), some("   1.2 s    the agent picks up"), None];
        assert_eq!(lines(Direction::Inbound), inbound);
    }

    #[test]
    fn a_message_has_its_speaker_its_end_and_its_latency() {
        let message = json!({ "role": "agent", "content": "At six.", "interrupted": true });
        let event = json!({ "event": "message:sent", "data": { "message": message, "latency": { "response_ms": 700 } } });
        let shown = line(Duration::ZERO, &event, Direction::Inbound).unwrap();
        assert!(shown.starts_with("   0.0 s  agent   At six. [interrupted]\n"), "{shown}");
        assert!(shown.contains("answered in 700 ms: transcript 0"), "{shown}");
    }
}
