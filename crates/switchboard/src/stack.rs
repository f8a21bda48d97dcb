//! The whole system on one machine: what is started, in which order, and how it ends.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use switchboard_sandbox::{Engines, Sandbox};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::balancer::{Balancer, Pool, Worker};
use crate::deployment::{self, Deployment, Plan};
use crate::emulator::{self, Emulator};
use crate::environment::{Environment, Python};
use crate::functions::{self, Executables, MEDIA};
use crate::load::{Cores, Setup};
use crate::processes::{self, Child, Directories, Program};
use crate::progress::Progress;
use crate::providers::{self, Providers};
use crate::proxy::Proxy;
use crate::requirements::{self, SystemPython};
use crate::seed;
use crate::system::System;
use crate::workers::{Recipe, Workers};

/// Where the API is served unless `--port` says otherwise.
const API_PORT: u16 = 8787;

/// Calls at the same time, unless a load is to be more: nobody else uses this machine.
const LIVE_CALLS: u32 = 100;

/// Two models are loaded, on a machine that may compile at the same time.
const SPEECH_TIMEOUT: Duration = Duration::from_secs(90);

/// How long what an earlier run left behind may take to end.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the addresses are written, inside the state directory.
const ADDRESSES_FILE: &str = "local.json";

/// What to start.
pub(crate) struct Options {
    /// The state directory; none: `.switchboard` in the workspace root.
    pub(crate) state: Option<PathBuf>,
    /// The API's port; none: 8787 or the next free one.
    pub(crate) port: Option<u16>,
    /// What the environment gives.
    pub(crate) system: System,
    /// Canned speech for many calls, instead of the speech service.
    pub(crate) load: Option<Setup>,
}

/// Everything was checked, nothing is built or fetched yet.
pub(crate) struct Checked {
    system: System,
    directories: Directories,
    workspace: PathBuf,
    python: SystemPython,
    environment: Environment,
    listener: TcpListener,
    load: Option<Setup>,
}

/// A state directory that belongs to this process, as long as this lives.
pub(crate) struct State {
    /// Its parts.
    pub(crate) directories: Directories,
    _lock: File,
}

/// A running system.
pub(crate) struct Stack {
    /// How to reach it, as in `local.json`.
    pub(crate) addresses: Addresses,
    /// The media workers that run now.
    pub(crate) pool: Pool,
    /// What runs.
    pub(crate) parts: Parts,
    file: PathBuf,
    /// Keeps the file up to date.
    writer: JoinSet<()>,
}

/// The running parts.
pub(crate) struct Parts {
    proxy: Proxy,
    balancer: Balancer,
    workers: Workers,
    sandbox: Sandbox,
    emulator: Emulator,
    /// None under load.
    speech: Option<Child>,
}

/// How to reach a running system; `<state>/local.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) api_url: String,
    pub(crate) token: String,
    pub(crate) account_id: String,
    pub(crate) from_number: String,
    pub(crate) webhook_secret: String,
    pub(crate) console_url: Option<String>,
    pub(crate) emulator_url: String,
    /// The service that hears and speaks for the sandbox; empty under load.
    pub(crate) speech_url: String,
    pub(crate) twilio_api_url: String,
    pub(crate) deepgram_api_url: String,
    pub(crate) openai_api_url: String,
    pub(crate) media_url: String,
    /// Those behind `media_url` that run at the time of writing.
    pub(crate) media_workers: Vec<Worker>,
    pub(crate) table_name: String,
    pub(crate) bucket_name: String,
    /// An account at the carrier that stands for a customer's own, with a number to import.
    pub(crate) customers_carrier: CarrierHint,
    /// Process id of `switchboard`.
    pub(crate) pid: u32,
    /// The state directory.
    #[serde(skip)]
    pub(crate) state: PathBuf,
}

/// Checks everything that can be checked before something is built or fetched.
///
/// # Errors
///
/// Each saying what to do next.
pub(crate) async fn check(options: Options, progress: &Progress) -> anyhow::Result<(State, Checked)> {
    let workspace = requirements::workspace()?;
    let state = options.state.unwrap_or_else(|| workspace.join(".switchboard"));
    let logs = state.join("logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
    let state = state.canonicalize()?;
    let directories = Directories { state };
    let python = requirements::python().await?;
    let environment = Environment::of(&workspace, &python);
    requirements::disk(&workspace, environment.is_complete())?;
    requirements::disk(&directories.state, true)?;
    let lock = lock(&directories, progress).await?;
    let listener = requirements::listen(options.port, API_PORT).await?;
    let state = State { directories: directories.clone(), _lock: lock };
    let Options { system, load, .. } = options;
    Ok((state, Checked { system, directories, workspace, python, environment, listener, load }))
}

/// Takes the state directory for this process alone.
async fn lock(directories: &Directories, progress: &Progress) -> anyhow::Result<File> {
    let path = directories.state.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    if file.try_lock().is_err() {
        let mut owner = String::new();
        file.read_to_string(&mut owner)?;
        bail!(
            "another switchboard (process {}) is running on {}. Stop it (Ctrl-C where it runs), or use \
             another directory with `--state DIR`.",
            owner.trim(),
            directories.state.display()
        );
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    // Of a run that was killed; whoever waits for the file shall see this run's.
    let _ = std::fs::remove_file(directories.state.join(ADDRESSES_FILE));
    if !processes::all_gone(directories, Duration::ZERO).await? {
        let step = progress.step("waiting for what an earlier run left behind to end");
        if !processes::all_gone(directories, LEFTOVERS_TIMEOUT).await? {
            bail!(
                "processes of an earlier run still hold {}; find them with `fuser {}` and end them.",
                directories.guards_lock().display(),
                directories.guards_lock().display()
            );
        }
        step.done("");
    }
    Ok(file)
}

/// Waits until no child of this run is left, for those that were told to end but not waited for.
pub(crate) async fn settle(directories: &Directories) -> anyhow::Result<()> {
    if !processes::all_gone(directories, LEFTOVERS_TIMEOUT).await? {
        bail!("some processes did not end; see `fuser {}`", directories.guards_lock().display());
    }
    Ok(())
}

impl Stack {
    /// Builds, fetches and starts everything; returns when a call can be placed.
    ///
    /// # Errors
    ///
    /// Whatever went wrong first. Everything started until then is told to end.
    pub(crate) async fn start(checked: Checked, progress: &Progress) -> anyhow::Result<Self> {
        let Checked { system, directories, workspace, python, environment, listener, load } = checked;
        empty(&directories.temporary())?;
        let children = async {
            let python = environment.prepare(&directories, &python, progress).await?;
            let speech = async {
                match load {
                    Some(_) => Ok(None),
                    None => start_speech(&directories, &system, &python, progress).await.map(Some),
                }
            };
            let (speech, emulator) =
                tokio::try_join!(speech, start_emulator(&directories, &system, &python, progress))?;
            Ok((python, speech, emulator))
        };
        let build = functions::build(&directories, &workspace, progress);
        let ((python, speech, emulator), executables) = tokio::try_join!(children, build)?;
        let (speech, speech_url) = speech.unzip();
        let engines = match (&load, speech_url.clone()) {
            (Some(setup), _) => Engines::Canned(setup.load.clone()),
            (None, url) => Engines::Offline(url.unwrap_or_default()),
        };

        let sandbox = Sandbox::start(providers::sandbox_config(engines)).await?;
        let providers = Providers::of(&sandbox, &system);
        let api_url = format!("http://{}", listener.local_addr()?);
        let media_listener = TcpListener::bind("127.0.0.1:0").await.context("a port for media")?;
        // One worker alone needs no balancer before it.
        let listen = match load {
            Some(_) => Some(SocketAddr::from(([127, 0, 0, 1], emulator::free_port().await?))),
            None => None,
        };
        let media_url = format!("ws://{}/media", listen.map_or_else(|| media_listener.local_addr(), Ok)?);
        let plan = Plan {
            workspace: &workspace,
            public_url: &api_url,
            media_url: &media_url,
            providers: &providers,
            executables: &executables,
        };
        let deployment =
            deployment::deploy(&directories, &system, &python, &emulator, &plan, progress).await?;
        let table_name = deployment.outputs.table_name.clone();
        let mut recipe = media_recipe(&directories, &emulator.url, &deployment, &providers, &executables)?;
        let calls = load.as_ref().map_or(LIVE_CALLS, |setup| setup.calls.max(LIVE_CALLS));
        if load.is_some() {
            recipe.alone(calls, listen, Cores::divide());
        }
        let pool = Pool::new();
        let (workers, seeded) = tokio::try_join!(
            Workers::start(recipe, &pool, progress),
            seed::seed(&emulator.url, &table_name, &api_url, &sandbox, calls)
        )?;
        let balancer = Balancer::start(media_listener, pool.clone())?;
        let proxy = Proxy::start(listener, &emulator.url, &deployment.api_prefix)?;

        let addresses = Addresses {
            api_url,
            token: seeded.token,
            account_id: seeded.account_id,
            from_number: seeded.from_number,
            webhook_secret: seeded.webhook_secret,
            console_url: None,
            emulator_url: emulator.url.clone(),
            speech_url: speech_url.unwrap_or_default(),
            twilio_api_url: providers.twilio_url,
            deepgram_api_url: providers.deepgram_url,
            openai_api_url: providers.openai_url,
            media_url,
            media_workers: pool.workers(),
            table_name,
            bucket_name: deployment.outputs.bucket_name.clone(),
            customers_carrier: CarrierHint {
                phone_number: switchboard_sandbox::CUSTOMER_NUMBER.to_owned(),
                account_sid: switchboard_sandbox::CUSTOMER_ACCOUNT_SID.to_owned(),
                auth_token: switchboard_sandbox::CUSTOMER_AUTH_TOKEN.to_owned(),
            },
            pid: std::process::id(),
            state: directories.state.clone(),
        };
        let file = directories.state.join(ADDRESSES_FILE);
        write_private(&file, &serde_json::to_vec_pretty(&addresses)?)?;
        let mut writer = JoinSet::new();
        writer.spawn(keep_up_to_date(file.clone(), addresses.clone(), pool.clone()));
        let parts = Parts { proxy, balancer, workers, sandbox, emulator, speech };
        Ok(Self { addresses, pool, parts, file, writer })
    }

    /// Stops everything, what others depend on last.
    ///
    /// # Errors
    ///
    /// If something does not end; everything else is stopped nevertheless.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.writer.shutdown().await;
        let _ = std::fs::remove_file(&self.file);
        let Parts { proxy, balancer, workers, sandbox, emulator, speech } = self.parts;
        // First, while everything that a call's end needs is still there.
        let media = workers.stop().await;
        drop(balancer);
        let speech = async {
            match speech {
                Some(speech) => speech.stop().await.map(drop),
                None => Ok(()),
            }
        };
        let (emulator, speech, (), ()) =
            tokio::join!(emulator.child.stop(), speech, sandbox.stop(), proxy.stop());
        media.and(emulator.map(drop)).and(speech)
    }
}

/// What `POST /phone_numbers/import` takes. Not secrets: they open nothing but a loopback server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CarrierHint {
    pub(crate) phone_number: String,
    pub(crate) account_sid: String,
    pub(crate) auth_token: String,
}

impl Addresses {
    /// Those of the system that runs on a state directory, if one does.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub(crate) fn of_running(state: &Path) -> anyhow::Result<Option<Self>> {
        let file = state.join(ADDRESSES_FILE);
        let text = match std::fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("reading {}", file.display()))?,
        };
        let addresses: Self = serde_json::from_slice(&text).with_context(|| {
            format!("{} is of another version of switchboard; start that again", file.display())
        })?;
        // Who was killed leaves the file behind.
        let pid = i32::try_from(addresses.pid).ok().and_then(Pid::from_raw);
        let runs = pid.is_some_and(|pid| test_kill_process(pid).is_ok());
        Ok(runs.then(|| Self { state: state.to_owned(), ..addresses }))
    }
}

impl Parts {
    /// Waits until one of the children ends that none should replace; says which, with the end of its log.
    pub(crate) async fn failure(&mut self) -> String {
        tokio::select! {
            death = self.emulator.child.death() => death,
            death = death(&mut self.speech) => death,
        }
    }
}

/// How a child died; never, if there is none.
async fn death(child: &mut Option<Child>) -> String {
    match child {
        Some(child) => child.death().await,
        None => std::future::pending().await,
    }
}

async fn start_speech(
    directories: &Directories,
    system: &System,
    python: &Python,
    progress: &Progress,
) -> anyhow::Result<(Child, String)> {
    let step = progress.step("loading the offline speech engines");
    let program = directories.state.join("speech_service.py");
    std::fs::write(&program, switchboard_sandbox::speech::SPEECH_SERVICE)?;
    let mut child = Child::start(
        directories,
        Program {
            name: "speech".to_owned(),
            executable: python.executable.clone(),
            arguments: vec![program.into()],
            environment: vec![
                ("PATH".to_owned(), system.path.clone()),
                ("HOME".to_owned(), system.home.clone()),
                ("TMPDIR".to_owned(), directories.temporary().into()),
                ("PYTHONUNBUFFERED".to_owned(), "1".into()),
            ],
        },
    )?;
    let log = child.log().to_owned();
    let url = child.ready(SPEECH_TIMEOUT, || async { announced_url(&log) }).await?;
    step.done("");
    Ok((child, url))
}

/// Finds the line `{"url": "..."}` that the service prints when it is ready.
fn announced_url(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    text.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(line.get("url")?.as_str()?.to_owned())
    })
}

async fn start_emulator(
    directories: &Directories,
    system: &System,
    python: &Python,
    progress: &Progress,
) -> anyhow::Result<Emulator> {
    let step = progress.step("starting the AWS emulator");
    let emulator = Emulator::start(directories, system, python).await?;
    step.done("");
    Ok(emulator)
}

fn media_recipe(
    directories: &Directories,
    emulator_url: &str,
    deployment: &Deployment,
    providers: &Providers,
    executables: &Executables,
) -> anyhow::Result<Recipe> {
    let mut environment = emulator::aws_environment(emulator_url);
    environment.extend(
        [
            ("TABLE_NAME", &*deployment.outputs.table_name),
            ("RECORDINGS_BUCKET", &deployment.outputs.bucket_name),
            ("PROVIDER_KEYS_SECRET", deployment::SECRET),
            ("SEALING_KEY_ID", &deployment.outputs.sealing_key_id),
            ("TWILIO_API_URL", &providers.twilio_url),
            ("OPENAI_API_URL", &providers.openai_url),
            ("DEEPGRAM_API_URL", &providers.deepgram_url),
            ("ALLOW_HTTP_WEBHOOKS", "true"),
            ("RUST_LOG", "info"),
            ("RUST_BACKTRACE", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.into())),
    );
    let executable = executables.get(MEDIA).context("no media worker was built")?.clone();
    Ok(Recipe::new(directories.clone(), executable, environment))
}

/// Writes the addresses anew whenever the workers change.
async fn keep_up_to_date(file: PathBuf, mut addresses: Addresses, pool: Pool) {
    let mut changes = pool.watch();
    // Whatever changed before this began is written, too.
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        addresses.media_workers.clone_from(&changes.borrow_and_update());
        let written = serde_json::to_vec_pretty(&addresses)
            .map_err(anyhow::Error::from)
            .and_then(|text| write_private(&file, &text));
        if let Err(error) = written {
            tracing::warn!(error = format!("{error:#}"), "the addresses were not written");
        }
    }
}

/// Empties a directory, or makes it.
fn empty(directory: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("emptying {}", directory.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))
}

/// Writes a file that only its owner can read, all at once.
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
