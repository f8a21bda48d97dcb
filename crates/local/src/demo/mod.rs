//! `switchboard demo`: one outbound call through the public API, watched from its first ring to its
//! end, then checked: it counts only if both sides truly heard each other.

mod api;
mod killing;
mod repeats;
mod report;
mod wav;
mod wer;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use self::{api::Client, report::Report};
use crate::{balancer::Pool, stack::Addresses};

/// A simulated person with a short script: asks, hears the answer, says goodbye.
const PERSON: &str = "+14155550100";
/// The agent, as anybody would send it.
const AGENT: &str = include_str!("../../demo/agent.json");

/// The call is over within a minute; the agent itself ends it after two.
const PATIENCE: Duration = Duration::from_mins(3);
/// How often the conversation is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The recording is there shortly before the conversation's end; after a slow join, shortly after.
const RECORDING: Duration = Duration::from_secs(15);

/// What a demo is asked for.
pub(crate) struct Options {
    /// Where everything about the call is written to.
    pub(crate) json: Option<PathBuf>,
    /// Whether the worker that holds the call is killed while the agent speaks.
    pub(crate) kill_worker: bool,
}

/// Places the call, shows it, and writes everything about it to a file if that is asked for.
///
/// # Errors
///
/// The call did not go through: what was wrong with it is said.
pub(crate) async fn run(addresses: &Addresses, pool: &Pool, options: &Options) -> anyhow::Result<()> {
    let client = Client::new(addresses)?;
    let agent: Value = serde_json::from_str(AGENT).context("demo/agent.json")?;
    report::calling(PERSON, &addresses.from_number)?;
    let placed = Instant::now();
    let id = client.create_phone_call(&addresses.from_number, PERSON, &agent).await?;

    let kill = async {
        if options.kill_worker {
            killing::in_mid_sentence(&client, PERSON, pool, placed).await
        } else {
            Ok(None)
        }
    };
    let (events, killed) = tokio::try_join!(watch(&client, &id, placed), kill)?;
    let conversation = client.conversation(&id).await?;
    let recording = recording(&client, &id, &addresses.state).await?;
    let call = client.sandbox_call(PERSON).await?;

    let report = Report::new(conversation, events, recording, &call, killed);
    report.print()?;
    if let Some(file) = &options.json {
        let everything = serde_json::to_vec_pretty(&report.json())?;
        fs::write(file, everything).with_context(|| format!("writing {}", file.display()))?;
    }
    let mut faults = report.faults();
    if options.kill_worker {
        faults.extend(report.faults_of_moving());
    }
    if !faults.is_empty() {
        bail!(
            "the call did not go through: {}. The logs are in {}/logs.",
            faults.join("; "),
            addresses.state.display()
        );
    }
    Ok(())
}

/// Shows each event as it is stored, until the conversation is over.
async fn watch(client: &Client, id: &str, placed: Instant) -> anyhow::Result<Vec<Value>> {
    let mut events = vec![];
    loop {
        for event in client.events_after(id, events.len()).await? {
            report::event(placed.elapsed(), &event)?;
            events.push(event);
        }
        if events.last().is_some_and(|event| event["event"] == "conversation:ended") {
            return Ok(events);
        }
        if placed.elapsed() > PATIENCE {
            bail!("the call did not end within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Fetches the recording into the state directory; none if there is none in time.
async fn recording(client: &Client, id: &str, state: &Path) -> anyhow::Result<Option<report::Recording>> {
    let asked = Instant::now();
    let wav = loop {
        match client.recording(id).await? {
            Some(wav) => break wav,
            None if asked.elapsed() > RECORDING => return Ok(None),
            None => tokio::time::sleep(LOOK).await,
        }
    };
    let directory = state.join("recordings");
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let path = directory.join(format!("{id}.wav"));
    fs::write(&path, &wav).with_context(|| format!("writing {}", path.display()))?;
    let sides = wav::Sides::read(&wav).context("the recording is not the stereo WAV it should be")?;
    Ok(Some(report::Recording { path, sides }))
}
