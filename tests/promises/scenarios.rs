//! `switchboard test` runs the scenarios of `tests/calls`; a scenario that fails is reported as a timeline.

use std::{fs, process::Output};

use harness::{own_machine_blocking, share_machine_blocking, shared, switchboard};
use serde_json::{Value, json};

/// The smallest number of scenarios that ship with Switchboard.
const CALLS: usize = 30;
/// Tolerated share of the agents' stored words that the recogniser hears differently in the recordings.
const WORD_ERRORS: f64 = 0.1;

/// Runs the command on the shared stack. Returns its output and its JSON report.
fn test(files: &[&str]) -> (Output, Value) {
    let stack = shared();
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    let mut command = switchboard(&["test", "--jobs", "3"]);
    command.args(files).arg("--json").arg(&report).arg("--state").arg(stack.state());
    let output = command.output().unwrap();
    let report = fs::read(&report).unwrap_or_default();
    (output, serde_json::from_slice(&report).unwrap_or_default())
}

#[test]
fn every_scenario_passes() {
    let _machine = own_machine_blocking();
    let (output, report) = test(&[]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let calls = report["calls"].as_array().unwrap();
    assert!(calls.len() >= CALLS, "{} calls", calls.len());
    assert_eq!(report["ok"], calls.len());
    // The command compared the agents' stored messages with the recordings.
    let sum = |field: &str| calls.iter().filter_map(|call| call["ledger"][field].as_f64()).sum::<f64>();
    assert!(sum("words") > 500.0, "{}", sum("words"));
    assert!(sum("errors") / sum("words") < WORD_ERRORS, "{} of {}", sum("errors"), sum("words"));
    let messages = calls.iter().filter_map(|call| call["ledger"]["messages"].as_array()).flatten();
    assert!(messages.filter(|message| message["interrupted"] == true).count() >= 5);
}

#[test]
fn a_failed_scenario_is_reported_as_a_timeline() {
    let _machine = share_machine_blocking();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("holiday.json");
    let call = json!({
        "about": "a caller hears about the holiday",
        "agent": { "initial_message": "Hello, this is Ada.", "max_duration_seconds": 3 },
        "expect": { "messages": [{ "role": "agent", "says": "there is a holiday" }], "ended": "user_ended" },
    });
    fs::write(&file, call.to_string()).unwrap();
    let (output, report) = test(&[file.to_str().unwrap()]);
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stdout);
    for part in [
        "FAILED  1/1",
        "a caller hears about the holiday",
        "agent   is heard: \"Hello, this is Ada.\"",
        "Expected  message 1: the agent says \"there is a holiday\"",
        "Expected  ended_reason is user_ended",
        "Happened  it is \"agent_ended\"",
        "switchboard replay ",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let call = &report["calls"][0];
    assert_eq!((&call["ok"], call["faults"].as_array().unwrap().len()), (&json!(false), 2));
    assert!(fs::exists(call["recording_path"].as_str().unwrap()).unwrap());
}

#[test]
fn an_invalid_scenario_is_refused_before_any_call() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("call.json");
    fs::write(&file, "{ \"about\": \"a\",\n  \"expects\": {} }").unwrap();
    let (output, _) = test(&[file.to_str().unwrap()]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("call.json:2:11: unknown field `expects`, expected one of `about`, `agent`"),
        "{said}"
    );
}
