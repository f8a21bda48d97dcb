//! The sandbox is honest: the vendors' own Python clients cannot tell it from the vendors.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use harness::{shared, workspace};

/// A private Python environment with the clients, made once for all runs.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let directory = workspace().join(".switchboard/clients");
        let requirements = workspace().join("tests/clients/requirements.txt");
        let (python, stamp) = (directory.join("bin/python"), directory.join("installed.txt"));
        let wanted = fs::read(&requirements).unwrap();
        // The stamp is written last, so that an interrupted installation is made again.
        if fs::read(&stamp).ok().as_ref() != Some(&wanted) {
            let _ = fs::remove_dir_all(&directory);
            eprintln!("installing the official clients into {}", directory.display());
            let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
            run(Command::new("python3").args(["-m", "venv"]).arg(&directory));
            run(Command::new(&python)
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--require-hashes",
                    "-r",
                ])
                .arg(&requirements));
            fs::write(&stamp, wanted).unwrap();
        }
        python
    })
}

fn check(script: &str, arguments: &[&str]) {
    let script = workspace().join("tests/clients").join(script);
    let output = Command::new(python()).arg(script).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
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
