//! `switchboard test`: places the calls of scenario files, and checks each against its expectations.
//!
//! `file` is the format, which `docs/test-calls.md` explains to authors. `runner` places a call and collects an
//! `observed_call`; `expectations` and `heard_check` check it; `failure_report` shows a failure as a timeline.

mod expectations;
mod export;
mod failure_report;
mod file;
mod function_server;
mod heard_check;
mod observed_call;
mod runner;
mod wording;

use std::{
    fs,
    io::{self, Write as _},
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::{
    file::File,
    observed_call::ObservedCall,
    runner::{Runner, ScenarioResult},
};
use crate::{
    devstack::{self, Addresses},
    evidence::{RecordingFile, words::WordErrors},
};

/// The scenarios that ship with Switchboard, inside the checkout.
const CALLS: &str = "tests/calls";

/// The command's arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Scenario files (see docs/test-calls.md), or directories of them [default: tests/calls of the checkout].
    files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) export: export::Export,
    /// Number of concurrent calls. Hearing and speaking take half a core each.
    #[arg(long, value_name = "N", default_value = "2")]
    jobs: NonZeroUsize,
    /// Also write everything about the calls to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Scenarios to run, read and validated.
pub(crate) struct ScenarioRun {
    files: Vec<Arc<File>>,
    jobs: NonZeroUsize,
    json: Option<PathBuf>,
}

impl Args {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// A file is not valid; the error lists every mistake of every file.
    pub(crate) fn read(self) -> anyhow::Result<ScenarioRun> {
        let named = if self.files.is_empty() { vec![devstack::workspace()?.join(CALLS)] } else { self.files };
        let (mut files, mut wrong) = (vec![], vec![]);
        for path in file::find(&named)? {
            match File::read(&path) {
                Ok(file) => files.push(Arc::new(file)),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        Ok(ScenarioRun { files, jobs: self.jobs, json: self.json })
    }
}

/// The outcome of one file.
struct Outcome {
    file: Arc<File>,
    result: anyhow::Result<ScenarioResult>,
}

/// Runs the scenarios, shows the result of each, and writes everything about them to a file if one is named.
///
/// # Errors
///
/// A scenario failed.
pub(crate) async fn run(addresses: &Addresses, plan: &ScenarioRun) -> anyhow::Result<()> {
    let begun = Instant::now();
    let runner = Arc::new(Runner::new(addresses)?);
    let mut waiting = plan.files.iter().enumerate();
    let mut running: JoinSet<Outcome> = JoinSet::new();
    let mut outcomes = vec![];
    loop {
        while running.len() < plan.jobs.get()
            && let Some((index, file)) = waiting.next()
        {
            let (runner, file) = (Arc::clone(&runner), Arc::clone(file));
            running.spawn(async move {
                let result = Box::pin(runner.run(&file, index)).await;
                Outcome { file, result }
            });
        }
        let Some(outcome) = running.join_next().await else { break };
        outcomes.push(outcome.context("a scenario ended with a panic")?);
        if let Some(outcome) = outcomes.last() {
            show(outcome, outcomes.len(), plan.files.len())?;
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.is_ok()).count();
    summary(&outcomes, failed, begun.elapsed())?;
    if let Some(file) = &plan.json {
        let calls: Vec<_> = outcomes.iter().map(Outcome::json).collect();
        let all = json!({ "calls": calls, "ok": outcomes.len() - failed, "failed": failed });
        fs::write(file, serde_json::to_vec_pretty(&all)?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    if failed > 0 {
        bail!("{failed} of {} scenarios failed", outcomes.len());
    }
    Ok(())
}

impl Outcome {
    fn is_ok(&self) -> bool {
        self.result.as_ref().is_ok_and(|result| result.faults.is_empty())
    }

    fn json(&self) -> Value {
        let mut json = json!({
            "file": self.file.path,
            "about": self.file.call.about,
            "ok": self.is_ok(),
        });
        match &self.result {
            Err(error) => json["error"] = json!(format!("{error:#}")),
            Ok(ScenarioResult { took, happened, faults }) => {
                let fault = |fault: &expectations::Mismatch| json!({ "expected": fault.expected, "happened": fault.happened });
                let WordErrors { words, errors } = ledger_errors(happened);
                json["faults"] = faults.iter().map(fault).collect();
                json["seconds"] = json!(took.as_secs_f64());
                json["conversation"] = happened.conversation.clone();
                json["events"] = json!(happened.events);
                json["ledger"] = json!({
                    "words": words, "errors": errors,
                    "messages": happened.ledger.iter().map(heard_check::HeardCheck::json).collect::<Vec<_>>(),
                });
                json["longest_wait_ms"] = json!(happened.longest_wait().map(|wait| wait.ms));
                json["recording_path"] =
                    json!(happened.recorded.as_ref().map(|RecordingFile { path, .. }| path));
                json["replay_paths"] = json!(happened.replays);
            }
        }
        json
    }
}

fn ledger_errors(happened: &ObservedCall) -> WordErrors {
    happened.ledger.iter().fold(WordErrors::default(), |all, checked| all.and(checked.errors))
}

/// Shows one scenario: a line if it passed, its report if it failed.
fn show(outcome: &Outcome, number: usize, all: usize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Outcome { file, result } = outcome;
    let took = result.as_ref().map_or(Duration::ZERO, |result| result.took).as_secs_f64();
    let verdict = if outcome.is_ok() { "ok    " } else { "FAILED" };
    let width = all.to_string().len();
    writeln!(out, "{verdict}  {number:>width$}/{all}  {took:5.1} s  {}", file.call.about)?;
    match result {
        Ok(result) if result.faults.is_empty() => Ok(()),
        Ok(ScenarioResult { happened, faults, .. }) => {
            writeln!(out, "\n  {}\n", file.path.display())?;
            writeln!(out, "{}", failure_report::render(happened, faults))
        }
        Err(error) => writeln!(out, "\n  {}\n  The call could not be made: {error:#}\n", file.path.display()),
    }
}

fn summary(outcomes: &[Outcome], failed: usize, took: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let result = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
    let errors = result.fold(WordErrors::default(), |all, result| all.and(ledger_errors(&result.happened)));
    let percent = if errors.words == 0 { 0.0 } else { errors.rate() * 100.0 };
    writeln!(
        out,
        "\n{} calls in {:.0} s: {} as expected, {failed} not. Of {} stored words of the agents, \
         {percent:.1} % were recognised differently in the recordings.",
        outcomes.len(),
        took.as_secs_f64(),
        outcomes.len() - failed,
        errors.words,
    )?;
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_ok()) {
        writeln!(out, "  FAILED  {}: {}", outcome.file.path.display(), outcome.file.call.about)?;
    }
    Ok(())
}
