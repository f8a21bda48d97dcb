//! Kills the worker that holds the call while the agent speaks, and measures the silence until another worker resumes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

use super::report::{self, KilledWorker};
use crate::{
    api_client::{ApiClient, SandboxCall},
    devstack::Pool,
};

/// Limit for each step of the call.
const TIME_LIMIT: Duration = Duration::from_mins(3);
/// Polling interval: short enough to hit the middle of a sentence.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Bytes of the response that were sent when its worker is killed: 1.5 s of about 5 s, at 8,000 bytes a second.
const SENT: u64 = 12_000;

/// Kills the worker that holds the call to `to` in the middle of the agent's second message, and waits until either
/// side is heard again. Returns `None` if the call ended before that.
pub(super) async fn in_mid_sentence(
    client: &ApiClient,
    to: &str,
    pool: &Pool,
    placed: Instant,
) -> anyhow::Result<Option<KilledWorker>> {
    // The person speaks only after the greeting, so audio that is sent later belongs to the response.
    let Some(asked) = until(client, to, |call| call.said.len() == 1).await? else { return Ok(None) };
    let answer = asked.media.bytes_received + SENT;
    let Some(_) = until(client, to, |call| call.media.bytes_received >= answer).await? else {
        return Ok(None);
    };
    let holder = pool.workers().into_iter().find(|worker| worker.streams > 0);
    let pid = holder.context("no media worker holds the call")?.pid;
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).context("the worker has no process id")?;
    rustix::process::kill_process(process, Signal::KILL).context("killing the media worker")?;
    report::killed(placed.elapsed(), pid)?;
    let back = until(client, to, |call| call.media.longest_silence_ms > 0).await?;
    let silence_ms = back.map(|call| call.media.longest_silence_ms);
    if let Some(silence_ms) = silence_ms {
        report::back(placed.elapsed(), silence_ms)?;
    }
    Ok(Some(KilledWorker { pid, silence_ms }))
}

/// Waits until the call to `to` has reached a state; `None` if it ends before that.
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
            _ if asked.elapsed() > TIME_LIMIT => bail!("the call to {to} neither goes on nor ends"),
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}
