//! The report of a failed scenario: the call as a timeline, then the failed expectations.

use std::fmt::Write as _;

use serde_json::Value;
use switchboard_model::messages::Role;

use super::{
    expectations::Mismatch,
    observed_call::{ObservedCall, millis},
    wording::{interruption, quoted, seconds},
};
use crate::evidence::RecordingFile;

/// One line of the timeline.
struct TimelineEntry {
    /// Milliseconds since the call was answered.
    at_ms: i64,
    who: &'static str,
    what: String,
}

/// Renders the report.
pub(super) fn render(happened: &ObservedCall, faults: &[Mismatch]) -> String {
    let mut story = String::new();
    // Writing to a String cannot fail.
    for TimelineEntry { at_ms, who, what } in timeline(happened) {
        let _ = writeln!(story, "  {}  {who:<8}{what}", seconds(at_ms));
    }
    for Mismatch { expected, happened } in faults {
        let _ = writeln!(story, "\n  Expected  {expected}\n  Happened  {happened}");
    }
    story.push('\n');
    if let Some(RecordingFile { path, .. }) = &happened.recorded {
        let _ = writeln!(story, "  Recording (caller left, agent right)\n    {}", path.display());
    }
    if !happened.replays.is_empty() {
        story.push_str("  Every decision\n");
    }
    for path in &happened.replays {
        let _ = writeln!(story, "    switchboard replay {}", path.display());
    }
    story
}

/// Everything that was observed, by time.
fn timeline(happened: &ObservedCall) -> Vec<TimelineEntry> {
    let mut lines = vec![];
    let mut line = |at_ms: i64, who, what| lines.push(TimelineEntry { at_ms, who, what });
    let call = &happened.call;
    let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    if call.answered_at_ms.is_some() {
        line(0, "call", "is answered".to_owned());
    }
    for done in &call.said {
        let what = match done.what.as_deref() {
            Some("sound") => format!("makes a sound ({})", done.text),
            Some("keys") => format!("presses {}", done.text),
            _ => format!("says {} (until {})", quoted(&done.text), seconds(ms(done.until_ms)).trim()),
        };
        line(ms(done.at_ms), "caller", what);
    }
    if let Some(at) = call.hung_up_ms {
        line(ms(at), "caller", "hangs up".to_owned());
    }
    for heard in &call.heard {
        let what =
            format!("is heard: {} (until {})", quoted(&heard.text), seconds(ms(heard.until_ms)).trim());
        line(ms(heard.at_ms), "agent", what);
    }
    for message in happened.messages() {
        let who = if message.role == Role::Agent { "agent" } else { "user" };
        let cut = interruption(&message, happened);
        line(
            happened.since_answer(message.started_at.as_millis()),
            "stored",
            format!("{who}: {}{cut}", quoted(&message.content)),
        );
    }
    for answered in &happened.answered {
        let what = format!("{} answers {}: {}", answered.name, answered.status, answered.answer);
        line(happened.since_answer(answered.at_ms), "tool", what);
    }
    for event in &happened.events {
        let at = happened.since_answer(millis(&event["created_at"]).unwrap_or_default());
        let data = &event["data"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap_or_default() {
            "phone_call:rejected" => line(at, "call", format!("is not taken: {}", text(&data["reason"]))),
            "conversation:started" => line(at, "call", "media flows".to_owned()),
            "conversation:ended" => line(at, "call", format!("is over: {}", text(&data["ended_reason"]))),
            "function_call:triggered" => {
                let function = &data["function"];
                let what = format!("the agent calls {}({})", text(&function["name"]), function["arguments"]);
                line(at, "tool", what);
            }
            _ => {}
        }
        for note in event["notes"].as_array().into_iter().flatten() {
            line(at, "note", text(note));
        }
        for delivery in event["deliveries"].as_array().into_iter().flatten() {
            for attempt in delivery["attempts"].as_array().into_iter().flatten() {
                let at = happened.since_answer(millis(&attempt["at"]).unwrap_or_default());
                let answer = match &attempt["status"] {
                    Value::Null => "no answer".to_owned(),
                    status => status.to_string(),
                };
                let what = format!(
                    "{} -> {}: {answer} after {} ms",
                    text(&event["event"]),
                    text(&delivery["url"]),
                    attempt["latency_ms"]
                );
                line(at, "webhook", what);
            }
        }
    }
    lines.sort_by_key(|line| line.at_ms);
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{function_server::FunctionAnswer, observed_call::tests::happened},
        *,
    };
    use crate::{api_client::Utterance, evidence::recording::Recording};

    #[test]
    fn a_report_is_a_timeline_and_the_failed_expectations() {
        let mut call = happened();
        let cough =
            Utterance { at_ms: 1_000, until_ms: 1_340, what: Some("sound".into()), text: "cough".into() };
        call.call.said.insert(0, cough);
        call.call.hung_up_ms = Some(7_900);
        call.answered = vec![FunctionAnswer {
            at_ms: 1_007_950,
            name: "end_call".into(),
            status: 500,
            answer: json!({ "error": "busy" }),
        }];
        call.events[0]["deliveries"] = json!([{
            "url": "http://127.0.0.1:9/", "attempts": [{ "at": "1970-01-01T00:16:39.900Z", "status": null, "latency_ms": 12 }],
        }]);
        call.recorded = Some(RecordingFile {
            path: "/tmp/cnv_1.wav".into(),
            audio: Recording { rate: 8_000, caller: vec![], agent: vec![] },
        });
        call.replays = vec!["/tmp/cnv_1-1.jsonl".into()];
        let fault = Mismatch { expected: "the agent is not cut off".into(), happened: "it was".into() };
        let expected = r#"
    -0.1 s  webhook phone_call:accepted -> http://127.0.0.1:9/: no answer after 12 ms
     0.0 s  call    is answered
     0.3 s  agent   is heard: "hello this is Ada" (until 2.0 s)
     0.3 s  stored  agent: "Hello, this is Ada."
     1.0 s  caller  makes a sound (cough)
     3.0 s  caller  says "When do you close?" (until 4.5 s)
     3.0 s  stored  user: "When do you close?"
     5.2 s  agent   is heard: "on Saturday we close at 6" (until 7.0 s)
     5.2 s  stored  agent: "On Saturday we close at six in", cut off at 7.0 s
     6.9 s  caller  says "Stop." (until 7.3 s)
     6.9 s  stored  user: "Stop."
     7.9 s  caller  hangs up
     8.0 s  tool    end_call answers 500: {"error":"busy"}
     8.0 s  tool    the agent calls end_call({})
     8.0 s  call    is over: agent_ended
     8.0 s  note    2 answers: response p50 700 ms

  Expected  the agent is not cut off
  Happened  it was

  Recording (caller left, agent right)
    /tmp/cnv_1.wav
  Every decision
    switchboard replay /tmp/cnv_1-1.jsonl
"#;
        let story = render(&call, &[fault]);
        assert_eq!(story, expected[1..], "{story}");
    }
}
