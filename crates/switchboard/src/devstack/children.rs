//! Child processes: each runs under a guard, with a clean environment and a log file, and its end is noticed.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{ChildStdin, Command};
use tokio::time::Instant;

use super::guard;

/// Interval between two probes of a child that is not ready yet.
const POLL: Duration = Duration::from_millis(25);

/// Limit for a guard to end its tree. The guard itself kills the tree after 4 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Number of log lines that an error quotes.
const LOG_LINES: usize = 15;

/// The paths in a state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDirectory {
    /// The state directory.
    pub(crate) state: PathBuf,
}

impl StateDirectory {
    /// `<state>/logs/NAME.log`.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.state.join("logs").join(format!("{name}.log"))
    }

    /// The children's temporary files; emptied at each start.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.state.join("tmp")
    }

    /// The lock file of the guards. Each guard holds a shared lock on it, so an exclusive lock proves that no child is
    /// left.
    pub(crate) fn guards_lock(&self) -> PathBuf {
        self.state.join("guards.lock")
    }
}

/// A program to run as a child.
pub(crate) struct Program {
    /// The name in messages and of the log file.
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    pub(crate) environment: Vec<(String, OsString)>,
}

/// A running child. Dropping it tells its process tree to end, without waiting.
pub(crate) struct Child {
    name: String,
    guard: tokio::process::Child,
    /// Its end of file tells the guard to stop.
    lifeline: Option<ChildStdin>,
    log: PathBuf,
}

/// A command that runs under a guard and inherits the environment. Its stdin is piped; closing it ends the
/// process tree.
pub(crate) fn guarded(directories: &StateDirectory, program: &Path) -> Command {
    let mut command = Command::new(guard::SELF);
    command.arg0("switchboard").args(["guard", "--lock"]).arg(directories.guards_lock());
    command.arg("--").arg(program).stdin(Stdio::piped());
    command
}

impl Child {
    /// Starts a program with an empty log.
    pub(crate) fn start(directories: &StateDirectory, program: Program) -> anyhow::Result<Self> {
        Self::start_logging(directories, program, OpenOptions::new().write(true).truncate(true))
    }

    /// Starts a program that ran before, and appends to its log.
    pub(crate) fn restart(directories: &StateDirectory, program: Program) -> anyhow::Result<Self> {
        Self::start_logging(directories, program, OpenOptions::new().append(true))
    }

    fn start_logging(
        directories: &StateDirectory,
        program: Program,
        options: &mut OpenOptions,
    ) -> anyhow::Result<Self> {
        let log = directories.log(&program.name);
        let output =
            options.create(true).open(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut guard = guarded(directories, &program.executable)
            .args(program.arguments)
            .env_clear()
            .envs(program.environment)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", program.name))?;
        let lifeline = guard.stdin.take();
        Ok(Self { name: program.name, guard, lifeline, log })
    }

    /// The process id of the guard; the program runs below it.
    pub(crate) fn id(&self) -> Option<u32> {
        self.guard.id()
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Polls `probe` until it returns a value.
    ///
    /// # Errors
    ///
    /// The child ends first, or the time is up; the error quotes the end of its log.
    pub(crate) async fn wait_until_ready<T, Answer: Future<Output = Option<T>>>(
        &mut self,
        timeout: Duration,
        mut probe: impl FnMut() -> Answer,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            // The probe has a time limit, so that one that hangs cannot hide the end of the child.
            let answer = tokio::time::timeout_at(deadline, probe()).await;
            if let Ok(Some(answer)) = answer {
                return Ok(answer);
            }
            if let Some(status) = self.guard.try_wait()? {
                bail!(self.describe_exit(&format!("ended at once ({status})")));
            }
            if Instant::now() >= deadline {
                bail!(self.describe_exit(&format!("was not ready within {} s", timeout.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the child ends by itself. Cancel-safe.
    pub(crate) async fn exited(&mut self) -> std::io::Result<ExitStatus> {
        self.guard.wait().await
    }

    /// Waits until the child ends by itself; returns its name, how it ended, and the end of its log.
    pub(crate) async fn unexpected_exit(&mut self) -> String {
        match self.guard.wait().await {
            Ok(status) => self.describe_exit(&format!("ended ({status})")),
            Err(error) => self.describe_exit(&format!("was lost ({error})")),
        }
    }

    /// Ends the process tree and waits for it.
    ///
    /// # Errors
    ///
    /// Some of it is left when the time is up.
    pub(crate) async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        drop(self.lifeline.take());
        if let Ok(status) = tokio::time::timeout(STOP_TIMEOUT, self.guard.wait()).await {
            return Ok(status?);
        }
        self.guard.kill().await?;
        bail!("{} did not end within {} s", self.name, STOP_TIMEOUT.as_secs())
    }

    fn describe_exit(&self, what: &str) -> String {
        format!("{} {what}; the end of {}:\n{}", self.name, self.log.display(), last_lines(&self.log))
    }
}

/// Waits until no guard of this state directory is left; false if one is when the time is up.
pub(crate) async fn wait_for_guards(directories: &StateDirectory, timeout: Duration) -> anyhow::Result<bool> {
    let path = directories.guards_lock();
    let file = match File::create(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    };
    let deadline = Instant::now() + timeout;
    while file.try_lock().is_err() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(true)
}

/// The last lines of a log, indented.
pub(crate) fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "    (it printed nothing)".to_owned();
    }
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    last.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
