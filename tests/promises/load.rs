//! `switchboard load` holds many calls at once and reports their cost.

use std::process::Stdio;

use harness::{own_machine, switchboard};
use serde_json::Value;

/// The fields of every report.
const NUMBERS: [&str; 10] = [
    "calls",
    "seconds",
    "calls_failed",
    "underruns",
    "answers",
    "unanswered",
    "interruptions",
    "cpu_ms_per_call_second",
    "memory_mib_per_call",
    "worker_waited_percent",
];
const DISTRIBUTIONS: [&str; 8] = [
    "frame_lateness_ms",
    "response_own_share_ms",
    "transcript_to_model_ms",
    "sentence_to_voice_ms",
    "audio_to_carrier_ms",
    "clear_ms",
    "greeting_ms",
    "sandbox_lateness_ms",
];

/// Speed is not asserted: other tests run at the same time, and the build is not optimized.
#[tokio::test]
async fn five_concurrent_calls_are_answered_and_interrupted() {
    let _machine = own_machine().await;
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("load.json");
    let status = switchboard(&["load", "--calls", "5", "--seconds", "20", "--json"])
        .arg(&json)
        .arg("--state")
        .arg(directory.path().join("state"))
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "a call failed");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for name in NUMBERS {
        assert!(report[name].is_number(), "{name}: {report}");
    }
    for name in DISTRIBUTIONS {
        let [p50, p99] = ["p50", "p99"].map(|percentile| report[name][percentile].as_f64());
        assert!(p50.is_some() && p50 <= p99, "{name}: {report}");
    }
    assert_eq!((report["calls"].as_u64(), report["calls_failed"].as_u64()), (Some(5), Some(0)));
    assert!(report["optimized"].is_boolean());
    // A turn takes seven seconds or so, and every third question comes into an answer.
    for happened in ["answers", "interruptions"] {
        assert!(report[happened].as_u64() > Some(0), "{happened}: {report}");
    }
}
