//! `switchboard demo` makes a whole phone call: both sides speak, hear and understand each other.

use std::{
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use harness::{share_machine_blocking, switchboard};
use serde_json::Value;

/// Runs the demo on a state directory of its own; what it wrote as JSON, and the recording.
pub(crate) fn demo(arguments: &[&str]) -> (Value, Vec<u8>) {
    demo_in(arguments, &[])
}

/// The same with these variables in its environment.
pub(crate) fn demo_in(arguments: &[&str], environment: &[(&str, &str)]) -> (Value, Vec<u8>) {
    // Calls happen in real time: two demos at once would only make each other slow.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _machine = share_machine_blocking();
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("call.json");
    let status = switchboard(&["demo", "--json"])
        .arg(&json)
        .args(arguments)
        .envs(environment.iter().copied())
        .arg("--state")
        .arg(directory.path().join("state"))
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "the demo says that the call did not go through");
    let call: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let wav = std::fs::read(call["recording_path"].as_str().unwrap()).unwrap();
    assert_eq!(&wav[..4], b"RIFF", "the recording is where it is said to be");
    let replays = call["replay_paths"].as_array().unwrap();
    assert!(!replays.is_empty(), "every worker leaves a log");
    for log in replays {
        let replayed = switchboard(&["replay", "--quiet", log.as_str().unwrap()]).output().unwrap();
        assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
        // `true` reads nothing, as `head` does once it has seen enough: the pipe is closed before the log is printed.
        let command = switchboard(&[]);
        let piped = format!("{} replay {log} | true", command.get_program().display());
        let output = Command::new("sh").args(["-c", &piped]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    (call, wav)
}

#[test]
fn the_demo_places_a_whole_call() {
    let (call, _) = demo(&[]);
    let conversation = &call["conversation"];
    assert_eq!(conversation["status"], "ended");
    assert_eq!(conversation["ended_reason"], "agent_ended");
    assert_eq!(conversation["type"], "outbound_phone_call");

    // Both sides are understood, and it is the greeting that comes first.
    let messages = conversation["messages"].as_array().unwrap();
    assert!(messages[0]["content"].as_str().unwrap().starts_with("Hello, this is Ada"));
    for role in ["agent", "user"] {
        assert!(messages.iter().filter(|message| message["role"] == role).count() >= 2, "{messages:?}");
    }
    assert!(call["wer"].as_f64().unwrap() < 0.15, "{}", call["wer"]);
    for side in ["caller_level", "agent_level"] {
        assert!(call["recording"][side].as_f64().unwrap() > 0.01, "{}", call["recording"]);
    }

    // The log is complete and in order.
    let events = call["events"].as_array().unwrap();
    let sequences: Vec<_> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>());
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    for name in [
        "phone_call:connection_requested",
        "phone_call:accepted",
        "conversation:started",
        "function_call:triggered",
    ] {
        assert_eq!(count(name), 1, "{name}");
    }
    assert_eq!(count("message:sent"), messages.len());
    assert_eq!(count("conversation:ended"), 1);
    assert_eq!(events.last().unwrap()["event"], "conversation:ended");

    // Every answer's wait is the sum of its stages, and none of it is made up.
    let turns = call["turns"].as_array().unwrap();
    assert!(turns.len() >= 2, "{turns:?}");
    for turn in turns {
        let stage = |name: &str| turn[name].as_u64().unwrap();
        let sum: u64 = ["transcript_ms", "model_ms", "voice_ms", "send_ms"].map(stage).into_iter().sum();
        assert_eq!(sum, stage("response_ms"));
        assert!(
            stage("transcript_ms") > 0 && stage("voice_ms") > 0,
            "hearing and speaking take time: {turn}"
        );
    }

    // Everybody who worked is paid.
    let cost = &conversation["cost_breakdown"];
    let part = |name: &str| cost[name]["cost"].as_f64().unwrap();
    let sum: f64 =
        ["agent", "language_model", "transcriber", "voice", "telephony"].map(part).into_iter().sum();
    assert!((cost["total"].as_f64().unwrap() - sum).abs() < 5e-7);
    for name in ["language_model", "transcriber", "voice", "telephony"] {
        assert!(part(name) > 0.0, "{name} cost nothing");
    }
}
