//! Logs that were recorded before the engine was restructured replay to identical outputs.
//!
//! `golden/*.jsonl` are calls of the local stack, recorded with log format 1, and kept as they were recorded;
//! `golden/stories.jsonl` holds many short logs of the engine's own story tests, one after the other. Only names and
//! units have changed since: `golden/translate.rs` says how.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "golden/translate.rs"]
mod translate;

use std::{fs, path::PathBuf};

use serde_json::Value;
use switchboard_dialogue::replay::Log;

fn golden() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
}

/// The logs of a file, each as the lines of today's format.
fn logs(text: &str) -> Vec<String> {
    let (mut logs, mut synthesized): (Vec<String>, _) = (vec![], String::new());
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        if value.get("engine").is_some() {
            synthesized.clear();
            logs.push(format!("{}\n", translate::header(value)));
        } else {
            let log = logs.last_mut().unwrap();
            log.push_str(&translate::step(value, &mut synthesized).to_string());
            log.push('\n');
        }
    }
    logs
}

#[test]
fn recorded_logs_replay_to_identical_outputs() {
    let files = golden();
    assert!(files.len() > 12, "{} files", files.len());
    for file in files {
        for text in logs(&fs::read_to_string(&file).unwrap()) {
            let log = Log::parse(&text).unwrap_or_else(|error| panic!("{}: {error:?}", file.display()));
            assert!(!log.steps.is_empty());
            let difference = log.difference();
            assert_eq!(difference, None, "{}: {}", file.display(), text.lines().next().unwrap());
        }
    }
}
