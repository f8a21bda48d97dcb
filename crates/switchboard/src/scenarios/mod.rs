//! `switchboard test`: places the calls of scenario files, and checks each against its expectations.
//!
//! `file` is the format, which `docs/test-calls.md` explains to authors. `runner` places a call and collects an
//! `observed_call`; `expectations` and `heard_check` check it; `failure_report` shows a failure as a timeline. The turn-taking
//! is measured in `measured_call`, with the kinds of `sound_kinds`, limited by `expected_quality`, and shown in
//! `quality_report`.

mod expectations;
mod expected_quality;
mod export;
mod failure_report;
mod file;
mod function_server;
mod heard_check;
mod measured_call;
mod observed_call;
mod quality_report;
mod runner;
mod sound_kinds;
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
use switchboard_quality::HeardWords;
use tokio::task::JoinSet;

use self::{
    file::File,
    observed_call::ObservedCall,
    quality_report::ReportedRun,
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
    /// Number of times that each scenario is run.
    #[arg(long, value_name = "N", default_value = "1")]
    runs: NonZeroUsize,
    /// Also write everything about the calls to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write a report of the turn-taking to this file: Markdown, or the XML of test reports if its name ends in .xml.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Scenarios to run, read and validated.
pub(crate) struct ScenarioRun {
    files: Vec<Arc<File>>,
    jobs: NonZeroUsize,
    json: Option<PathBuf>,
    report: Option<PathBuf>,
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
        let count = files.len() * self.runs.get();
        let files = files.into_iter().cycle().take(count).collect();
        Ok(ScenarioRun { files, jobs: self.jobs, json: self.json, report: self.report })
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
    if let Some(file) = &plan.report {
        let runs: Vec<_> = outcomes.iter().map(Outcome::reported).collect();
        let is_xml = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("xml"));
        let text = if is_xml { quality_report::junit(&runs) } else { quality_report::markdown(&runs) };
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
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
            Ok(ScenarioResult { took, happened, faults, measured }) => {
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
                json["quality"] = json!(measured.as_ref().map(|measured| measured.json(happened)));
                json["longest_wait_ms"] = json!(happened.longest_wait().map(|wait| wait.ms));
                json["recording_path"] =
                    json!(happened.recorded.as_ref().map(|RecordingFile { path, .. }| path));
                json["replay_paths"] = json!(happened.replays);
            }
        }
        json
    }
}

impl Outcome {
    /// The run, for the report.
    fn reported(&self) -> ReportedRun {
        let name = self.file.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let run = ReportedRun {
            name,
            about: self.file.call.about.clone(),
            seconds: 0.0,
            faults: vec![],
            measured: None,
            heard_words: HeardWords::default(),
        };
        match &self.result {
            Err(error) => {
                ReportedRun { faults: vec![format!("the call could not be made: {error:#}")], ..run }
            }
            Ok(ScenarioResult { took, happened, faults, measured }) => {
                let fault =
                    |fault: &expectations::Mismatch| format!("{} | {}", fault.expected, fault.happened);
                let WordErrors { words, errors } = ledger_errors(happened);
                ReportedRun {
                    seconds: took.as_secs_f64(),
                    faults: faults.iter().map(fault).collect(),
                    measured: measured.clone(),
                    heard_words: HeardWords { stored: words, errors },
                    ..run
                }
            }
        }
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
    let runs: Vec<_> = outcomes.iter().map(Outcome::reported).collect();
    if let Some(flaky) = quality_report::flake_rate(&runs) {
        writeln!(
            out,
            "{} of {} scenarios are flaky: they passed in one run and failed in another.",
            flaky.hits, flaky.total
        )?;
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_ok()) {
        writeln!(out, "  FAILED  {}: {}", outcome.file.path.display(), outcome.file.call.about)?;
    }
    Ok(())
}
