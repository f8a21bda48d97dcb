//! The output of a demo: the call while it happens, then its checks and totals.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value, json};

use super::{repetition, webhook_receiver::DeliverySummary};
use crate::api_client::{SandboxCall, Utterance};
use crate::call_lines::{self, Direction};
use crate::devstack::Addresses;
use crate::evidence::{recording::ChannelLevels, words::WordErrors};

/// From this word error rate on, a side counts as misunderstood.
const MAX_WER: f64 = 0.15;
/// Minimum messages of each side.
const MIN_MESSAGES: usize = 2;
/// The parts of the cost.
const PARTS: [&str; 5] = ["agent", "language_model", "transcriber", "voice", "telephony"];

/// A worker that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KilledWorker {
    /// Its process id.
    pub(super) pid: u32,
    /// The silence on the line, in milliseconds; `None` if it lasted to the end of the call.
    pub(super) silence_ms: Option<u64>,
}

/// The report of a finished call.
pub(super) struct DemoReport {
    conversation: Value,
    events: Vec<Value>,
    /// The webhook deliveries.
    deliveries: DeliverySummary,
    recording: Option<(PathBuf, ChannelLevels)>,
    /// Paths of the replay logs.
    replays: Vec<PathBuf>,
    /// The caller's words against the stored ones.
    caller: SpeechComparison,
    /// The agent's stored words against the words that the caller heard.
    agent: SpeechComparison,
    /// Number of media streams.
    streams: u64,
    killed: Option<KilledWorker>,
    /// Whether a call that the person ended is as good as one that the agent ended.
    pub(super) caller_may_end: bool,
}

struct SpeechComparison {
    said: String,
    heard: String,
    errors: WordErrors,
}

impl SpeechComparison {
    fn new(said: String, heard: String) -> Self {
        let errors = WordErrors::between(&said, &heard);
        Self { said, heard, errors }
    }
}

/// Announces the call, and which parts of it are real.
pub(super) fn calling(to: &str, from: &str, agent: &Value, addresses: &Addresses) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let parts = ["transcriber", "language_model", "voice"].map(|part| {
        let block = &agent[part];
        let provider = block["provider"].as_str().unwrap_or_default();
        (part, provider, ["model", "voice_id", "speaker"].iter().find_map(|member| block[*member].as_str()))
    });
    if parts.iter().all(|(_, provider, _)| addresses.is_simulated(provider)) {
        writeln!(out, "\nCalling {to} from {from}. Hearing and speaking are real (offline engines); the")?;
        return writeln!(out, "language model and the person are scripted.\n");
    }
    writeln!(out, "\nCalling {to} from {from}. The person is scripted.")?;
    for (part, provider, name) in parts {
        let source = addresses.sources.get(provider).map(ToString::to_string);
        let source = source.unwrap_or_else(|| "no adapter: its fallback serves".to_owned());
        let name = name.map_or_else(String::new, |name| format!(" {name}"));
        writeln!(out, "  {:<14} {provider}{name} ({source})", part.replace('_', " "))?;
    }
    writeln!(out)
}

/// Shows an event, if it matters to a reader.
pub(super) fn event(elapsed: Duration, event: &Value) -> io::Result<()> {
    match call_lines::line(elapsed, event, Direction::Outbound) {
        Some(line) => writeln!(io::stdout().lock(), "{line}"),
        None => Ok(()),
    }
}

/// Shows where the console shows the call.
pub(super) fn watched_at(console: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "The console shows it while it runs: {console}\n")
}

/// Shows why the call failed, before the stack runs on.
pub(super) fn failed(fault: &anyhow::Error) -> io::Result<()> {
    writeln!(io::stdout().lock(), "\nError: {fault:#}")
}

/// Shows that the stack runs on.
pub(super) fn stays(console: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "\nThe call in the console: {console}\nCtrl-C stops everything.")
}

/// Shows that a worker was killed.
pub(super) fn killed(elapsed: Duration, pid: u32) -> io::Result<()> {
    let line = format!("  kill -9 {pid}: the media worker that holds this call is gone");
    writeln!(io::stdout().lock(), "{:6.1} s  {line}", elapsed.as_secs_f64())
}

/// Shows that the call goes on.
pub(super) fn back(elapsed: Duration, silence_ms: u64) -> io::Result<()> {
    let line = format!("  the call goes on on another worker, after {silence_ms} ms of silence");
    writeln!(io::stdout().lock(), "{:6.1} s  {line}", elapsed.as_secs_f64())
}

impl DemoReport {
    pub(super) fn new(
        conversation: Value,
        events: Vec<Value>,
        deliveries: DeliverySummary,
        recording: Option<(PathBuf, ChannelLevels)>,
        replays: Vec<PathBuf>,
        call: &SandboxCall,
        killed: Option<KilledWorker>,
    ) -> Self {
        let of = |role: &str| {
            let messages = conversation["messages"].as_array().into_iter().flatten();
            let texts =
                messages.filter(|message| message["role"] == role).filter_map(|m| m["content"].as_str());
            texts.collect::<Vec<_>>().join(" ")
        };
        let joined =
            |words: &[Utterance]| words.iter().map(|words| words.text.as_str()).collect::<Vec<_>>().join(" ");
        let caller = SpeechComparison::new(joined(&call.said), of("user"));
        let agent = SpeechComparison::new(of("agent"), joined(&call.heard));
        let streams = call.media.streams;
        let caller_may_end = false;
        Self {
            conversation,
            events,
            deliveries,
            recording,
            replays,
            caller,
            agent,
            streams,
            killed,
            caller_may_end,
        }
    }

    /// The checks that the call failed.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        for (field, expected) in [("status", "ended"), ("ended_reason", "agent_ended")] {
            let caller_ended = self.caller_may_end && self.conversation[field] == "user_ended";
            if self.conversation[field] != expected && !caller_ended {
                faults.push(format!("{field} is {}, not {expected}", self.conversation[field]));
            }
        }
        for role in ["agent", "user"] {
            let messages = self.messages().filter(|message| message["role"] == role).count();
            if messages < MIN_MESSAGES {
                faults.push(format!("{messages} messages of the {role}"));
            }
        }
        for (who, compared) in [("person", &self.caller), ("agent", &self.agent)] {
            let rate = compared.errors.rate();
            if rate >= MAX_WER {
                faults.push(format!("{:.0} % of the {who}'s words misunderstood", rate * 100.0));
            }
        }
        match &self.recording {
            None => faults.push("no recording".to_owned()),
            Some((_, sides)) if !sides.are_audible() => {
                faults.push("a silent side in the recording".to_owned());
            }
            Some(_) => {}
        }
        faults.extend(self.deliveries.fault());
        let cost = &self.conversation["cost_breakdown"];
        let parts: f64 = PARTS.iter().filter_map(|part| cost[part]["cost"].as_f64()).sum();
        // Every part has at most six decimals, so half of the last one is below any real difference.
        if cost["total"].as_f64().is_none_or(|total| (total - parts).abs() > 5e-7) {
            faults.push("a total that is not the sum of its parts".to_owned());
        }
        faults
    }

    /// The checks that a call with a killed worker failed.
    pub(super) fn faults_of_moving(&self) -> Vec<String> {
        let mut faults = vec![];
        match self.killed {
            None => faults.push("its worker was not killed".to_owned()),
            Some(_) if self.streams < 2 => faults.push("no other worker took it over".to_owned()),
            Some(KilledWorker { silence_ms: None, .. }) => {
                faults.push("nobody was heard any more".to_owned());
            }
            Some(_) => {}
        }
        if let Some(words) = repetition::first(&self.agent.heard) {
            faults.push(format!("the caller heard twice: {words}"));
        }
        faults
    }

    /// Everything, as JSON.
    pub(super) fn json(&self) -> Value {
        let recording = self.recording.as_ref().map(|(_, ChannelLevels { seconds, caller, agent })| {
            json!({ "seconds": seconds, "caller_level": caller, "agent_level": agent })
        });
        let side = |compared: &SpeechComparison| json!({ "said": compared.said, "heard": compared.heard, "wer": compared.errors.rate() });
        json!({
            "conversation": self.conversation,
            "events": self.events,
            "webhooks": self.deliveries.json(),
            "turns": self.turns(),
            "recording_path": self.recording.as_ref().map(|(path, _)| path),
            "recording": recording,
            "replay_paths": self.replays,
            "wer": self.wer(),
            "killed_worker": self.killed.map(|KilledWorker { pid, silence_ms }| json!({ "pid": pid, "silence_ms": silence_ms })),
            "caller": side(&self.caller),
            "agent": side(&self.agent),
        })
    }

    /// Shows the totals.
    pub(super) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let text = |field: &str| self.conversation[field].as_str().unwrap_or("-").to_owned();
        writeln!(out, "\nConversation {}", text("id"))?;
        writeln!(out, "  status         {} ({})", text("status"), text("ended_reason"))?;
        writeln!(out, "  messages       {}", self.messages().count())?;
        writeln!(out, "  events         {}", self.events.len())?;
        writeln!(out, "  webhooks       {}", self.deliveries.line())?;
        if let Some(KilledWorker { pid, silence_ms }) = self.killed {
            let silence = silence_ms.map_or("for ever".to_owned(), |ms| format!("for {ms} ms"));
            writeln!(out, "  killed worker  {pid}; the caller heard silence {silence}")?;
        }
        for turn in self.turns().as_array().into_iter().flatten() {
            writeln!(out, "  answered in    {:>5} ms", turn["response_ms"])?;
        }
        self.print_costs(&mut out)?;
        if let Some((path, ChannelLevels { seconds, .. })) = &self.recording {
            writeln!(out, "\nRecording ({seconds:.1} s, caller left, agent right)\n  {}", path.display())?;
        }
        for path in &self.replays {
            writeln!(out, "\nEvery decision (`cargo run -- replay FILE` shows them)\n  {}", path.display())?;
        }
        writeln!(out, "\nSaid and heard (word error rate {:.1} %)", self.wer() * 100.0)?;
        for (who, compared) in [("person", &self.caller), ("agent", &self.agent)] {
            writeln!(out, "  {who:<6} said   {}", compared.said)?;
            writeln!(out, "         heard  {}  ({:.1} %)", compared.heard, compared.errors.rate() * 100.0)?;
        }
        Ok(())
    }

    fn print_costs(&self, out: &mut impl Write) -> io::Result<()> {
        let cost = &self.conversation["cost_breakdown"];
        writeln!(out, "\nCost (USD, list prices of the providers that this would have used)")?;
        for part in PARTS {
            let part_cost = &cost[part];
            let measure = ["seconds", "characters"].iter().find_map(|unit| {
                part_cost[unit].as_f64().map(|amount| format!("{} {unit}", (amount * 10.0).round() / 10.0))
            });
            let tokens = || format!("{} + {} tokens", part_cost["input_tokens"], part_cost["output_tokens"]);
            writeln!(
                out,
                "  {part:<14} {:<9} {:>18} {:>10.6}",
                part_cost["provider"].as_str().unwrap_or("-"),
                measure.unwrap_or_else(tokens),
                part_cost["cost"].as_f64().unwrap_or_default()
            )?;
        }
        writeln!(out, "  {:<43} {:>10.6}", "total", cost["total"].as_f64().unwrap_or_default())
    }

    /// The agent's responses: the question, the response, and the latency of each stage.
    fn turns(&self) -> Value {
        let mut user = Value::Null;
        let mut turns = vec![];
        for event in self.events.iter().filter(|event| event["event"] == "message:sent") {
            let (message, latency) = (&event["data"]["message"], &event["data"]["latency"]);
            if message["role"] == "user" {
                user = message["content"].clone();
            } else if latency.is_object() {
                let mut turn = latency.clone();
                turn["user"] = user.take();
                turn["agent"] = message["content"].clone();
                turns.push(turn);
            }
        }
        Value::Array(turns)
    }

    fn messages(&self) -> impl Iterator<Item = &Value> {
        self.conversation["messages"].as_array().into_iter().flatten()
    }

    fn wer(&self) -> f64 {
        self.caller.errors.and(self.agent.errors).rate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_client::MediaStats;

    fn report(edit: impl FnOnce(&mut Value, &mut ChannelLevels, &mut SandboxCall)) -> DemoReport {
        let mut conversation = json!({
            "status": "ended",
            "ended_reason": "agent_ended",
            "messages": [
                { "role": "agent", "content": "Hello there." },
                { "role": "user", "content": "What time?" },
                { "role": "agent", "content": "At six." },
                { "role": "user", "content": "Goodbye." },
            ],
            "cost_breakdown": {
                "total": 0.3,
                "agent": { "cost": 0.1 }, "language_model": { "cost": 0.2 }, "transcriber": { "cost": 0.0 },
                "voice": { "cost": 0.0 }, "telephony": null,
            },
        });
        let mut sides = ChannelLevels { seconds: 9.0, caller: 0.2, agent: 0.2 };
        let words = |text: &str| vec![Utterance { text: text.into(), ..Utterance::default() }];
        let mut call = SandboxCall {
            settled: true,
            said: words("What time? Goodbye."),
            heard: words("hello there at 6"),
            media: MediaStats { streams: 2, ..MediaStats::default() },
            ..SandboxCall::default()
        };
        edit(&mut conversation, &mut sides, &mut call);
        let latency = json!({ "response_ms": 700 });
        let sent = |role: &str, content: &str, latency: Value| json!({ "event": "message:sent", "data": { "message": { "role": role, "content": content }, "latency": latency } });
        let events = vec![
            sent("agent", "Hello there.", Value::Null),
            sent("user", "What time?", Value::Null),
            sent("agent", "At six.", latency),
        ];
        let recording = Some(("x.wav".into(), sides));
        let killed = Some(KilledWorker { pid: 7, silence_ms: Some(900) });
        DemoReport::new(conversation, events, DeliverySummary::default(), recording, vec![], &call, killed)
    }

    #[test]
    fn a_good_call_passes_and_its_turns_have_question_and_response() {
        let report = report(|_, _, _| {});
        assert_eq!(report.faults(), Vec::<String>::new());
        let json = report.json();
        assert_eq!(json["turns"], json!([{ "response_ms": 700, "user": "What time?", "agent": "At six." }]));
        assert!(json["wer"].as_f64().unwrap() < 1e-9);
        assert_eq!(json["killed_worker"], json!({ "pid": 7, "silence_ms": 900 }));
    }

    #[test]
    fn each_failed_check_is_reported() {
        let faults = |edit: fn(&mut Value, &mut ChannelLevels, &mut SandboxCall)| report(edit).faults().len();
        assert_eq!(faults(|conversation, _, _| conversation["status"] = json!("started")), 1);
        assert_eq!(faults(|conversation, _, _| conversation["ended_reason"] = json!("unknown")), 1);
        assert_eq!(
            faults(|conversation, _, _| conversation["cost_breakdown"]["total"] = json!(0.300_001)),
            1
        );
        assert_eq!(faults(|_, sides, _| sides.agent = 0.0), 1);
        assert_eq!(faults(|_, _, call| call.heard[0].text = "mumble".into()), 1);
        assert_eq!(
            faults(|conversation, _, _| {
                // Both sentences of the person in one message.
                conversation["messages"][1]["content"] = json!("What time? Goodbye.");
                conversation["messages"].as_array_mut().unwrap().pop();
            }),
            1
        );
    }

    #[test]
    fn a_person_may_end_a_call_with_a_model_that_is_no_script() {
        let mut ended = report(|conversation, _, _| conversation["ended_reason"] = json!("user_ended"));
        assert_eq!(ended.faults().len(), 1);
        ended.caller_may_end = true;
        assert_eq!(ended.faults(), Vec::<String>::new());
    }

    #[test]
    fn a_call_that_another_worker_resumes_without_repetition_passes() {
        assert_eq!(report(|_, _, _| {}).faults_of_moving(), Vec::<String>::new());
        let same = report(|_, _, call| call.media.streams = 1);
        assert_eq!(same.faults_of_moving(), ["no other worker took it over"]);
        let twice = report(|_, _, call| call.heard[0].text = "we close at six we close at six".into());
        assert_eq!(twice.faults_of_moving(), ["the caller heard twice: we close at six"]);
        let mut never = report(|_, _, _| {});
        never.killed = None;
        assert_eq!(never.faults_of_moving(), ["its worker was not killed"]);
    }
}
