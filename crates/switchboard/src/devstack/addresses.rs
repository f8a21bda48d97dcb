//! `local.json` in the state directory: how other processes reach the local stack that runs on it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use switchboard_model::catalogue::{self, Service};

use super::balancer::{EndedWorker, Pool, Worker};
use super::providers::Source;

/// The name of the file in the state directory.
pub(super) const FILE: &str = "local.json";

/// How to reach a running stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) api_url: String,
    /// A token of the account, which opens the API.
    pub(crate) token: String,
    pub(crate) account_id: String,
    /// The number that the account owns and calls from (E.164).
    pub(crate) from_number: String,
    /// Signs the account's webhooks.
    pub(crate) webhook_secret: String,
    pub(crate) emulator_url: String,
    /// The offline speech service; empty under load, which plays canned speech instead.
    pub(crate) speech_url: String,
    /// The vendors' base URLs, by the name of their variable in small letters (`..._api_url`).
    #[serde(flatten)]
    pub(crate) provider_urls: BTreeMap<String, String>,
    /// The source of each vendor with an adapter.
    pub(crate) sources: BTreeMap<String, Source>,
    pub(crate) media_url: String,
    /// The media workers behind `media_url` that run at the time of writing.
    pub(crate) media_workers: Vec<Worker>,
    /// The media workers that have ended since the start, the latest last.
    #[serde(default)]
    pub(crate) ended_media_workers: Vec<EndedWorker>,
    pub(crate) table_name: String,
    pub(crate) bucket_name: String,
    /// A carrier account that stands for a customer's own, with a number to import.
    pub(crate) customers_carrier: CustomerCarrier,
    /// The process id of `switchboard`.
    pub(crate) pid: u32,
    /// The state directory.
    #[serde(skip)]
    pub(crate) state: PathBuf,
}

/// The fields of `POST /phone_numbers/import`. They are not secret: they open only a loopback server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CustomerCarrier {
    pub(crate) phone_number: String,
    pub(crate) account_sid: String,
    pub(crate) auth_token: String,
}

impl Addresses {
    /// Reads the addresses of the stack that runs on a state directory; `None` if no stack does.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or another version of `switchboard` wrote it.
    pub(crate) fn of_running(state: &Path) -> anyhow::Result<Option<Self>> {
        let file = state.join(FILE);
        let text = match std::fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("reading {}", file.display()))?,
        };
        let addresses: Self = serde_json::from_slice(&text).with_context(|| {
            format!(
                "another version of switchboard wrote {}; stop that stack and start it with this version",
                file.display()
            )
        })?;
        // A stack that was killed leaves the file behind.
        let pid = i32::try_from(addresses.pid).ok().and_then(Pid::from_raw);
        let runs = pid.is_some_and(|pid| test_kill_process(pid).is_ok());
        Ok(runs.then(|| Self { state: state.to_owned(), ..addresses }))
    }

    /// The address of a page of the console (`/conversations`). It signs in: the token is in the part that browsers
    /// keep for themselves.
    pub(crate) fn console_url(&self, page: &str) -> String {
        format!("{}/console/#token={}&{page}", self.api_url, self.token)
    }

    /// The base URL of a vendor; `None` if the catalogue has no adapter for it.
    pub(crate) fn provider_url(&self, provider: &str) -> Option<&str> {
        let connection = catalogue::connection(provider)?;
        self.provider_urls.get(&url_name(connection.url_variable)).map(String::as_str)
    }

    /// Whether the sandbox serves a vendor.
    pub(crate) fn is_simulated(&self, provider: &str) -> bool {
        self.sources.get(provider) == Some(&Source::Sandbox)
    }

    /// The base URL of the carrier.
    ///
    /// # Errors
    ///
    /// Another version of `switchboard` wrote the file.
    pub(crate) fn carrier_url(&self) -> anyhow::Result<&str> {
        let carrier = catalogue::rows(Service::Carrier).find_map(|row| self.provider_url(row.provider));
        carrier.with_context(|| format!("{FILE} has no address of the carrier"))
    }

    /// Writes the file, readable by its owner only.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        write_private(&self.state.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// Rewrites the file whenever the workers change. Never returns while the pool lives.
    pub(super) async fn keep_up_to_date(mut self, pool: Pool) {
        let mut workers = pool.watch();
        // A change between the first write and this call must be written, too.
        workers.mark_changed();
        while workers.changed().await.is_ok() {
            let (running, ended) = workers.borrow_and_update().clone().into_parts();
            (self.media_workers, self.ended_media_workers) = (running, ended);
            if let Err(error) = self.write() {
                tracing::warn!(error = format!("{error:#}"), "addresses not written");
            }
        }
    }
}

/// The member of the file with the base URL that `variable` holds.
pub(super) fn url_name(variable: &str) -> String {
    variable.to_lowercase()
}

/// Writes a file atomically, readable by its owner only.
fn write_private(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let _ = std::fs::remove_file(&temporary);
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(|| format!("creating {}", temporary.display()))?;
    file.write_all(contents)?;
    std::fs::rename(&temporary, path).with_context(|| format!("writing {}", path.display()))
}
