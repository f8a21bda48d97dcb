//! Child processes under a guard: a clean environment, a log file, a death that is noticed.

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

/// How often a child that is not ready yet is asked again.
const POLL: Duration = Duration::from_millis(25);

/// A guard gives its tree 4 s and then kills it; past this it is itself killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// How many lines of a dead child's log are shown.
const LOG_LINES: usize = 15;

/// Where the processes of one state directory leave their traces.
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

    /// For the children's temporary files; emptied at each start.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.state.join("tmp")
    }

    /// Each guard holds a shared lock on this file, so that whoever gets it for itself alone knows
    /// that no child is left.
    pub(crate) fn guards_lock(&self) -> PathBuf {
        self.state.join("guards.lock")
    }
}

/// What to run.
pub(crate) struct Program {
    /// Name for people and for the log file.
    pub(crate) name: String,
    /// The executable.
    pub(crate) executable: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// Its whole environment; nothing is inherited.
    pub(crate) environment: Vec<(String, OsString)>,
}

/// A running child. Dropped, its tree is told to end, but not waited for.
pub(crate) struct Child {
    name: String,
    guard: tokio::process::Child,
    /// Closing it is the order to stop.
    lifeline: Option<ChildStdin>,
    log: PathBuf,
}

/// A command that runs under a guard and inherits nothing but the environment; its stdin must be
/// piped and kept as long as it shall live.
pub(crate) fn guarded(directories: &StateDirectory, program: &Path) -> Command {
    let mut command = Command::new(guard::SELF);
    command.arg0("switchboard").args(["guard", "--lock"]).arg(directories.guards_lock());
    command.arg("--").arg(program).stdin(Stdio::piped());
    command
}

impl Child {
    /// Starts a program; what it prints goes to its log file, which is begun anew.
    pub(crate) fn start(directories: &StateDirectory, program: Program) -> anyhow::Result<Self> {
        Self::start_logging(directories, program, OpenOptions::new().write(true).truncate(true))
    }

    /// Starts a program once more; what it prints is appended to the log of those before it.
    pub(crate) fn again(directories: &StateDirectory, program: Program) -> anyhow::Result<Self> {
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

    /// Its process id (the guard's; the program and what that starts are below it).
    pub(crate) fn id(&self) -> Option<u32> {
        self.guard.id()
    }

    /// Its log file.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Asks `probe` until it answers.
    ///
    /// # Errors
    ///
    /// If the child ends first or does not answer in time; with the last lines of its log.
    pub(crate) async fn ready<T, Answer: Future<Output = Option<T>>>(
        &mut self,
        timeout: Duration,
        mut probe: impl FnMut() -> Answer,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            // The probe has its own time-out; one that hangs must not hide a death.
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
    pub(crate) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.guard.wait().await
    }

    /// Waits until the child ends by itself and describes that, with the last lines of its log.
    pub(crate) async fn death(&mut self) -> String {
        match self.guard.wait().await {
            Ok(status) => self.describe_exit(&format!("ended ({status})")),
            Err(error) => self.describe_exit(&format!("was lost ({error})")),
        }
    }

    /// Ends the whole tree and waits until none of it is left.
    ///
    /// # Errors
    ///
    /// If it is not gone in time.
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

/// Waits until no guard of this state directory is left; true if so.
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
