//! `switchboard demo`: places one outbound call through the public API, shows it while it happens, and checks it.
//!
//! The demo succeeds only if both sides heard each other, the recording is audible and every webhook arrived.

mod chosen_providers;
mod repetition;
mod report;
mod webhook_receiver;
mod worker_kill;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};

pub(crate) use self::chosen_providers::ChosenProviders;
use self::report::DemoReport;
use crate::{
    api_client::{ApiClient, POLL_INTERVAL},
    devstack::{Addresses, Pool},
    evidence::{self, AGENT, RecordingFile},
};

/// A simulated person with a short script: asks a question, hears the answer, says goodbye.
const PERSON: &str = "+14155550100";

/// Limit for the call, which takes less than a minute. The agent itself ends it after two.
const TIME_LIMIT: Duration = Duration::from_mins(3);

/// The options of the command.
pub(crate) struct DemoOptions {
    /// The file for everything about the call.
    pub(crate) json: Option<PathBuf>,
    /// Whether to kill the worker that holds the call while the agent speaks.
    pub(crate) kill_worker: bool,
    /// Whether the stack runs on after the call.
    pub(crate) stay: bool,
    /// The agent's providers.
    pub(crate) providers: ChosenProviders,
}

/// Places the call, shows and checks it, and writes everything about it to a file if one is named.
///
/// # Errors
///
/// The call failed a check; the error lists every one.
pub(crate) async fn run(addresses: &Addresses, pool: &Pool, options: &DemoOptions) -> anyhow::Result<()> {
    let client = ApiClient::new(addresses)?;
    let mut agent: Value = serde_json::from_str(AGENT).context("demo/agent.json")?;
    options.providers.apply(&mut agent, addresses).await?;
    let receiver = webhook_receiver::WebhookReceiver::start(&addresses.webhook_secret).await?;
    agent["webhooks"] = json!([receiver.webhook()]);
    report::calling(PERSON, &addresses.from_number, &agent, addresses)?;
    let placed = Instant::now();
    let id = client.create_phone_call(&addresses.from_number, PERSON, &agent).await?;
    let console = addresses.console_url(&format!("/conversations/{id}"));
    report::watched_at(&console)?;

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
    let recording = recording.map(|RecordingFile { path, audio }| (path, audio.levels()));
    let replays = evidence::replay_logs(addresses, &id).await?;
    let call = client.sandbox_call(PERSON).await?;
    let deliveries = receiver.wait_for_deliveries(&events).await;

    let model = agent["language_model"]["provider"].as_str().unwrap_or_default();
    let mut report = DemoReport::new(conversation, events, deliveries, recording, replays, &call, killed);
    // Only the script is sure to end the call itself.
    report.caller_may_end = !addresses.is_simulated(model);
    report.print()?;
    if let Some(file) = &options.json {
        let everything = serde_json::to_vec_pretty(&report.json())?;
        fs::write(file, everything).with_context(|| format!("writing {}", file.display()))?;
    }
    let mut faults = report.faults();
    if options.kill_worker {
        faults.extend(report.faults_of_moving());
    }
    let result = if faults.is_empty() {
        Ok(())
    } else {
        let (faults, state) = (faults.join("; "), addresses.state.display());
        Err(anyhow!("the call did not go through: {faults}. The logs are in {state}/logs."))
    };
    if options.stay {
        if let Err(fault) = &result {
            report::failed(fault)?;
        }
        report::stays(&console)?;
        std::future::pending::<()>().await;
    }
    result
}

/// Shows each event when it is stored, until the conversation has ended.
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
        if placed.elapsed() > TIME_LIMIT {
            bail!("the call {id} did not end within {} s", TIME_LIMIT.as_secs());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
