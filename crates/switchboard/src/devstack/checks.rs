//! Checks before anything is built or fetched. Each error says what to do next.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::process::Command;

/// Number of ports to try before giving up.
const PORTS_TRIED: u16 = 100;

/// The oldest Python for which all packages have wheels.
const PYTHON: (u32, u32) = (3, 10);

/// The oldest C library for which the speech packages are built (`manylinux_2_34`).
const GLIBC: (u32, u32) = (2, 34);

/// Space for the packages, their unpacking and a development build, with a reserve.
const DISK_BYTES: u64 = 3 << 30;

/// Space for logs and recordings once everything is fetched.
const DISK_BYTES_WHEN_PREPARED: u64 = 256 << 20;

/// Limit for one probe of a Python: the first start from a cold disk is slow.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// The program that each candidate runs; prints one line of JSON.
const PROBE: &str = r#"
import importlib.util, json, os, platform, sys
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (ValueError, OSError):
    libc = ""
print(json.dumps({
    "version": list(sys.version_info[:2]), "executable": sys.executable, "libc": libc, "machine": platform.machine(),
    "venv": importlib.util.find_spec("venv") is not None, "ensurepip": importlib.util.find_spec("ensurepip") is not None,
}))
"#;

/// A Python that can create the private environment.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SystemPython {
    version: (u32, u32),
    /// Its path.
    pub(crate) executable: PathBuf,
    libc: String,
    machine: String,
    venv: bool,
    ensurepip: bool,
}

impl SystemPython {
    /// "3.11 on x86\_64 at /usr/bin/python3". An environment created by one identity does not fit another.
    pub(crate) fn identity(&self) -> String {
        let (major, minor) = self.version;
        format!("{major}.{minor} on {} at {}", self.machine, self.executable.display())
    }
}

/// Finds the checkout that this command was built from.
///
/// # Errors
///
/// The checkout has moved or is gone.
pub(crate) fn workspace() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace root")?;
    for needed in ["Cargo.toml", "template.yaml"] {
        if !root.join(needed).is_file() {
            bail!(
                "{} has no {needed}: the checkout that this command was built from has moved. \
                 Build it again with `cargo run` inside the checkout.",
                root.display()
            );
        }
    }
    Ok(root.to_owned())
}

/// Finds a Python, and checks its version, the C library and the machine.
///
/// # Errors
///
/// Something is missing; the error names it and how to get it.
pub(crate) async fn python() -> anyhow::Result<SystemPython> {
    let mut found = Vec::new();
    for name in ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"] {
        if let Some(python) = probe(name).await {
            if python.version >= PYTHON && python.venv && python.ensurepip {
                check_platform(&python)?;
                return Ok(python);
            }
            found.push(python);
        }
    }
    let Some(python) = found.iter().max_by_key(|python| python.version) else {
        bail!(
            "no `python3` was found. Local mode needs Python 3.10 or later with venv and pip: \
             `sudo apt-get install python3 python3-venv` (Debian, Ubuntu) or \
             `sudo dnf install python3` (Fedora), then run this again."
        );
    };
    let (major, minor) = python.version;
    if python.version < PYTHON {
        bail!(
            "{} is Python {major}.{minor}; local mode needs 3.10 or later. Install a newer one beside it \
             (`python3.12` on the PATH is found by itself), then run this again.",
            python.executable.display()
        );
    }
    bail!(
        "{} (Python {major}.{minor}) cannot make a virtual environment: {} is missing. \
         `sudo apt-get install python{major}.{minor}-venv` (Debian, Ubuntu), then run this again.",
        python.executable.display(),
        if python.venv { "ensurepip" } else { "venv" }
    );
}

async fn probe(name: &str) -> Option<SystemPython> {
    let mut command = Command::new(name);
    command.args(["-I", "-c", PROBE]).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PROBE_TIMEOUT, command.output()).await.ok()?.ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

fn check_platform(python: &SystemPython) -> anyhow::Result<()> {
    if !matches!(python.machine.as_str(), "x86_64" | "aarch64") {
        bail!(
            "this machine is {}; the offline speech engines exist only for x86_64 and aarch64.",
            python.machine
        );
    }
    match glibc(&python.libc) {
        Some(version) if version >= GLIBC => Ok(()),
        Some((major, minor)) => bail!(
            "this system's C library is glibc {major}.{minor}; the offline speech engines need 2.34 or later \
             (Debian 12, Ubuntu 22.04, Fedora 35 and later have it)."
        ),
        None => bail!(
            "this system's C library is not glibc; the offline speech engines need glibc 2.34 or later. \
             Alpine and other musl systems will not do."
        ),
    }
}

/// Reads "glibc 2.36".
fn glibc(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.strip_prefix("glibc ")?.split_once('.')?;
    let minor: String = minor.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Checks the free space below `path`; less is needed once everything was `prepared`.
///
/// # Errors
///
/// Too little space is free.
pub(crate) fn disk(path: &Path, prepared: bool) -> anyhow::Result<()> {
    let needed = if prepared { DISK_BYTES_WHEN_PREPARED } else { DISK_BYTES };
    let volume =
        rustix::fs::statvfs(path).with_context(|| format!("reading the free space at {}", path.display()))?;
    let free = volume.f_bavail.saturating_mul(volume.f_frsize);
    if free < needed {
        bail!(
            "only {} MiB are free at {}; {} MiB are needed. Free some space there, then run this again.",
            free >> 20,
            path.display(),
            needed >> 20
        );
    }
    Ok(())
}

/// Opens `port`, or the first free port from `first` on.
///
/// # Errors
///
/// The port is taken, or all of them are.
pub(crate) async fn listen(port: Option<u16>, first: u16) -> anyhow::Result<TcpListener> {
    if let Some(port) = port {
        return TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => anyhow::anyhow!(
                "port {port} is taken by another program. Stop that, choose another with `--port`, \
                 or leave `--port` out to take the next free one."
            ),
            ErrorKind::PermissionDenied => anyhow::anyhow!(
                "port {port} may not be opened by this user. Choose one above 1023 with `--port`."
            ),
            _ => anyhow::Error::new(error).context(format!("opening port {port}")),
        });
    }
    for port in first..first + PORTS_TRIED {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            listener => return listener.with_context(|| format!("opening port {port}")),
        }
    }
    bail!("no port from {first} on is free. Choose one with `--port`.")
}

#[cfg(test)]
mod tests {
    use super::{disk, glibc, listen};

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = listen(Some(port), 0).await.unwrap_err().to_string();
        assert!(error.contains(&port.to_string()), "{error}");
        assert!(error.contains("--port"), "{error}");
    }

    #[test]
    fn the_version_of_the_c_library_is_read_with_and_without_a_patch_level() {
        assert_eq!(glibc("glibc 2.36"), Some((2, 36)));
        assert_eq!(glibc("glibc 2.34.9000"), Some((2, 34)));
        assert_eq!(glibc(""), None);
    }

    #[test]
    fn a_missing_directory_has_no_space() {
        assert!(disk(std::path::Path::new("/nonexistent"), true).is_err());
    }
}
