//! The private Python environment: created once per list of requirements, and shared by all state directories.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use switchboard_model::accounts::sha256_hex;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::checks::SystemPython;
use super::children::{self, StateDirectory};
use crate::progress::{Progress, Step};

/// The pinned packages with the hashes of their files.
const REQUIREMENTS: &str = include_str!("../../python/requirements.txt");

/// Limit for the time between two lines of output: 200 MB may take long on a slow line.
const SILENCE: Duration = Duration::from_mins(5);

/// Limit for another process to finish the same environment.
const OTHERS: Duration = Duration::from_mins(30);

/// The file that is written last: an environment without it was interrupted.
const STAMP: &str = "complete";

/// The Python of a complete environment.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    pub(crate) executable: PathBuf,
}

/// The environment for this list of requirements and this Python of the system.
pub(crate) struct PythonEnvironment {
    home: PathBuf,
    directory: PathBuf,
}

impl PythonEnvironment {
    /// Names the environment without creating it. `workspace` is the checkout.
    pub(crate) fn of(workspace: &Path, python: &SystemPython) -> Self {
        let home = workspace.join(".switchboard");
        let mut hash = sha256_hex(format!("{REQUIREMENTS}{}", python.identity()));
        hash.truncate(12);
        Self { directory: home.join(format!("python-{hash}")), home }
    }

    /// Whether the environment was created to the end.
    pub(crate) fn is_complete(&self) -> bool {
        self.directory.join(STAMP).is_file()
    }

    /// Creates the environment unless it exists; one process at a time does so.
    ///
    /// # Errors
    ///
    /// It cannot be created; the error says what to do next.
    pub(crate) async fn prepare(
        &self,
        directories: &StateDirectory,
        python: &SystemPython,
        progress: &Progress,
    ) -> anyhow::Result<Python> {
        let executable = self.directory.join("bin").join("python3");
        if self.is_complete() {
            return Ok(Python { executable });
        }
        std::fs::create_dir_all(&self.home).with_context(|| format!("creating {}", self.home.display()))?;
        let step = progress.step("fetching the Python packages");
        let _lock = self.lock(&step).await?;
        if !self.is_complete() {
            remove(&self.directory)?;
            self.make(directories, python, &executable, &step).await?;
            self.remove_others();
        }
        step.done("once; kept in .switchboard");
        Ok(Python { executable })
    }

    async fn lock(&self, step: &Step) -> anyhow::Result<File> {
        let file = File::create(self.home.join("python.lock"))?;
        let deadline = tokio::time::Instant::now() + OTHERS;
        while file.try_lock().is_err() {
            step.note("another switchboard is creating it");
            if tokio::time::Instant::now() >= deadline {
                bail!(
                    "another switchboard has been creating {} for 30 minutes. Stop that process, then run this again.",
                    self.home.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(file)
    }

    async fn make(
        &self,
        directories: &StateDirectory,
        python: &SystemPython,
        executable: &Path,
        step: &Step,
    ) -> anyhow::Result<()> {
        step.note("creating the environment");
        let mut venv = children::guarded(directories, &python.executable);
        venv.args(["-m", "venv"]).arg(&self.directory);
        run(directories, venv, |_| {}).await?;

        let requirements = self.directory.join("requirements.txt");
        std::fs::write(&requirements, REQUIREMENTS)?;
        let mut pip = children::guarded(directories, executable);
        pip.args(["-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "--no-input"]);
        pip.args(["--disable-pip-version-check", "--progress-bar", "off", "-r"]).arg(&requirements);
        let mut fetched = PipProgress::default();
        run(directories, pip, |line| {
            if let Some(note) = fetched.see(line) {
                step.note(&note);
            }
        })
        .await?;
        std::fs::write(self.directory.join(STAMP), python.identity())?;
        Ok(())
    }

    /// Removes the environments of earlier requirements. A failure costs only disk space.
    fn remove_others(&self) {
        for entry in std::fs::read_dir(&self.home).into_iter().flatten().flatten() {
            let is_environment = entry.file_name().to_string_lossy().starts_with("python-");
            if is_environment && entry.path() != self.directory {
                let _ = remove(&entry.path());
            }
        }
    }
}

/// The packages that pip has fetched, counted from its output.
#[derive(Default)]
struct PipProgress {
    packages: u32,
    megabytes: f64,
}

impl PipProgress {
    /// Reads one line of pip's output; returns the new note if the line changes it.
    fn see(&mut self, line: &str) -> Option<String> {
        let line = line.trim_start();
        if line.starts_with("Installing collected packages") {
            return Some(format!("installing {} packages, {:.0} MB", self.packages, self.megabytes));
        }
        if !line.starts_with("Downloading ") && !line.starts_with("Using cached ") {
            return None;
        }
        if line.contains(".whl.metadata") {
            return None;
        }
        self.packages += 1;
        self.megabytes += line.rsplit_once('(').and_then(|(_, size)| megabytes(size)).unwrap_or_default();
        Some(format!("{} packages, {:.0} MB", self.packages, self.megabytes))
    }
}

/// Reads pip's "12.3 MB)".
fn megabytes(size: &str) -> Option<f64> {
    let (number, unit) = size.trim_end().trim_end_matches(')').split_once(' ')?;
    let number: f64 = number.parse().ok()?;
    match unit {
        "MB" => Some(number),
        "kB" => Some(number / 1e3),
        "bytes" => Some(number / 1e6),
        _ => None,
    }
}

/// Runs one command; writes its output to the log and passes it to `see`, line by line.
async fn run(
    directories: &StateDirectory,
    mut command: tokio::process::Command,
    mut see: impl FnMut(&str),
) -> anyhow::Result<()> {
    let log = directories.log("python");
    let mut output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut child = command.stdout(Stdio::piped()).stderr(output.try_clone()?).spawn()?;
    let _lifeline = child.stdin.take();
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    loop {
        let Ok(line) = tokio::time::timeout(SILENCE, lines.next_line()).await else {
            bail!(
                "fetching the Python packages has made no progress for 5 minutes. Check the network, then run this again. {}",
                log_excerpt(&log)
            );
        };
        let Some(line) = line? else { break };
        // Packages for other Pythons; their lines would hide the important ones at the end of the log.
        if line.starts_with("Ignoring ") {
            continue;
        }
        std::io::Write::write_all(&mut output, format!("{line}\n").as_bytes())?;
        see(&line);
    }
    if child.wait().await?.success() {
        return Ok(());
    }
    let excerpt = log_excerpt(&log);
    bail!("the Python packages could not be installed. {} {excerpt}", advice(&excerpt))
}

fn log_excerpt(log: &Path) -> String {
    format!("The end of {}:\n{}", log.display(), children::last_lines(log))
}

/// The advice for a failure of pip or venv, chosen by its output.
fn advice(output: &str) -> &'static str {
    let output = output.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| output.contains(word));
    if says(&["no space left"]) {
        "The disk is full: free 1 GiB, then run this again."
    } else if says(&["do not match the hashes"]) {
        "A package does not match its hash: check which package index pip uses (`pip config list`)."
    } else if says(&[
        "connection",
        "resolution",
        "timed out",
        "network",
        "proxy",
        "ssl",
        "newconnectionerror",
        "(from versions: none)",
    ]) {
        "The package index cannot be reached: check the network and pip's settings (`pip config list`, a proxy in \
         HTTPS_PROXY), then run this again."
    } else if says(&["no matching distribution", "could not find a version"]) {
        "The package index has no wheel that fits: use the public index or a full mirror of it."
    } else {
        "Run this again. If it fails again, the lines below give the reason."
    }
}

fn remove(directory: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{PipProgress, advice};

    #[test]
    fn packages_and_megabytes_are_counted_from_pips_lines() {
        let mut fetched = PipProgress::default();
        assert_eq!(fetched.see("Collecting attrs==26.1.0"), None);
        assert_eq!(fetched.see("  Downloading attrs-26.1.0-py3-none-any.whl.metadata (8.9 kB)"), None);
        fetched.see("Downloading attrs-26.1.0-py3-none-any.whl (500 kB)");
        let note = fetched.see("  Using cached moonshine_voice-0.0.49-py3-none-any.whl (81.7 MB)");
        assert_eq!(note.as_deref(), Some("2 packages, 82 MB"));
    }

    #[test]
    fn a_failed_install_says_what_to_do() {
        assert!(advice("OSError: [Errno 28] No space left on device").contains("disk"));
        assert!(
            advice("Failed to establish a new connection: Name or service not known").contains("network")
        );
        assert!(advice("Temporary failure in name resolution").contains("network"));
        assert!(advice("that satisfies attrs==26.1.0 (from versions: none)").contains("network"));
        assert!(
            advice("that satisfies attrs==26.1.0 (from versions: 25.4.0)\nNo matching distribution")
                .contains("wheel")
        );
    }
}
