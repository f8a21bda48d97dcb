//! The output for one webhook: lines of text, or one line of JSON.

use serde_json::{Value, json};
use switchboard_model::time::Timestamp;

use super::delivery::{self, Repeat};
use super::signature::Signature;

/// Width of an event's name; the longest is `phone_call:connection_requested`.
const EVENT_CHARS: usize = 31;

/// Maximum length of a line of data.
const DATA_CHARS: usize = 100;

/// Indentation of the second line, below the event.
const INDENT: &str = "              ";

/// A webhook and its response.
pub(super) struct Notice {
    pub(super) at: Timestamp,
    /// The HTTP method.
    pub(super) method: String,
    pub(super) webhook_id: Option<String>,
    pub(super) signature: Signature,
    pub(super) repeat: Repeat,
    /// The status of the response.
    pub(super) status: u16,
    /// The body of the response.
    pub(super) answer: Option<Value>,
    /// The payload; `null` if there is none.
    pub(super) payload: Value,
}

#[derive(Clone, Copy)]
enum Color {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Notice {
    /// One line of JSON.
    pub(super) fn json(&self) -> Value {
        let (signature, reason) = match self.signature {
            Signature::Verified => ("verified", None),
            Signature::Missing => ("missing", None),
            Signature::Wrong(reason) => ("wrong", Some(reason)),
        };
        let (repeat, times) = match self.repeat {
            Repeat::First => (None, 1),
            Repeat::Retry(times) => (Some("retry"), times),
            Repeat::Duplicate(times) => (Some("duplicate"), times),
        };
        json!({
            "at": self.at, "method": self.method, "webhook_id": self.webhook_id,
            "signature": signature, "reason": reason, "repeat": repeat, "times": times,
            "status": self.status, "answer": self.answer, "payload": self.payload,
        })
    }

    /// One or two lines of text. Control characters from outside are removed, because a terminal would obey them.
    pub(super) fn text(&self, colors: bool) -> String {
        let paint = |color: Color, text: &str| {
            if colors { format!("\x1b[{}m{text}\x1b[0m", color as u8) } else { text.to_owned() }
        };
        let payload = &self.payload;
        let event = plain(payload["event"].as_str().unwrap_or("(not an event)"));
        let sequence = match &payload["sequence"] {
            Value::String(number) => plain(number),
            Value::Number(number) => number.to_string(),
            _ => "-".to_owned(),
        };
        let conversation = plain(payload["conversation"]["id"].as_str().unwrap_or("-"));
        let at = self.at.to_string();
        // 2026-11-22T09:30:00.120Z
        let time = at.get(11..23).unwrap_or(&at);
        let mut parts = vec![
            paint(Color::Dim, time),
            paint(Color::Bold, &format!("{event:<EVENT_CHARS$}")),
            format!("{:>4}", format!("#{sequence}")),
            format!("{conversation:<30}"),
            match self.signature {
                Signature::Verified => paint(Color::Green, "verified"),
                Signature::Missing => paint(Color::Red, "NO SIGNATURE"),
                Signature::Wrong(reason) => paint(Color::Red, &format!("WRONG SIGNATURE: {reason}")),
            },
        ];
        match self.repeat {
            Repeat::First => {}
            Repeat::Retry(times) => parts.push(paint(Color::Yellow, &format!("retry, attempt {times}"))),
            Repeat::Duplicate(times) => {
                parts.push(paint(Color::Yellow, &format!("duplicate, seen {times} times")));
            }
        }
        if !(200..300).contains(&self.status) {
            parts.push(paint(Color::Yellow, &format!("answered {}", self.status)));
        }
        let mut data = data(payload);
        if let Some(answer) = &self.answer {
            data = format!("{data} -> {answer}");
        }
        let line = parts.join("  ");
        if data.is_empty() {
            format!("{line}\n")
        } else {
            format!("{line}\n{INDENT}{}\n", cut(&plain(&data)))
        }
    }
}

/// The data of an event in a few words.
fn data(payload: &Value) -> String {
    let data = &payload["data"];
    let call = &data["phone_call"];
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let event = payload["event"].as_str().unwrap_or_default();
    if let Some(name) = delivery::function_name(payload) {
        let arguments = match &data["function"]["arguments"] {
            Value::Null => String::new(),
            Value::String(arguments) => arguments.clone(),
            arguments => arguments.to_string(),
        };
        return format!("{name}({arguments})");
    }
    if data["message"].is_object() {
        let message = &data["message"];
        let interrupted = if message["interrupted"] == true { " (interrupted)" } else { "" };
        return format!("{}: {}{interrupted}", text(&message["role"]), text(&message["content"]));
    }
    if call.is_object() {
        let reason = data["reason"].as_str().map(|reason| format!(", {reason}")).unwrap_or_default();
        return format!("{} -> {}{reason}", text(&call["from_number"]), text(&call["to_number"]));
    }
    if event == "conversation:ended" && data["conversation"].is_object() {
        let conversation = &data["conversation"];
        let messages = conversation["messages"].as_array().map_or(0, Vec::len);
        let cost = &conversation["cost_breakdown"]["total"];
        return format!("{}, {messages} messages, {cost} USD", text(&data["ended_reason"]));
    }
    match (data, payload) {
        (Value::Object(data), _) => {
            let pair = |(name, value): (&String, &Value)| match value {
                Value::String(value) => format!("{name}: {value}"),
                value => format!("{name}: {value}"),
            };
            data.iter().map(pair).collect::<Vec<_>>().join(", ")
        }
        (_, Value::Object(_) | Value::Null) => String::new(),
        (_, Value::String(body)) => body.clone(),
        (_, body) => body.to_string(),
    }
}

/// Removes control characters.
fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(DATA_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use switchboard_model::time::Timestamp;

    use super::{Notice, data};
    use crate::listen::delivery::Repeat;
    use crate::listen::signature::Signature;

    fn notice(payload: Value) -> Notice {
        Notice {
            at: Timestamp::from_millis(1_795_339_800_120),
            method: "POST".to_owned(),
            webhook_id: Some("evt_1_0".to_owned()),
            signature: Signature::Verified,
            repeat: Repeat::First,
            status: 200,
            answer: None,
            payload,
        }
    }

    fn said(content: &str) -> Value {
        json!({
            "event": "message:sent", "sequence": 7, "conversation": { "id": "cnv_01JD8Q2M7X4T6R9V1B3C5D7E9F" },
            "data": { "message": { "role": "agent", "content": content, "interrupted": true } },
        })
    }

    #[test]
    fn an_event_is_two_aligned_lines() {
        assert_eq!(
            notice(said("Hello?")).text(false),
            "09:30:00.120  message:sent                       #7  cnv_01JD8Q2M7X4T6R9V1B3C5D7E9F  verified\n\
             \x20             agent: Hello? (interrupted)\n"
        );
    }

    #[test]
    fn problems_are_shown_in_plain_words() {
        let wrong = Notice {
            signature: Signature::Wrong("the body is not UTF-8"),
            repeat: Repeat::Retry(3),
            status: 401,
            ..notice(json!("x"))
        };
        let text = wrong.text(false);
        for part in
            ["(not an event)", "WRONG SIGNATURE: the body is not UTF-8", "retry, attempt 3", "answered 401"]
        {
            assert!(text.contains(part), "{text}");
        }
        let json = wrong.json();
        assert_eq!(
            (&json["signature"], &json["repeat"], &json["times"]),
            (&json!("wrong"), &json!("retry"), &json!(3))
        );
        assert!(
            Notice { signature: Signature::Missing, ..notice(Value::Null) }
                .text(false)
                .contains("NO SIGNATURE")
        );
    }

    #[test]
    fn only_a_terminal_gets_colors_and_control_characters_are_removed() {
        let notice = notice(said("\x1b[2Jgone\r\n"));
        assert!(!notice.text(false).contains('\x1b'));
        let colored = notice.text(true);
        assert!(colored.contains("\x1b[32mverified\x1b[0m") && !colored.contains("\x1b[2J"), "{colored:?}");
    }

    #[test]
    fn long_data_is_truncated() {
        let text = notice(said(&"é".repeat(500))).text(false);
        assert!(text.lines().all(|line| line.chars().count() < 130), "{text}");
    }

    #[test]
    fn data_is_shown_in_a_few_words() {
        let call = json!({ "from_number": "+14155550199", "to_number": "+14155550151" });
        for (payload, words) in [
            (
                json!({ "data": { "phone_call": call, "reason": "busy" } }),
                "+14155550199 -> +14155550151, busy",
            ),
            (
                json!({ "data": { "function": { "name": "price", "arguments": { "of": "cake" } } } }),
                r#"price({"of":"cake"})"#,
            ),
            (json!({ "data": { "duration": 12 } }), "duration: 12"),
            (json!({ "data": { "role": "user" } }), "role: user"),
            (
                json!({ "event": "conversation:ended", "data": {
                    "ended_reason": "user_ended",
                    "conversation": { "messages": [1, 2], "cost_breakdown": { "total": 0.0123 } },
                } }),
                "user_ended, 2 messages, 0.0123 USD",
            ),
            (json!({ "event": "conversation:started" }), ""),
        ] {
            assert_eq!(data(&payload), words);
        }
    }
}
