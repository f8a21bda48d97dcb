//! Calls on a running system, as `demo` and `test` make them: placed through the API, fetched with all that
//! they left behind, and compared word by word.

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

/// The recording is there shortly before the conversation's end; after a slow join, shortly after.
const RECORDING: Duration = Duration::from_secs(15);

/// The agent of `demo`, and of every test that brings none, as anybody would send it.
pub(crate) const AGENT: &str = include_str!("../../demo/agent.json");

/// A recording in the state directory.
pub(crate) struct RecordingFile {
    /// The file.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) audio: Recording,
}

/// Fetches the recording into the state directory; none if there is none in time.
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
    let audio = Recording::read(&wav).context("the recording is not the stereo WAV it should be")?;
    Ok(Some(RecordingFile { path, audio }))
}

/// Fetches the replay logs into the state directory, one per worker that had the call.
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
