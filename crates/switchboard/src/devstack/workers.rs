//! The media workers: two, so that a call can outlive its worker; each is restarted when it ends.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Pid;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::balancer::Pool;
use super::build::MEDIA;
use super::children::{Child, Program, StateDirectory};
use super::cores::Cores;
use super::emulator;
use super::guard;
use crate::progress::Progress;

const WORKERS: usize = 2;

/// Limit for the start of a worker, which only binds a socket and reads a secret.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// The wait before a restart; it doubles with each failed start, up to the second value.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(30);

/// A worker that ran this long did not fail at its start, so the next wait is the shortest again.
const HEALTHY_AFTER: Duration = Duration::from_secs(20);

/// How to start a worker.
#[derive(Clone)]
pub(crate) struct WorkerTemplate {
    /// The state directory, for its log.
    pub(crate) directories: StateDirectory,
    pub(crate) executable: PathBuf,
    /// Its environment without `LISTEN`.
    pub(crate) environment: Vec<(String, OsString)>,
    /// The number of workers.
    count: usize,
    /// The address; `None`: a free port.
    listen: Option<SocketAddr>,
    /// The cores, of which the worker gets one.
    cores: Option<Cores>,
}

/// Running workers. Dropping them tells them to end, without waiting.
pub(crate) struct Workers {
    stopping: CancellationToken,
    supervisors: JoinSet<anyhow::Result<()>>,
}

/// A worker in the pool.
struct RunningWorker {
    child: Child,
    pid: u32,
    pool: Pool,
    since: Instant,
}

impl Workers {
    /// Starts all workers; returns when they are ready and in the pool.
    ///
    /// # Errors
    ///
    /// A worker is not ready in time.
    pub(crate) async fn start(
        template: WorkerTemplate,
        pool: &Pool,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let stopping = CancellationToken::new();
        let mut supervisors = JoinSet::new();
        let mut starting = JoinSet::new();
        for number in 1..=template.count {
            let (template, pool) = (template.clone(), pool.clone());
            starting.spawn(async move { (number, template.start(number, &pool, Child::start).await) });
        }
        while let Some(started) = starting.join_next().await {
            let (number, running) = started?;
            let (template, progress) = (template.clone(), progress.clone());
            supervisors.spawn(supervise(number, running?, template, stopping.clone(), progress));
        }
        Ok(Self { stopping, supervisors })
    }

    /// Ends all workers, and waits for them.
    ///
    /// # Errors
    ///
    /// A worker does not end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stopping.cancel();
        let mut outcome = Ok(());
        while let Some(stopped) = self.supervisors.join_next().await {
            outcome = outcome.and(stopped?);
        }
        outcome
    }
}

/// Restarts a worker whenever it ends, until all are stopped.
async fn supervise(
    number: usize,
    mut running: RunningWorker,
    template: WorkerTemplate,
    stopping: CancellationToken,
    progress: Progress,
) -> anyhow::Result<()> {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let status = tokio::select! {
            biased;
            () = stopping.cancelled() => return running.stop().await,
            status = running.child.exited() => status,
        };
        let pid = running.pid;
        if running.since.elapsed() > HEALTHY_AFTER {
            backoff = FIRST_BACKOFF;
        }
        let code = status.ok().and_then(|status| status.code());
        tracing::info!(pid, code, "media worker ended");
        let how = code.map_or_else(String::new, |code| format!(" (exit code {code})"));
        progress.say(&format!("          media worker {pid} ended{how}; another one starts"));
        let pool = running.pool.clone();
        pool.record_exit(pid, code);
        drop(running);
        running = loop {
            if stopping.run_until_cancelled(sleep(backoff)).await.is_none() {
                return Ok(());
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
            let started = stopping.run_until_cancelled(template.start(number, &pool, Child::restart)).await;
            match started {
                None => return Ok(()),
                Some(Ok(running)) => break running,
                Some(Err(error)) => progress.say(&format!("          media worker not started: {error:#}")),
            }
        };
        progress.say(&format!("          media worker {} is ready", running.pid));
    }
}

impl WorkerTemplate {
    /// The usual number of workers, each on a free port.
    pub(crate) fn new(
        directories: StateDirectory,
        executable: PathBuf,
        environment: Vec<(String, OsString)>,
    ) -> Self {
        Self { directories, executable, environment, count: WORKERS, listen: None, cores: None }
    }

    /// Sets a variable of its environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// A single worker for `calls` concurrent calls, at this address, on a core of its own if there are several.
    pub(crate) fn single(&mut self, calls: u32, listen: Option<SocketAddr>, cores: Option<Cores>) {
        self.environment.push(("MAX_CALLS".to_owned(), calls.to_string().into()));
        (self.count, self.listen, self.cores) = (1, listen, cores);
    }

    /// Starts a worker with `start`, waits until it is ready, and adds it to the pool.
    async fn start(
        &self,
        number: usize,
        pool: &Pool,
        start: impl FnOnce(&StateDirectory, Program) -> anyhow::Result<Child>,
    ) -> anyhow::Result<RunningWorker> {
        let address = match self.listen {
            Some(address) => address.to_string(),
            None => format!("127.0.0.1:{}", emulator::free_port().await?),
        };
        let mut environment = self.environment.clone();
        environment.push(("LISTEN".to_owned(), address.clone().into()));
        let program = Program {
            name: format!("{MEDIA}-{number}"),
            executable: self.executable.clone(),
            arguments: Vec::new(),
            environment,
        };
        let start = || start(&self.directories, program);
        let mut child = match &self.cores {
            Some(cores) => cores.start_worker(start)?,
            None => start()?,
        };
        let url = format!("http://{address}");
        let health = format!("{url}/health");
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build()?;
        child
            .wait_until_ready(READY_TIMEOUT, || async {
                client.get(&health).send().await.ok()?.error_for_status().ok().map(drop)
            })
            .await?;
        let guard = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let worker = guard.and_then(|guard| guard::descendants(guard).into_iter().next());
        let pid = worker.context("a media worker that is ready has no process")?.as_raw_nonzero().get();
        let pid = u32::try_from(pid).context("a process id is positive")?;
        pool.add(pid, url);
        Ok(RunningWorker { child, pid, pool: pool.clone(), since: Instant::now() })
    }
}

impl RunningWorker {
    async fn stop(self) -> anyhow::Result<()> {
        let Self { child, pid, pool, .. } = self;
        pool.remove(pid);
        child.stop().await.map(drop)
    }
}
