//! Runs the `switchboard` command as its users do, and talks to it through its front doors.
//!
//! Start with [`shared`]: the one stack that most promises are proved against. Whatever is started
//! here ends with the test process, also when that is killed: it runs under `switchboard guard`.

mod command;
mod processes;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::{
    command::{switchboard, workspace},
    processes::alive_on,
};

/// A cold start builds and fetches.
const START: Duration = Duration::from_mins(15);
/// The longest call of a test.
const CALL: Duration = Duration::from_mins(2);
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(100);

/// A running system with its own state.
#[derive(Debug)]
pub struct Stack {
    /// What `local.json` says.
    pub addresses: Value,
    http: reqwest::Client,
    guard: Child,
    state: TempDir,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; null if it is not JSON.
    pub body: Value,
}

/// The stack that tests share; started by the first of them.
///
/// # Panics
/// The stack does not start; its output says why.
pub fn shared() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| Stack::start().expect("the local stack starts"))
}

impl Stack {
    /// Starts `switchboard serve` on a state directory of its own, and waits until it is ready.
    ///
    /// # Errors
    /// It ended, or was not ready in time.
    pub fn start() -> anyhow::Result<Self> {
        // Inside target/, since the shared stack's is never dropped.
        let directory = workspace().join("target/acceptance");
        fs::create_dir_all(&directory)?;
        let state = tempfile::tempdir_in(directory)?;
        let mut command = switchboard(&["guard", "--lock"]);
        command
            .arg(state.path().join("test.lock"))
            .arg("--")
            .arg(switchboard(&[]).get_program())
            .arg("--state")
            .arg(state.path());
        let mut guard = command.stdin(Stdio::piped()).spawn().context("starting switchboard")?;
        let addresses = ready(&mut guard, state.path())?;
        // Only fails if there is one already, which is then just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Every test has a runtime of its own, and a connection lives in the one it was opened in.
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { addresses, http, guard, state })
    }

    /// The process id of `switchboard` itself.
    pub fn pid(&self) -> u32 {
        self.addresses["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default()
    }

    /// Where it keeps its state.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// One of the addresses.
    pub fn address(&self, name: &str) -> &str {
        self.addresses[name].as_str().unwrap_or_default()
    }

    /// Sends a request with the stack's token.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        self.send_as(self.address("token"), method, path, body).await
    }

    /// Sends a request with another token.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn send_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Answer> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.address("api_url"))).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        Ok(Answer { status, body: serde_json::from_slice(&response.bytes().await?).unwrap_or_default() })
    }

    /// Asks for a call to `to`; the new conversation's id.
    ///
    /// # Errors
    /// The API refuses.
    pub async fn call(&self, to: &str, agent: Value) -> anyhow::Result<String> {
        let body =
            json!({ "from_number": self.address("from_number"), "to_number": to, "agent_config": agent });
        let answer = self.send(Method::POST, "/conversations/create_phone_call", Some(body)).await?;
        if answer.status != StatusCode::OK {
            bail!("{}: {}", answer.status, answer.body);
        }
        Ok(answer.body["id"].as_str().context("no id")?.to_owned())
    }

    /// Waits until a conversation is over, and gives it as the API shows it.
    ///
    /// # Errors
    /// It is not over in time.
    pub async fn ended(&self, id: &str) -> anyhow::Result<Value> {
        let asked = Instant::now();
        loop {
            let conversation = self.send(Method::GET, &format!("/conversations/{id}"), None).await?.body;
            if conversation["status"] == "ended" {
                return Ok(conversation);
            }
            if asked.elapsed() > CALL {
                bail!("still {} after {CALL:?}", conversation["status"]);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The event log of a conversation, oldest first.
    ///
    /// # Errors
    /// The API does not give it.
    pub async fn events(&self, id: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.send(Method::GET, &format!("/conversations/{id}/events"), None).await?;
        answer.body["items"].as_array().cloned().context("no items")
    }

    /// The names of a conversation's events, oldest first.
    ///
    /// # Errors
    /// The API does not give them.
    pub async fn event_names(&self, id: &str) -> anyhow::Result<Vec<String>> {
        let events = self.events(id).await?;
        Ok(events.iter().filter_map(|event| event["event"].as_str()).map(str::to_owned).collect())
    }

    /// The sandbox's calls to a number, oldest first.
    ///
    /// # Errors
    /// The sandbox does not answer.
    pub async fn carrier_calls(&self, to: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/sandbox/calls", self.address("twilio_api_url"));
        let answer: Value = self.http.get(url).send().await?.json().await?;
        let calls = answer["calls"].as_array().context("no calls")?;
        Ok(calls.iter().filter(|call| call["to"] == to).cloned().collect())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // The guard ends everything below it once its stdin is closed.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Waits for `local.json`, which is written when a call can be placed.
fn ready(guard: &mut Child, state: &Path) -> anyhow::Result<Value> {
    let asked = Instant::now();
    let path: PathBuf = state.join("local.json");
    loop {
        if let Ok(addresses) = fs::read(&path) {
            return Ok(serde_json::from_slice(&addresses)?);
        }
        if let Some(status) = guard.try_wait()? {
            bail!("switchboard ended with {status}");
        }
        if asked.elapsed() > START {
            bail!("switchboard was not ready after {START:?}");
        }
        std::thread::sleep(LOOK);
    }
}
