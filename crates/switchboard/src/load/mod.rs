//! `switchboard load`: places many calls at once on the local stack, with canned speech, and reports what they cost
//! the single media worker that holds them.
//!
//! Between the worker and the emulator is a table of its own (`devstack::fast_table`), which keeps what a worker writes all the time,
//! so that the worker is measured and not the emulator. It counts read and write units.
//!
//! The sandbox (`canned`) simulates the callers and takes the measurements of the audio path. This module places and
//! ends the calls, reads the worker's process accounting, and writes the report. If the machine has two cores or
//! more, the worker has one of its own, and everything else shares the others.
//!
//! Frames may be late on either side: `own_lateness` reads from the replay logs when the worker sent them, and the sandbox's
//! own delays are in the report beside it. With `--compare`, `hard_wired` measures the least that an agent can cost.

mod hard_wired;
mod own_lateness;
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
use switchboard_sandbox::{Load, Percentiles};
use tokio::time::sleep;

pub(crate) use self::hard_wired::{AgentArgs, serve as serve_hard_wired};
use self::{report::LoadReport, worker_process::WorkerProcess};
use crate::{
    api_client::{ApiClient, POLL_INTERVAL},
    devstack::{self, Addresses, Counts, LoadSetup, Pool},
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
    /// Then measure as many calls with an agent that only connects its vendors, and print how many times its processor time
    /// the worker takes.
    #[arg(long)]
    compare: bool,
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
    let _ = counts.take();
    let window = measure(load, &worker, args.seconds, &progress).await?;
    let table = counts.take();
    let talked_on = load.talking();

    let (asked, live) = end(&client, &ids, &progress).await?;
    let own_lateness = own_lateness(addresses, &asked, &window, &progress).await?;
    let measured = load.measured();
    let resumed = load.resumed();
    let comparison = if args.compare {
        let size = (args.calls, args.seconds);
        Some(hard_wired::compare(size, addresses, load, &worker, &progress).await?)
    } else {
        None
    };
    let report = LoadReport {
        calls: args.calls,
        seconds: window.seconds,
        never_came_up: args.calls as usize - talking.min(args.calls as usize),
        broke_off: talking.saturating_sub(talked_on),
        resumed,
        did_not_end: live,
        measured,
        own_lateness,
        cpu: window.cpu,
        waited: window.waited,
        sandbox_cpu: window.sandbox_cpu,
        sandbox_waited: window.sandbox_waited,
        memory: window.memory.saturating_sub(idle.memory),
        idle_memory: idle.memory,
        talking,
        one_core: worker.has_one_core(),
        table,
        comparison,
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

/// The cost of the time of measurement.
struct Window {
    began: Instant,
    seconds: Duration,
    /// Of the process that is measured.
    cpu: Duration,
    waited: Duration,
    /// Its resident memory at the end, in bytes.
    memory: u64,
    /// Of this process: the callers and the vendors.
    sandbox_cpu: Duration,
    sandbox_waited: Duration,
}

/// Measures for some time.
async fn measure(
    load: &Load,
    process: &WorkerProcess,
    seconds: u32,
    progress: &Progress,
) -> anyhow::Result<Window> {
    let own = WorkerProcess::new(std::process::id());
    let (before, own_before) = (process.usage()?, own.usage()?);
    load.measure(true);
    let began = Instant::now();
    let step = progress.step(&format!("measuring {} calls", load.talking()));
    let window = Duration::from_secs(seconds.into());
    while let Some(left) = window.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        step.note(&format!("{} s left", left.as_secs()));
        sleep(left.min(Duration::from_secs(1))).await;
    }
    let (after, own_after) = (process.usage()?, own.usage()?);
    load.measure(false);
    step.done(&format!("{} talk on", load.talking()));
    Ok(Window {
        began,
        seconds: began.elapsed(),
        cpu: after.cpu.saturating_sub(before.cpu),
        waited: after.waited.saturating_sub(before.waited),
        memory: after.memory,
        sandbox_cpu: own_after.cpu.saturating_sub(own_before.cpu),
        sandbox_waited: own_after.waited.saturating_sub(own_before.waited),
    })
}

/// The lateness of the worker's frames during the measurement, by its own log.
async fn own_lateness(
    addresses: &Addresses,
    calls: &[(String, Instant)],
    window: &Window,
    progress: &Progress,
) -> anyhow::Result<Option<Percentiles>> {
    let step = progress.step("reading the replay logs");
    let recordings = devstack::recordings(&addresses.emulator_url, &addresses.bucket_name);
    let mut lateness = vec![];
    for (number, (id, ended)) in calls.iter().enumerate() {
        let from_end = ended.saturating_duration_since(window.began);
        let until_end = from_end.saturating_sub(window.seconds);
        for log in recordings.replay_logs(addresses.account_id.parse()?, id.parse()?).await? {
            lateness.extend(own_lateness::of(std::str::from_utf8(&log)?, from_end, until_end)?);
        }
        step.note(&format!("{} of {}", number + 1, calls.len()));
    }
    step.done("");
    Ok(own_lateness::percentiles(lateness))
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

/// Ends all conversations over the API; returns when each was asked to end, and how many are still live when the time is
/// up.
async fn end(
    client: &ApiClient,
    ids: &[String],
    progress: &Progress,
) -> anyhow::Result<(Vec<(String, Instant)>, usize)> {
    let step = progress.step("ending the calls");
    let mut ended = vec![];
    for (number, id) in ids.iter().enumerate() {
        client.end(id).await?;
        ended.push((id.clone(), Instant::now()));
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
    Ok((ended, live.len()))
}
