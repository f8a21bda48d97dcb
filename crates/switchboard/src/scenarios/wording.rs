//! Words that expectations and reports share: times, quotations, messages.

use switchboard_model::messages::{Message, Role};

use super::observed_call::ObservedCall;

/// Describes a message and its time in a sentence.
pub(super) fn describe_message(message: &Message, happened: &ObservedCall) -> String {
    let who = if message.role == Role::Agent { "agent" } else { "caller" };
    let at = seconds(happened.since_answer(message.started_at.as_millis()));
    let cut = interruption(message, happened);
    format!("at {} the {who} said {}{cut}", at.trim(), quoted(&message.content))
}

/// Describes the interruption of a message, if there was one.
pub(super) fn interruption(message: &Message, happened: &ObservedCall) -> String {
    if !message.interrupted {
        return String::new();
    }
    format!(", cut off at {}", seconds(happened.since_answer(message.ended_at.as_millis())).trim())
}

/// Formats milliseconds as seconds, right-aligned.
pub(super) fn seconds(ms: i64) -> String {
    let tenths = (ms + 50).div_euclid(100);
    let sign = if tenths < 0 { "-" } else { "" };
    format!("{:>6} s", format!("{sign}{}.{}", tenths.abs() / 10, tenths.abs() % 10))
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_shown_in_tenths_of_a_second() {
        for (ms, text) in
            [(0, "0.0 s"), (12_340, "12.3 s"), (-80, "-0.1 s"), (-20, "0.0 s"), (3_960, "4.0 s")]
        {
            assert_eq!(seconds(ms).trim(), text, "{ms}");
        }
    }
}
