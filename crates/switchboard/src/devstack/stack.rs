//! Starts the parts of the local stack in their order, and stops them.
//!
//! [`check`] looks before anything is built or fetched, [`Stack::start`] returns when a call can be placed, and
//! [`Stack::stop`] ends every process. A second stack on the same state directory is refused.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use switchboard_sandbox::{Engines, Load, Sandbox};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::addresses::{self, Addresses, CustomerCarrier};
use super::balancer::{Balancer, Pool};
use super::build::{self, Executables, MEDIA};
use super::checks::{self, SystemPython};
use super::children::{self, Child, Program, StateDirectory};
use super::cores::Cores;
use super::deployment::{self, DeployedStack, DeploymentInput};
use super::emulator::{self, Emulator};
use super::fast_table::{Counts, FastTable};
use super::host_environment::HostEnvironment;
use super::providers::ProviderEndpoints;
use super::proxy::Proxy;
use super::python_environment::{Python, PythonEnvironment};
use super::seed::{self, SeedCarrier};
use super::workers::{WorkerTemplate, Workers};
use crate::progress::Progress;

/// The API's port unless `--port` names one.
const API_PORT: u16 = 8787;

/// Concurrent calls of the account, unless a load test needs more: the machine has one user.
const LIVE_CALLS: u32 = 100;

/// Limit for the start of the speech service, which loads two models while cargo may compile.
const SPEECH_TIMEOUT: Duration = Duration::from_secs(90);

/// Limit for the processes of an earlier run to end.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(10);

/// How to start a stack.
pub(crate) struct StackOptions {
    /// The state directory; `None`: `.switchboard` in the checkout.
    pub(crate) state: Option<PathBuf>,
    /// The API's port; `None`: 8787 or the next free one.
    pub(crate) port: Option<u16>,
    /// The variables of the calling environment.
    pub(crate) host: HostEnvironment,
    /// Canned speech for a load test, in place of the speech service.
    pub(crate) load: Option<LoadSetup>,
}

/// A load test's demands on the stack.
#[derive(Clone)]
pub(crate) struct LoadSetup {
    /// Concurrent calls.
    pub(crate) calls: u32,
    /// The canned providers and callers, shared with the sandbox.
    pub(crate) load: Arc<Load>,
    /// The units of the worker's requests to the table.
    pub(crate) counts: Counts,
}

/// A stack whose requirements are met. Nothing is built or fetched yet.
pub(crate) struct PreparedStack {
    host: HostEnvironment,
    directories: StateDirectory,
    workspace: PathBuf,
    python: SystemPython,
    environment: PythonEnvironment,
    listener: TcpListener,
    load: Option<LoadSetup>,
}

/// Exclusive ownership of a state directory while it lives.
pub(crate) struct StateLock {
    /// The directory's paths.
    pub(crate) directories: StateDirectory,
    _lock: File,
}

/// A running stack.
pub(crate) struct Stack {
    /// How to reach it, as `local.json` has it.
    pub(crate) addresses: Addresses,
    /// Its media workers.
    pub(crate) pool: Pool,
    /// Its processes and servers.
    pub(crate) parts: RunningParts,
    /// Keeps `local.json` up to date.
    writer: JoinSet<()>,
}

/// The processes and servers of a running stack.
pub(crate) struct RunningParts {
    proxy: Proxy,
    balancer: Balancer,
    workers: Workers,
    sandbox: Sandbox,
    emulator: Emulator,
    /// Absent under load.
    speech: Option<Child>,
    /// The worker's table under load.
    table: Option<FastTable>,
}

/// Checks the machine, and takes the state directory and the API's port.
///
/// # Errors
///
/// A requirement is not met; the error says what to do next.
pub(crate) async fn check(
    options: StackOptions,
    progress: &Progress,
) -> anyhow::Result<(StateLock, PreparedStack)> {
    let workspace = checks::workspace()?;
    let state = options.state.unwrap_or_else(|| workspace.join(".switchboard"));
    let logs = state.join("logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
    let state = state.canonicalize()?;
    let directories = StateDirectory { state };
    let python = checks::python().await?;
    let environment = PythonEnvironment::of(&workspace, &python);
    checks::disk(&workspace, environment.is_complete())?;
    checks::disk(&directories.state, true)?;
    let lock = lock(&directories, progress).await?;
    let listener = checks::listen(options.port, API_PORT).await?;
    let state = StateLock { directories: directories.clone(), _lock: lock };
    let StackOptions { host, load, .. } = options;
    Ok((state, PreparedStack { host, directories, workspace, python, environment, listener, load }))
}

/// Locks the state directory for this process.
async fn lock(directories: &StateDirectory, progress: &Progress) -> anyhow::Result<File> {
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
    // A run that was killed left its file behind; readers must wait for the one of this run.
    let _ = std::fs::remove_file(directories.state.join(addresses::FILE));
    if !children::wait_for_guards(directories, Duration::ZERO).await? {
        let step = progress.step("waiting for the processes of an earlier run to end");
        if !children::wait_for_guards(directories, LEFTOVERS_TIMEOUT).await? {
            bail!(
                "processes of an earlier run still hold {}. Find them with `fuser {}`, end them, then run this again.",
                directories.guards_lock().display(),
                directories.guards_lock().display()
            );
        }
        step.done("");
    }
    Ok(file)
}

/// Waits until no child of this run is left, also those that were stopped without waiting.
pub(crate) async fn settle(directories: &StateDirectory) -> anyhow::Result<()> {
    if !children::wait_for_guards(directories, LEFTOVERS_TIMEOUT).await? {
        bail!(
            "some processes did not end. Find them with `fuser {}` and end them.",
            directories.guards_lock().display()
        );
    }
    Ok(())
}

impl Stack {
    /// Builds, fetches and starts every part; returns when a call can be placed.
    ///
    /// # Errors
    ///
    /// The first error of any part. The parts that were already started are told to end.
    pub(crate) async fn start(checked: PreparedStack, progress: &Progress) -> anyhow::Result<Self> {
        let PreparedStack { host, directories, workspace, python, environment, listener, load } = checked;
        empty(&directories.temporary())?;
        let children = async {
            let python = environment.prepare(&directories, &python, progress).await?;
            let speech = async {
                match load {
                    Some(_) => Ok(None),
                    None => start_speech(&directories, &host, &python, progress).await.map(Some),
                }
            };
            let (speech, emulator) =
                tokio::try_join!(speech, start_emulator(&directories, &host, &python, progress))?;
            Ok((python, speech, emulator))
        };
        let build = build::build(&directories, &workspace, progress);
        let ((python, speech, emulator), executables) = tokio::try_join!(children, build)?;
        let (speech, speech_url) = speech.unzip();
        let engines = match (&load, speech_url.clone()) {
            (Some(setup), _) => Engines::Canned(setup.load.clone()),
            (None, url) => Engines::Offline(url.unwrap_or_default()),
        };

        let sandbox = Sandbox::start(engines).await?;
        let providers = ProviderEndpoints::new(&sandbox.vendors, &host)?;
        for line in providers.describe() {
            progress.say(&format!("          {line}"));
        }
        let api_url = format!("http://{}", listener.local_addr()?);
        let media_listener = TcpListener::bind("127.0.0.1:0").await.context("opening a port for media")?;
        // A single worker needs no balancer in front of it.
        let listen = match load {
            Some(_) => Some(SocketAddr::from(([127, 0, 0, 1], emulator::free_port().await?))),
            None => None,
        };
        let media_url = format!("ws://{}/media", listen.map_or_else(|| media_listener.local_addr(), Ok)?);
        let plan = DeploymentInput {
            workspace: &workspace,
            public_url: &api_url,
            media_url: &media_url,
            providers: &providers,
            executables: &executables,
        };
        let deployment = deployment::deploy(&directories, &host, &python, &emulator, &plan, progress).await?;
        let table_name = deployment.outputs.table_name.clone();
        let mut environment = emulator::aws_environment(&emulator.url);
        environment.extend(emulator::storage_environment(&host));
        let settings = (&providers, &*media_url, &*host.log_filter);
        let mut template = media_template(&directories, environment, &deployment, settings, &executables)?;
        let calls = load.as_ref().map_or(LIVE_CALLS, |setup| setup.calls.max(LIVE_CALLS));
        let mut table = None;
        if let Some(setup) = &load {
            let server = FastTable::start(&emulator.url, setup.counts.clone()).await?;
            template.set("AWS_ENDPOINT_URL_DYNAMODB", &server.url);
            table = Some(server);
            template.single(calls, listen, Cores::divide());
        }
        let pool = Pool::new();
        let carrier = SeedCarrier::of(&providers, &sandbox, &host)?;
        let (workers, seeded) = tokio::try_join!(
            Workers::start(template, &pool, progress),
            seed::seed(&emulator.url, &table_name, &api_url, &carrier, calls)
        )?;
        let balancer = Balancer::start(media_listener, pool.clone())?;
        let proxy = Proxy::start(listener, &emulator.url, &deployment.api_prefix)?;

        let addresses = Addresses {
            api_url,
            token: seeded.token,
            account_id: seeded.account_id,
            from_number: seeded.from_number,
            webhook_secret: seeded.webhook_secret,
            emulator_url: emulator.url.clone(),
            speech_url: speech_url.unwrap_or_default(),
            provider_urls: providers
                .urls
                .into_iter()
                .map(|(variable, url)| (addresses::url_name(variable), url))
                .collect(),
            sources: providers
                .sources
                .into_iter()
                .map(|(provider, source)| (provider.to_owned(), source))
                .collect(),
            media_url,
            media_workers: pool.workers(),
            ended_media_workers: Vec::new(),
            table_name,
            bucket_name: deployment.outputs.bucket_name.clone(),
            customers_carrier: CustomerCarrier {
                phone_number: switchboard_sandbox::CUSTOMER_NUMBER.to_owned(),
                account_sid: switchboard_sandbox::CUSTOMER_ACCOUNT_SID.to_owned(),
                auth_token: switchboard_sandbox::CUSTOMER_AUTH_TOKEN.to_owned(),
            },
            pid: std::process::id(),
            state: directories.state.clone(),
        };
        addresses.write()?;
        let mut writer = JoinSet::new();
        writer.spawn(addresses.clone().keep_up_to_date(pool.clone()));
        let parts = RunningParts { proxy, balancer, workers, sandbox, emulator, speech, table };
        Ok(Self { addresses, pool, parts, writer })
    }

    /// Stops every part, those that others depend on last.
    ///
    /// # Errors
    ///
    /// A part does not end. All others are stopped all the same.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.writer.shutdown().await;
        let _ = std::fs::remove_file(self.addresses.state.join(addresses::FILE));
        let RunningParts { proxy, balancer, workers, sandbox, emulator, speech, table } = self.parts;
        // Workers stop first, while everything that the end of a call needs still runs.
        let media = workers.stop().await;
        drop((balancer, table));
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

impl RunningParts {
    /// Waits until a child ends that nothing restarts; returns its name and the end of its log.
    pub(crate) async fn failure(&mut self) -> String {
        tokio::select! {
            failure = self.emulator.child.unexpected_exit() => failure,
            failure = unexpected_exit(&mut self.speech) => failure,
        }
    }
}

/// Waits for the unexpected end of a child; never returns if there is none.
async fn unexpected_exit(child: &mut Option<Child>) -> String {
    match child {
        Some(child) => child.unexpected_exit().await,
        None => std::future::pending().await,
    }
}

async fn start_speech(
    directories: &StateDirectory,
    host: &HostEnvironment,
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
                ("PATH".to_owned(), host.path.clone()),
                ("HOME".to_owned(), host.home.clone()),
                ("TMPDIR".to_owned(), directories.temporary().into()),
                ("PYTHONUNBUFFERED".to_owned(), "1".into()),
            ],
        },
    )?;
    let log = child.log().to_owned();
    let url = child.wait_until_ready(SPEECH_TIMEOUT, || async { announced_url(&log) }).await?;
    step.done("");
    Ok((child, url))
}

/// Finds the line `{"url": "..."}` that the speech service prints when it is ready.
fn announced_url(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    text.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(line.get("url")?.as_str()?.to_owned())
    })
}

async fn start_emulator(
    directories: &StateDirectory,
    host: &HostEnvironment,
    python: &Python,
    progress: &Progress,
) -> anyhow::Result<Emulator> {
    let step = progress.step("starting the AWS emulator");
    let emulator = Emulator::start(directories, host, python).await?;
    step.done("");
    Ok(emulator)
}

fn media_template(
    directories: &StateDirectory,
    mut environment: Vec<(String, OsString)>,
    deployment: &DeployedStack,
    (providers, media_url, log_filter): (&ProviderEndpoints, &str, &str),
    executables: &Executables,
) -> anyhow::Result<WorkerTemplate> {
    environment.extend(
        [
            ("TABLE_NAME", &*deployment.outputs.table_name),
            ("RECORDINGS_BUCKET", &deployment.outputs.bucket_name),
            ("PROVIDER_KEYS_SECRET", deployment::SECRET),
            ("SEALING_KEY_ID", &deployment.outputs.sealing_key_id),
            ("MEDIA_URL", media_url),
            ("ALLOW_HTTP_WEBHOOKS", "true"),
            ("RUST_LOG", log_filter),
            ("RUST_BACKTRACE", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.into())),
    );
    environment.extend(providers.urls.iter().map(|(variable, url)| ((*variable).to_owned(), url.into())));
    let executable = executables.get(MEDIA).context("cargo built no media worker")?.clone();
    Ok(WorkerTemplate::new(directories.clone(), executable, environment))
}

/// Empties a directory, or creates it.
fn empty(directory: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("emptying {}", directory.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))
}
