//! `switchboard demo`: one outbound call through the public API, watched from its first ring to its
//! end, then checked: it counts only if both sides truly heard each other.

mod repetition;
mod report;
mod webhook_receiver;
mod worker_kill;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use self::report::DemoReport;
use crate::{
    api_client::{ApiClient, POLL_INTERVAL},
    devstack::{Addresses, Pool},
    evidence::{self, AGENT, RecordingFile},
};

/// A simulated person with a short script: asks, hears the answer, says goodbye.
const PERSON: &str = "+14155550100";

/// The call is over within a minute; the agent itself ends it after two.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a demo is asked for.
pub(crate) struct DemoOptions {
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
pub(crate) async fn run(addresses: &Addresses, pool: &Pool, options: &DemoOptions) -> anyhow::Result<()> {
    let client = ApiClient::new(addresses)?;
    let mut agent: Value = serde_json::from_str(AGENT).context("demo/agent.json")?;
    let receiver = webhook_receiver::WebhookReceiver::start(&addresses.webhook_secret).await?;
    agent["webhooks"] = json!([receiver.webhook()]);
    report::calling(PERSON, &addresses.from_number)?;
    let placed = Instant::now();
    let id = client.create_phone_call(&addresses.from_number, PERSON, &agent).await?;

    let kill = async {
        if options.kill_worker {
            worker_kill::in_mid_sentence(&client, PERSON, pool, placed).await
        } else {
            Ok(None)
        }
    };
    let (events, killed) = tokio::try_join!(watch(&client, &id, placed), kill)?;
    let conversation = client.conversation(&id).await?;
    let recording = evidence::recording_of(&client, &id, addresses).await?;
    let recording = recording.map(|RecordingFile { path, audio }| (path, audio.sides()));
    let replays = evidence::replay_logs(addresses, &id).await?;
    let call = client.sandbox_call(PERSON).await?;
    let deliveries = receiver.wait_for_deliveries(&events).await;

    let report = DemoReport::new(conversation, events, deliveries, recording, replays, &call, killed);
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
async fn watch(client: &ApiClient, id: &str, placed: Instant) -> anyhow::Result<Vec<Value>> {
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
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
