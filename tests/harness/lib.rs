//! Runs the `switchboard` command as its users do, and talks to it through its public interfaces.
//!
//! Start with [`shared`], the stack that most tests use. Every process that is started here runs under
//! `switchboard guard`, so it ends with the test process, even if that is killed.

mod clients;
mod command;
mod emulator;
mod gate;
mod processes;
mod words;

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
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use self::{
    clients::{client, playht_python},
    command::{switchboard, workspace},
    gate::{Gate, Passage},
    processes::{alive_on, kill, signal},
    words::{heard_twice, texts, word_errors},
};

/// Time limit of a start: a cold one compiles and downloads.
const START: Duration = Duration::from_mins(15);
/// Time limit of a call. The longest takes a minute on a machine that does nothing else.
const CALL: Duration = Duration::from_mins(4);
/// Time limit from the request to the carrier's call.
const START_OF_A_CALL: Duration = Duration::from_mins(1);
/// Time limit from the end of a call to its recording.
const RECORDING: Duration = Duration::from_mins(1);
/// Interval between two polls.
const LOOK: Duration = Duration::from_millis(100);

/// A media worker as `local.json` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// Its process id.
    pub pid: u32,
    /// The calls it holds.
    pub streams: u64,
}

/// A running system with its own state.
#[derive(Debug)]
pub struct Stack {
    /// The content of `local.json`.
    pub addresses: Value,
    http: reqwest::Client,
    guard: Child,
    state: TempDir,
}

/// A response of the API.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; null if it is not JSON.
    pub body: Value,
}

/// An agent that answers the questions of the sandbox's callers and hangs up after saying goodbye.
pub fn baker() -> Value {
    json!({
        "initial_message":
            "Hello, this is Ada from the corner bakery. Your cake is ready. Do you have any questions?",
        "prompt": "You are Ada, who works at the corner bakery.",
        "language_model": {
            "provider": "openai",
            "model": "gpt-6-luna",
            "tools": [{ "type": "function", "function": { "name": "end_call" } }],
        },
        "hooks": [{ "events": ["function_call:triggered"], "instructions": [{ "instruction": "hang_up" }] }],
    })
}

/// The stack that tests share. The first test starts it.
///
/// # Panics
/// The stack does not start; its output says why.
pub fn shared() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| Stack::start().expect("the local stack starts"))
}

/// A second stack, whose workers may be killed. One test at a time holds it.
///
/// # Panics
/// The stack does not start; its output says why.
pub async fn restless() -> MutexGuard<'static, Stack> {
    static STACK: OnceLock<Mutex<Stack>> = OnceLock::new();
    STACK.get_or_init(|| Mutex::new(Stack::start().expect("the local stack starts"))).lock().await
}

/// Keeps tests that load the machine apart from tests with real-time speech. A test that loads it takes the lock
/// before it starts a stack of its own and keeps it to the end: its tail disturbs speech, too.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// For a test with real-time speech: no test loads the machine while the guard is held.
pub async fn share_machine() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// The same for a test without a runtime.
pub fn share_machine_blocking() -> RwLockReadGuard<'static, ()> {
    MACHINE.blocking_read()
}

/// For a test that loads the machine: no test with speech runs while the guard is held.
pub async fn own_machine() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

/// The same for a test without a runtime.
pub fn own_machine_blocking() -> RwLockWriteGuard<'static, ()> {
    MACHINE.blocking_write()
}

impl Stack {
    /// Starts `switchboard serve` on a state directory of its own, and waits until it is ready.
    ///
    /// # Errors
    /// It ended, or was not ready in time.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// The same with further variables in its environment.
    fn start_with(variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        // Inside target/, since the shared stack's is never dropped.
        static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
        let directory = DIRECTORY.get_or_init(|| {
            let directory = workspace().join("target/acceptance");
            tidy(&directory);
            directory
        });
        fs::create_dir_all(directory)?;
        let state = tempfile::tempdir_in(directory)?;
        let mut command = switchboard(&["guard", "--lock"]);
        command
            .arg(state.path().join("test.lock"))
            .arg("--")
            .arg(switchboard(&[]).get_program())
            .arg("--state")
            .arg(state.path());
        command.envs(variables.iter().copied());
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

    /// A conversation as the API shows it.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn conversation(&self, id: &str) -> anyhow::Result<Value> {
        Ok(self.send(Method::GET, &format!("/conversations/{id}"), None).await?.body)
    }

    /// Waits until a conversation is over, and gives it as the API shows it.
    ///
    /// # Errors
    /// It is not over in the time of the longest call.
    pub async fn ended(&self, id: &str) -> anyhow::Result<Value> {
        self.ended_within(id, CALL).await
    }

    /// The same with another time limit.
    ///
    /// # Errors
    /// It is not over in time.
    pub async fn ended_within(&self, id: &str, limit: Duration) -> anyhow::Result<Value> {
        let over = async |stack: &Self| {
            let conversation = stack.conversation(id).await?;
            Ok((conversation["status"] == "ended").then_some(conversation))
        };
        self.wait(limit, "the conversation is not over", over).await
    }

    /// Polls until `look` returns a value.
    ///
    /// # Errors
    /// The time limit passed (`missing` names the value in the error), or `look` failed.
    pub async fn wait<T>(
        &self,
        limit: Duration,
        missing: &str,
        look: impl AsyncFn(&Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let asked = Instant::now();
        loop {
            if let Some(seen) = look(self).await? {
                return Ok(seen);
            }
            if asked.elapsed() > limit {
                bail!("{missing} after {limit:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The recording of an ended conversation, as a WAV file.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn recording(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        let link = async |stack: &Self| {
            let answer = stack.send(Method::GET, &format!("/conversations/{id}/recording"), None).await?;
            Ok(answer.body["recording_url"].as_str().map(str::to_owned))
        };
        let link = self.wait(RECORDING, "there is no recording", link).await?;
        Ok(self.http.get(link).send().await?.error_for_status()?.bytes().await?.to_vec())
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
        let mut calls = self.all_carrier_calls().await?;
        calls.retain(|call| call["to"] == to);
        Ok(calls)
    }

    /// All of the sandbox's calls, oldest first.
    ///
    /// # Errors
    /// The sandbox does not answer.
    pub async fn all_carrier_calls(&self) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/sandbox/calls", self.address("twilio_api_url"));
        let answer: Value = self.http.get(url).send().await?.json().await?;
        Ok(answer["calls"].as_array().context("no calls")?.clone())
    }
}

impl Stack {
    /// The sandbox's one call to a number.
    ///
    /// # Errors
    /// There are several, or none in time.
    pub async fn carrier_call(&self, to: &str) -> anyhow::Result<Value> {
        let one = async |stack: &Self| Ok(stack.carrier_calls(to).await?.pop());
        let call = self.wait(START_OF_A_CALL, "the carrier has no such call", one).await?;
        if self.carrier_calls(to).await?.len() > 1 {
            bail!("{to} was dialled more than once");
        }
        Ok(call)
    }

    /// The sandbox's only call to a number, once it has ended.
    ///
    /// # Errors
    /// There are several, or it is not over in time.
    pub async fn settled_call(&self, to: &str) -> anyhow::Result<Value> {
        let settled = async |stack: &Self| {
            Ok(Some(stack.carrier_call(to).await?).filter(|call| call["settled"] == true))
        };
        self.wait(CALL, "the carrier's call is not over", settled).await
    }

    /// The media workers that run now, those that hold most calls first.
    ///
    /// # Errors
    /// `local.json` cannot be read.
    pub fn workers(&self) -> anyhow::Result<Vec<Worker>> {
        let addresses: Value = serde_json::from_slice(&fs::read(self.state().join("local.json"))?)?;
        let workers = addresses["media_workers"].as_array().context("no media_workers")?.iter();
        let worker = |worker: &Value| {
            let pid = u32::try_from(worker["pid"].as_u64()?).ok()?;
            Some(Worker { pid, streams: worker["streams"].as_u64()? })
        };
        let mut workers: Vec<_> = workers.map(worker).collect::<Option<_>>().context("not a worker")?;
        workers.sort_by_key(|worker| std::cmp::Reverse(worker.streams));
        Ok(workers)
    }

    /// Whether a worker ended this conversation itself.
    ///
    /// # Errors
    /// The logs cannot be read.
    pub fn was_held_to_its_end(&self, id: &str) -> anyhow::Result<bool> {
        for log in fs::read_dir(self.state().join("logs"))? {
            let log = log?.path();
            let is_workers = log.file_name().is_some_and(|name| name.to_string_lossy().starts_with("media"));
            let ended = |line: &str| {
                let line: Value = serde_json::from_str(line).unwrap_or_default();
                line["span"]["conversation_id"] == id && line["fields"]["outcome"] == "ended"
            };
            if is_workers && fs::read_to_string(log)?.lines().any(ended) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The exit code of a media worker, or 128 plus the number of the signal that ended it; none while it
    /// runs.
    ///
    /// # Errors
    /// `local.json` cannot be read.
    pub fn exit_code(&self, worker: u32) -> anyhow::Result<Option<i32>> {
        let addresses: Value = serde_json::from_slice(&fs::read(self.state().join("local.json"))?)?;
        let ended = addresses["ended_media_workers"].as_array().context("no ended_media_workers")?;
        let ended = ended.iter().rfind(|ended| ended["pid"] == worker);
        Ok(ended.and_then(|ended| i32::try_from(ended["exit_code"].as_i64()?).ok()))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // The guard ends everything below it once its stdin is closed.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Removes the state of earlier runs, of which some is never dropped: a gigabyte each.
fn tidy(directory: &Path) {
    for state in fs::read_dir(directory).into_iter().flatten().flatten() {
        // The guards of a run that goes on hold it.
        let lock = fs::File::open(state.path().join("test.lock"));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(state.path());
        }
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
