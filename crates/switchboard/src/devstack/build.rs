//! Builds the functions and the media worker: one cargo invocation, in the profile and target directory of this
//! command.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::children::{self, StateDirectory};
use crate::progress::Progress;

/// The Lambda functions, named like their folders below `functions/`.
pub(crate) const LAMBDAS: [&str; 6] =
    ["api", "carrier_callbacks", "dialer", "relay", "webhook_delivery", "sweeper"];

/// The media worker, named like its folder.
pub(crate) const MEDIA: &str = "media";

/// Variables that `cargo run` and `cargo test` set for the program they run. Some build scripts watch them: if
/// they were passed on, dependencies would be rebuilt here, and once more by the next cargo without them.
const SET_BY_CARGO: [&str; 16] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_AUTHORS",
    "CARGO_PKG_DESCRIPTION",
    "CARGO_PKG_HOMEPAGE",
    "CARGO_PKG_LICENSE",
    "CARGO_PKG_LICENSE_FILE",
    "CARGO_PKG_NAME",
    "CARGO_PKG_README",
    "CARGO_PKG_REPOSITORY",
    "CARGO_PKG_RUST_VERSION",
    "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// The name of the package, and of its binary, of a folder below `functions/`.
fn package(folder: &str) -> String {
    format!("switchboard-{}", folder.replace('_', "-"))
}

/// Executables by the folder of their function.
pub(crate) type Executables = BTreeMap<String, PathBuf>;

/// The members of cargo's JSON messages that are read here (The Cargo Book, "External tools").
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    fresh: bool,
    executable: Option<PathBuf>,
    target: Option<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
}

/// Builds all executables; quick when nothing has changed.
///
/// # Errors
///
/// Cargo is missing, or the build fails; the error quotes the end of the build's log.
pub(crate) async fn build(
    directories: &StateDirectory,
    workspace: &Path,
    progress: &Progress,
) -> anyhow::Result<Executables> {
    let step = progress.step("building the functions");
    let log = directories.log("build");
    let errors = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut cargo = children::guarded(directories, Path::new("cargo"));
    cargo.args(["build", "--message-format=json-render-diagnostics"]).args(profile_arguments());
    // This package is named so that dependencies get the features that they have under `cargo run`, and are not
    // built a second time with others. Nothing of it is built, because its binary is not named.
    cargo.args(["--package", "switchboard"]);
    for name in LAMBDAS.iter().chain([&MEDIA]) {
        let package = package(name);
        cargo.args(["--package", &package, "--bin", &package]);
    }
    cargo.current_dir(workspace).env("CARGO_TERM_PROGRESS_WHEN", "never").env("CARGO_TERM_COLOR", "never");
    for name in SET_BY_CARGO {
        cargo.env_remove(name);
    }
    let mut cargo = cargo.stdout(Stdio::piped()).stderr(errors).spawn().context("starting cargo")?;
    let _lifeline = cargo.stdin.take();
    let mut lines = BufReader::new(cargo.stdout.take().context("no output")?).lines();

    let mut executables = Executables::new();
    let mut compiled = 0_u32;
    // No time limit: a cold build may take minutes, and the guard ends cargo with this process.
    while let Some(line) = lines.next_line().await? {
        let Ok(CargoMessage { reason, fresh, executable, target: Some(target) }) =
            serde_json::from_str(&line)
        else {
            continue;
        };
        if reason != "compiler-artifact" {
            continue;
        }
        if !fresh {
            compiled += 1;
            step.note(&format!("{compiled} compiled, {}", target.name));
        }
        if let Some(executable) = executable {
            let folder = target.name.trim_start_matches("switchboard-").replace('-', "_");
            executables.insert(folder, executable);
        }
    }
    if !cargo.wait().await?.success() {
        bail!(
            "the functions could not be built. Run `cargo build --workspace` for the full output. The end of {}:\n{}",
            log.display(),
            children::last_lines(&log)
        );
    }
    for name in LAMBDAS.iter().chain([&MEDIA]) {
        if !executables.contains_key(*name) {
            bail!(
                "cargo built no executable `{name}`; does functions/{name} still have a binary of that name?"
            );
        }
    }
    step.done(&if compiled == 0 { "unchanged".to_owned() } else { format!("{compiled} crates compiled") });
    Ok(executables)
}

/// `--profile` and `--target-dir` of the running executable, if it lies in a cargo target directory.
fn profile_arguments() -> Vec<String> {
    let executable = std::env::current_exe().unwrap_or_default();
    let Some((target, profile)) = executable.parent().and_then(|profile| Some((profile.parent()?, profile)))
    else {
        return Vec::new();
    };
    // Cargo marks its target directories with this file.
    let (true, Some(profile)) = (target.join("CACHEDIR.TAG").is_file(), profile.file_name()) else {
        return Vec::new();
    };
    let profile = match profile.to_string_lossy() {
        name if name == "debug" => "dev".to_owned(),
        name => name.into_owned(),
    };
    vec!["--profile".to_owned(), profile, "--target-dir".to_owned(), target.display().to_string()]
}
