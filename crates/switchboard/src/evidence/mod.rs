//! The traces of a call, as the demo and the scenarios check it: the recording and the replay logs, fetched into
//! the state directory, and the words that were said and heard.

pub(crate) mod recording;
pub(crate) mod words;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use self::recording::Recording;
use crate::api_client::{ApiClient, POLL_INTERVAL};
use crate::devstack::{self, Addresses};

/// Limit for the recording, which is stored just before the conversation ends, or shortly after a slow join.
const RECORDING: Duration = Duration::from_secs(15);

/// The agent of the demo, and of every scenario that configures none.
pub(crate) const AGENT: &str = include_str!("../../demo/agent.json");

/// A recording in the state directory.
pub(crate) struct RecordingFile {
    pub(crate) path: PathBuf,
    /// Its content.
    pub(crate) audio: Recording,
}

/// Fetches the recording into the state directory; `None` if it does not appear in time.
///
/// # Errors
///
/// It cannot be fetched, written or read.
pub(crate) async fn recording_of(
    client: &ApiClient,
    id: &str,
    addresses: &Addresses,
) -> anyhow::Result<Option<RecordingFile>> {
    let asked = Instant::now();
    let wav = loop {
        match client.recording(id).await? {
            Some(wav) => break wav,
            None if asked.elapsed() > RECORDING => return Ok(None),
            None => tokio::time::sleep(POLL_INTERVAL).await,
        }
    };
    let directory = addresses.state.join("recordings");
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let path = directory.join(format!("{id}.wav"));
    fs::write(&path, &wav).with_context(|| format!("writing {}", path.display()))?;
    let audio = Recording::read(&wav).context("the recording is not a 16-bit stereo WAV")?;
    Ok(Some(RecordingFile { path, audio }))
}

/// Fetches the replay logs into the state directory, one for each worker that held the call.
///
/// # Errors
///
/// They cannot be fetched or written.
pub(crate) async fn replay_logs(addresses: &Addresses, id: &str) -> anyhow::Result<Vec<PathBuf>> {
    let recordings = devstack::recordings(&addresses.emulator_url, &addresses.bucket_name);
    let logs = recordings.replay_logs(addresses.account_id.parse()?, id.parse()?).await?;
    let directory = addresses.state.join("replays");
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let write = |(number, log): (usize, Vec<u8>)| {
        let path = directory.join(format!("{id}-{}.jsonl", number + 1));
        fs::write(&path, log).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    };
    logs.into_iter().enumerate().map(write).collect()
}
