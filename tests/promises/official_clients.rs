//! The vendors' own Python clients accept the sandbox, and the hosted API's official client accepts our API.

use std::{path::Path, process::Command};

use harness::{client, playht_python, shared, workspace};

/// Runs one of the scripts beside the requirements, which must succeed; what it printed.
pub(crate) fn check(script: &str, arguments: &[&str]) -> String {
    check_with(&client("python"), script, arguments)
}

fn check_with(python: &Path, script: &str, arguments: &[&str]) -> String {
    let script = workspace().join("tests/clients").join(script);
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

#[test]
fn the_official_twilio_client_accepts_the_sandbox() {
    let url = shared().address("twilio_api_url");
    check("twilio_check.py", &[url, "AC00000000000000000000000000000000", "sandbox-twilio-token"]);
}

#[test]
fn the_official_deepgram_client_transcribes_its_own_speech() {
    check("deepgram_check.py", &[shared().address("deepgram_api_url"), "sandbox-deepgram-key"]);
}

#[test]
fn the_official_azure_client_is_heard_in_one_language_and_in_several() {
    let (azure, deepgram) = (shared().address("azure_api_url"), shared().address("deepgram_api_url"));
    check("azure_check.py", &[azure, "sandbox-azure-key", deepgram, "sandbox-deepgram-key"]);
}

#[test]
fn the_official_elevenlabs_client_speaks_in_every_way() {
    check("elevenlabs_check.py", &[shared().address("elevenlabs_api_url"), "sandbox-elevenlabs-key"]);
}

#[test]
fn the_official_openai_client_reads_the_sandbox() {
    check("openai_check.py", &[shared().address("openai_api_url"), "sandbox-openai-key"]);
}

#[test]
fn the_official_google_client_reads_the_sandbox() {
    check("google_check.py", &[shared().address("google_api_url"), "sandbox-google-key"]);
}

#[test]
fn the_official_playht_client_finds_the_sandbox_and_speaks() {
    let (url, key, user) = (shared().address("playht_api_url"), "sandbox-playht-key", "sandbox-playht-user");
    check_with(&playht_python(), "playht_check.py", &[url, key, user]);
}

#[test]
fn the_official_voiceos_client_works_unmodified_but_for_its_host() {
    // An account of its own: the client's lists must hold nothing that it cannot read.
    let account = crate::accounts::json_of(&["accounts", "create", "--name", "A team that moved here"]);
    let token = account["token"].as_str().unwrap();
    check("voiceos_check.py", &[shared().address("api_url"), token]);
}
