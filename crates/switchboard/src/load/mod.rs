//! `switchboard load`: places many calls at once on the local stack, with canned speech, and reports what they cost
//! the single media worker that holds them.
//!
//! Between the worker and the emulator is a table of its own (`devstack::fast_table`), which keeps what a worker writes all the time,
//! so that the worker is measured and not the emulator. It counts read and write units.
//!
//! The sandbox (`canned`) simulates the callers and takes the measurements of the audio path. This module places and
//! ends the calls, reads the worker's process accounting, and writes the report. If the machine has two cores or
//! more, the worker has one of its own, and everything else shares the others.

mod report;
mod worker_process;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::value_parser;
use serde_json::{Value, json};
use switchboard_sandbox::Load;
use tokio::time::sleep;

use self::{report::LoadReport, worker_process::WorkerProcess};
use crate::{
    api_client::{ApiClient, POLL_INTERVAL},
    devstack::{Addresses, Counts, LoadSetup, Pool},
    progress::Progress,
};

/// The number that every call goes to; all canned callers behave alike.
const PERSON: &str = "+14155550100";
/// Limit for the next call to come up, and for the calls to end.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// Arguments of the command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Number of concurrent calls.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=10_000))]
    calls: u32,
    /// Duration of the measurement in seconds, once all calls are up.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Also write the numbers to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A load test to run.
pub(crate) struct LoadRun {
    args: Args,
    load: Arc<Load>,
    counts: Counts,
}

impl LoadRun {
    pub(crate) fn new(args: Args) -> Self {
        Self { args, load: Load::new(), counts: Counts::default() }
    }

    pub(crate) fn setup(&self) -> LoadSetup {
        LoadSetup { calls: self.args.calls, load: self.load.clone(), counts: self.counts.clone() }
    }
}

/// An agent that records, can end the call, and answers every question.
fn agent() -> Value {
    json!({
        "initial_message": "Hello, this is the agent that answers everything. What would you like to know?",
        "prompt": "You answer every question about a number in two sentences.",
        "recording": true,
        "max_duration_seconds": null,
        "language_model": {
            "tools": [{ "type": "function", "function": { "name": "end_call" } }],
        },
    })
}

/// Places the calls, measures, ends them, and reports.
///
/// # Errors
///
/// A call failed, or no call came up.
pub(crate) async fn run(addresses: &Addresses, pool: &Pool, options: &LoadRun) -> anyhow::Result<()> {
    let LoadRun { args, load, counts } = options;
    let progress = Progress::stderr();
    if cfg!(debug_assertions) {
        progress.say(&format!(
            "          This is an unoptimized build, so its numbers mean nothing. Run\n            \
             cargo run --release -- load --calls {} --seconds {}",
            args.calls, args.seconds
        ));
    }
    let worker = pool
        .workers()
        .first()
        .map(|worker| WorkerProcess::new(worker.pid))
        .context("no media worker runs")?;
    let client = ApiClient::new(addresses)?;
    let idle = worker.usage()?;

    let ids = place(&client, addresses, args.calls, &progress).await?;
    let talking = all_talk(load, args.calls, &progress).await;
    if talking == 0 {
        bail!("no call came up. The logs are in {}/logs.", addresses.state.display());
    }
    let before = worker.usage()?;
    let _ = counts.take();
    load.measure(true);
    let began = Instant::now();
    let step = progress.step(&format!("measuring {talking} calls"));
    let window = Duration::from_secs(args.seconds.into());
    while let Some(left) = window.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        step.note(&format!("{} s left", left.as_secs()));
        sleep(left.min(Duration::from_secs(1))).await;
    }
    let after = worker.usage()?;
    load.measure(false);
    let table = counts.take();
    let measured_for = began.elapsed();
    let talked_on = load.talking();
    step.done(&format!("{talked_on} talk on"));

    let live = end(&client, &ids, &progress).await?;
    let report = LoadReport {
        calls: args.calls,
        seconds: measured_for,
        never_came_up: args.calls as usize - talking.min(args.calls as usize),
        broke_off: talking.saturating_sub(talked_on),
        resumed: load.resumed(),
        did_not_end: live,
        measured: load.measured(),
        cpu: after.cpu.saturating_sub(before.cpu),
        waited: after.waited.saturating_sub(before.waited),
        memory: after.memory.saturating_sub(idle.memory),
        idle_memory: idle.memory,
        talking,
        one_core: worker.has_one_core(),
        table,
    };
    report.print()?;
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report.json())?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    if let Some(failures) = report.failures() {
        bail!("{failures}. The logs are in {}/logs.", addresses.state.display());
    }
    Ok(())
}

/// Creates all calls, as fast as the API accepts them; returns the ids of the conversations.
async fn place(
    client: &ApiClient,
    addresses: &Addresses,
    calls: u32,
    progress: &Progress,
) -> anyhow::Result<Vec<String>> {
    let step = progress.step("placing the calls");
    let agent = agent();
    let mut ids = Vec::new();
    for number in 1..=calls {
        ids.push(client.create_phone_call(&addresses.from_number, PERSON, &agent).await?);
        step.note(&format!("{number} of {calls}"));
    }
    step.done(&calls.to_string());
    Ok(ids)
}

/// Waits until every caller has heard the agent, or no further one does; returns how many have.
async fn all_talk(load: &Load, calls: u32, progress: &Progress) -> usize {
    let step = progress.step("waiting until all talk");
    let (mut most, mut since) = (0, Instant::now());
    while most < calls as usize && since.elapsed() < TIME_LIMIT {
        sleep(POLL_INTERVAL).await;
        if load.talking() > most {
            (most, since) = (load.talking(), Instant::now());
            step.note(&format!("{most} of {calls}"));
        }
    }
    step.done(&format!("{most} of {calls}"));
    load.talking()
}

/// Ends all conversations over the API; returns how many are still live when the time is up.
async fn end(client: &ApiClient, ids: &[String], progress: &Progress) -> anyhow::Result<usize> {
    let step = progress.step("ending the calls");
    for (number, id) in ids.iter().enumerate() {
        client.end(id).await?;
        step.note(&format!("{} of {}", number + 1, ids.len()));
    }
    let asked = Instant::now();
    let mut live = Vec::from(ids);
    while let Some(id) = live.last()
        && asked.elapsed() < TIME_LIMIT
    {
        if client.conversation(id).await?["status"] == "ended" {
            live.pop();
        } else {
            sleep(POLL_INTERVAL).await;
        }
    }
    step.done("");
    Ok(live.len())
}
