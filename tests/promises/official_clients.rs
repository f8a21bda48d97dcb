//! The sandbox is honest: the vendors' own Python clients cannot tell it from the vendors. And the API is what
//! its own official client expects.

use std::process::Command;

use harness::{client, shared, workspace};

/// Runs one of the scripts beside the requirements, which must succeed; what it printed.
pub(crate) fn check(script: &str, arguments: &[&str]) -> String {
    let script = workspace().join("tests/clients").join(script);
    let output = Command::new(client("python")).arg(script).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

#[test]
fn twilios_client_and_validator_accept_the_carrier() {
    let url = shared().address("twilio_api_url");
    check("twilio_check.py", &[url, "AC00000000000000000000000000000000", "sandbox-twilio-token"]);
}

#[test]
fn deepgrams_client_hears_what_it_had_spoken() {
    check("deepgram_check.py", &[shared().address("deepgram_api_url"), "sandbox-deepgram-key"]);
}

#[test]
fn openais_client_reads_the_scripted_models_answers() {
    check("openai_check.py", &[shared().address("openai_api_url"), "sandbox-openai-key"]);
}

#[test]
fn the_official_client_of_the_hosted_api_works_with_nothing_changed_but_its_host() {
    // An account of its own: the client's lists must hold nothing that it cannot read.
    let account = crate::accounts::json_of(&["accounts", "create", "--name", "A team that moved here"]);
    let token = account["token"].as_str().unwrap();
    check("voiceos_check.py", &[shared().address("api_url"), token]);
}
