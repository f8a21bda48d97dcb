//! Deploys `template.yaml` into the emulator with `python/deploy.py`, in the private Python environment.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::build::{Executables, LAMBDAS};
use super::children::{self, StateDirectory};
use super::emulator::{self, Emulator};
use super::host_environment::HostEnvironment;
use super::providers::ProviderEndpoints;
use super::python_environment::Python;
use crate::progress::Progress;

/// Limit for a deployment: two seconds on a free machine, far more while cargo compiles.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The name of the stack in the emulator.
pub(crate) const STACK: &str = "switchboard";

/// The secret that holds the providers' keys.
pub(crate) const SECRET: &str = "switchboard/provider-keys";

/// The executables to deploy, and the template's parameters.
pub(crate) struct DeploymentInput<'a> {
    /// The checkout, with `template.yaml`.
    pub(crate) workspace: &'a Path,
    /// The base URL of the API for the carrier and for customers.
    pub(crate) public_url: &'a str,
    /// The websocket of the media workers.
    pub(crate) media_url: &'a str,
    /// The providers' base URLs and keys.
    pub(crate) providers: &'a ProviderEndpoints,
    pub(crate) executables: &'a Executables,
}

/// A finished deployment.
#[derive(Debug, Deserialize)]
pub(crate) struct DeployedStack {
    pub(crate) outputs: StackOutputs,
    /// The path under which the emulator serves the HTTP API.
    pub(crate) api_prefix: String,
}

/// The outputs of the stack that are read here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StackOutputs {
    pub(crate) table_name: String,
    /// The bucket of the recordings.
    pub(crate) bucket_name: String,
    /// The KMS key that seals customers' secrets.
    pub(crate) sealing_key_id: String,
}

/// Deploys the template, and waits until it is complete.
///
/// # Errors
///
/// The deployment fails; the error quotes the end of its log.
pub(crate) async fn deploy(
    directories: &StateDirectory,
    host: &HostEnvironment,
    python: &Python,
    emulator: &Emulator,
    plan: &DeploymentInput<'_>,
    progress: &Progress,
) -> anyhow::Result<DeployedStack> {
    let step = progress.step("deploying template.yaml into the emulator");
    let mut command = Command::new(&python.executable);
    command.arg(plan.workspace.join("crates/switchboard/python/deploy.py"));
    command.args(["--endpoint", &emulator.url, "--stack", STACK]);
    command.arg("--template").arg(plan.workspace.join("template.yaml"));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    for (name, value) in [
        ("Architecture", architecture),
        ("PublicUrl", plan.public_url),
        ("AllowHttpWebhooks", "true"),
        ("LogLevel", &host.log_filter),
        // The sandbox is a carrier without a limit.
        ("CarrierCallsPerSecond", "1000"),
        ("MediaUrl", plan.media_url),
        ("ProviderKeysSecret", SECRET),
    ] {
        command.args(["--parameter", &format!("{name}={value}")]);
    }
    for (name, url) in plan.providers.template_parameters() {
        command.args(["--parameter", &format!("{name}={url}")]);
    }
    for name in LAMBDAS {
        let executable =
            plan.executables.get(name).with_context(|| format!("cargo built no executable `{name}`"))?;
        command.args(["--function", &format!("{name}={}", executable.display())]);
    }
    command.args(["--secret", &format!("{SECRET}=-")]);

    let log = directories.log("deploy");
    let errors = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    command.env_clear().envs(emulator::aws_environment(&emulator.url));
    command.env("PATH", &host.path).env("HOME", &host.home);
    // No guard: its stdin carries the secret. It runs for seconds, and ends when the emulator does.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
    // Ctrl-C in the terminal must reach only this process, which then drops the child.
    command.process_group(0);
    let mut child = command.spawn().context("starting the deployment")?;
    let secret = serde_json::to_vec(&plan.providers.keys)?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let run = async move {
        // A program that ended without reading has written the reason to its log.
        let _ = stdin.write_all(&secret).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let Ok(output) = tokio::time::timeout(TIMEOUT, run).await else {
        bail!("the deployment did not finish within {} s. {}", TIMEOUT.as_secs(), excerpt(&log));
    };
    let output = output?;
    if !output.status.success() {
        bail!("template.yaml could not be deployed. {}", excerpt(&log));
    }
    let deployment = serde_json::from_slice(&output.stdout).context("reading the deployment's outputs")?;
    step.done("");
    Ok(deployment)
}

fn excerpt(log: &Path) -> String {
    format!("The end of {}:\n{}", log.display(), children::last_lines(log))
}
