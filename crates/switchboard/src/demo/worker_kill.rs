//! Kills the worker that holds the call while the agent speaks, and sees how long the caller hears nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

use super::report;
use crate::{
    api_client::{ApiClient, SandboxCall},
    devstack::Pool,
};

/// How often the call is looked at: often enough to hit the middle of a sentence.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// So much of the answer has been sent when its worker is killed: 1.5 s of some 5 s, 8,000 bytes each.
const SENT: u64 = 12_000;

/// A worker that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KilledWorker {
    /// Its process id.
    pub(super) pid: u32,
    /// How long nobody was heard on the line, in milliseconds; none if nobody was heard any more.
    pub(super) silence_ms: Option<u64>,
}

/// Kills the worker that holds the call to `to` in the middle of the agent's second message, and waits
/// until somebody is heard again. None if the call was over before that.
pub(super) async fn in_mid_sentence(
    client: &ApiClient,
    to: &str,
    pool: &Pool,
    placed: Instant,
) -> anyhow::Result<Option<KilledWorker>> {
    // The person speaks only when the greeting is over, and what is sent afterwards is the answer.
    let Some(asked) = until(client, to, |call| call.said.len() == 1).await? else { return Ok(None) };
    let answer = asked.media.bytes_received + SENT;
    let Some(_) = until(client, to, |call| call.media.bytes_received >= answer).await? else {
        return Ok(None);
    };
    let holder = pool.workers().into_iter().find(|worker| worker.streams > 0);
    let pid = holder.context("no worker holds the call")?.pid;
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    rustix::process::kill_process(process, Signal::KILL).context("worker_kill the worker")?;
    report::killed(placed.elapsed(), pid)?;
    let back = until(client, to, |call| call.media.longest_silence_ms > 0).await?;
    let silence_ms = back.map(|call| call.media.longest_silence_ms);
    if let Some(silence_ms) = silence_ms {
        report::back(placed.elapsed(), silence_ms)?;
    }
    Ok(Some(KilledWorker { pid, silence_ms }))
}

/// Waits for something about the call to `to`; none if the call is over before that.
async fn until(
    client: &ApiClient,
    to: &str,
    reached: impl Fn(&SandboxCall) -> bool,
) -> anyhow::Result<Option<SandboxCall>> {
    let asked = Instant::now();
    loop {
        match client.calls_to(to).await?.pop() {
            Some(call) if reached(&call) => return Ok(Some(call)),
            Some(call) if call.settled => return Ok(None),
            _ if asked.elapsed() > super::PATIENCE => bail!("the call neither goes on nor ends"),
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}
