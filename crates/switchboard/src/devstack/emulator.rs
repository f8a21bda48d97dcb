//! The AWS emulator (`MiniStack`), on a loopback port that is proven to belong to it.
//!
//! It starts empty and keeps nothing: every start of the local stack deploys into a new emulator.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Pid;
use switchboard_aws::{SdkConfig, recordings::Recordings, table::Table};
use tokio::net::TcpListener;

use super::children::{Child, Program, StateDirectory};
use super::guard;
use super::host_environment::HostEnvironment;
use super::python_environment::Python;

/// Limit for the start: under a second on a free machine, far more while cargo compiles.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Another program may take the free port before the emulator binds it; so many ports are tried.
const START_ATTEMPTS: usize = 3;

/// The region of the deployment. The emulator accepts any.
pub(crate) const REGION: &str = "us-east-1";

/// A running emulator.
pub(crate) struct Emulator {
    pub(crate) child: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
}

/// The environment variables with which a program uses the emulator as AWS.
pub(crate) fn aws_environment(url: &str) -> Vec<(String, std::ffi::OsString)> {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        // Without it the SDKs ask the EC2 metadata service for credentials, and wait for its time-out.
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.into()))
    .to_vec()
}

/// The environment variables that lead functions and workers to another address of the table and the bucket.
pub(crate) fn storage_environment(host: &HostEnvironment) -> Vec<(String, std::ffi::OsString)> {
    let variable = |name: &str| Some((name.to_owned(), host.storage_url.clone()?.into()));
    ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_S3"].into_iter().filter_map(variable).collect()
}

/// The configuration of a client of the emulator.
pub(crate) fn emulator_config(url: &str) -> SdkConfig {
    switchboard_aws::emulator_config(url, REGION)
}

/// Opens a table in the emulator.
pub(crate) fn table(url: &str, name: &str) -> Table {
    Table::new(&emulator_config(url), name.to_owned())
}

/// Opens the bucket of recordings in the emulator.
pub(crate) fn recordings(url: &str, bucket: &str) -> Recordings {
    Recordings::new(&emulator_config(url), bucket.to_owned())
}

impl Emulator {
    /// Starts an empty emulator, and waits until it answers.
    ///
    /// # Errors
    ///
    /// It ends, or does not answer in time.
    pub(crate) async fn start(
        directories: &StateDirectory,
        host: &HostEnvironment,
        python: &Python,
    ) -> anyhow::Result<Self> {
        for _ in 1..START_ATTEMPTS {
            let port = free_port().await?;
            match Self::attempt(port, directories, host, python).await {
                Err(_) if is_taken(port).await => tracing::info!(port, "emulator port taken"),
                outcome => return outcome,
            }
        }
        Self::attempt(free_port().await?, directories, host, python).await
    }

    async fn attempt(
        port: u16,
        directories: &StateDirectory,
        host: &HostEnvironment,
        python: &Python,
    ) -> anyhow::Result<Self> {
        let url = format!("http://127.0.0.1:{port}");
        // The functions inherit all of it from the emulator, so it is kept small.
        let mut environment = aws_environment(&url);
        environment.extend(storage_environment(host));
        environment.extend(
            [
                ("PATH", host.path.clone()),
                ("HOME", host.home.clone()),
                ("TMPDIR", directories.temporary().into()),
                ("GATEWAY_PORT", port.to_string().into()),
                // Without it the emulator listens on all interfaces.
                ("BIND_HOST", "127.0.0.1".into()),
                ("LAMBDA_EXECUTOR", "local".into()),
                ("PYTHONUNBUFFERED", "1".into()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let mut child = Child::start(
            directories,
            Program {
                name: "emulator".to_owned(),
                executable: python.executable.clone(),
                arguments: vec!["-m".into(), "ministack".into()],
                environment,
            },
        )?;
        let guard = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let guard = guard.context("the emulator's guard has no process id")?;
        let address = format!("127.0.0.1:{port}");
        child
            .wait_until_ready(START_TIMEOUT, || async {
                tokio::net::TcpStream::connect(&address).await.ok()?;
                owns_listener(guard, port).then_some(())
            })
            .await?;
        Ok(Self { child, url })
    }
}

/// Finds a loopback port on which nothing listens.
pub(crate) async fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Whether a program listens on a loopback port.
async fn is_taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).await.is_err()
}

/// Whether the socket that listens on the loopback port belongs to a process below `root`. An answer on a port
/// alone does not prove that the emulator gave it.
fn owns_listener(root: Pid, port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let Some(inode) = listening_inode(&table, port) else { return false };
    let link = format!("socket:[{inode}]");
    guard::descendants(root).into_iter().any(|pid| {
        let descriptors = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("fd");
        std::fs::read_dir(descriptors)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == &*link))
    })
}

/// Finds the inode of the listener on 127.0.0.1 in `/proc/net/tcp` (proc(5): address in host byte order, state 0A
/// is LISTEN, the tenth field is the inode).
fn listening_inode(table: &str, port: u16) -> Option<&str> {
    let local = format!("{:08X}:{port:04X}", u32::from_ne_bytes([127, 0, 0, 1]));
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&local.as_str()) && fields.get(3) == Some(&"0A"))
            .then(|| fields.get(9).copied())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{listening_inode, owns_listener};

    #[test]
    fn a_listener_of_another_process_is_not_the_emulator() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        assert!(listening_inode(&table, port).is_some());
        // The socket of this test is not below this test's process.
        assert!(!owns_listener(rustix::process::getpid(), port));
        // It is below the process that started the test.
        assert!(owns_listener(rustix::process::getppid().unwrap(), port));
    }
}
