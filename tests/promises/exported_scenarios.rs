//! A call that was is a scenario: exported from its own run it passes again, and a planted fault is found at its turn.

use std::{fs, path::Path};

use harness::{share_machine_blocking, shared, switchboard, workspace};
use serde_json::{Value, json};

/// Calls with an interruption, with tools, and with an ordinary end.
const CALLS: [&str; 3] = ["a-whole-call", "interruption-late", "tools-in-parallel"];

/// Runs scenarios; the output, and each call of the report by its file's name.
fn run(directory: &Path, files: &[String]) -> (String, impl Fn(&str) -> Value + use<>) {
    let report = directory.join("report.json");
    let mut command = switchboard(&["test", "--jobs", "2"]);
    command.args(files).arg("--json").arg(&report).arg("--state").arg(shared().state());
    let output = command.output().unwrap();
    let told =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap_or_default()).unwrap_or_default();
    let call_of = move |name: &str| {
        let calls = report["calls"].as_array().into_iter().flatten();
        let mut named =
            calls.filter(|call| call["file"].as_str().unwrap().ends_with(&format!("/{name}.json")));
        named.next().cloned().unwrap_or_default()
    };
    (told, call_of)
}

#[test]
fn an_exported_call_passes_again_and_a_planted_fault_is_found_at_its_turn() {
    let _machine = share_machine_blocking();
    let directory = tempfile::tempdir().unwrap();
    let original = |name: &str| workspace().join(format!("tests/calls/{name}.json")).display().to_string();
    let (told, call_of) = run(directory.path(), &CALLS.map(original));
    let mut files = vec![];
    for name in CALLS {
        let call = call_of(name);
        assert_eq!(call["ok"], true, "{told}");
        let id = call["conversation"]["id"].as_str().unwrap();
        let path = directory.path().join(format!("{name}.json"));
        let exported = switchboard(&["test", "--from-conversation", id, "--state"])
            .arg(shared().state())
            .arg("--output")
            .arg(&path)
            .output()
            .unwrap();
        assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        files.push(path.display().to_string());
    }
    let mut planted: Value = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
    let wanted = planted["expect"]["messages"][2]["is"].as_str().unwrap().replace("six", "seven");
    assert!(wanted.contains("seven"), "{planted:#}");
    planted["about"] = json!("a planted fault");
    planted["expect"]["messages"][2]["is"] = json!(wanted);
    let path = directory.path().join("planted.json");
    fs::write(&path, planted.to_string()).unwrap();
    files.push(path.display().to_string());

    let (told, call_of) = run(directory.path(), &files);
    for name in CALLS {
        assert_eq!(call_of(name)["ok"], true, "{name}: {told}");
    }
    let planted = call_of("planted");
    let faults = planted["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 1, "{told}");
    let expected = faults[0]["expected"].as_str().unwrap();
    assert!(
        expected.starts_with("message 3: the agent says exactly") && expected.contains("seven"),
        "{expected}"
    );
}

#[test]
fn a_call_that_does_not_exist_is_no_scenario() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.json");
    let output = switchboard(&["test", "--from-conversation", "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1", "--state"])
        .arg(shared().state())
        .arg("--output")
        .arg(&path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("404"), "{told}");
    assert!(!path.exists());
}
