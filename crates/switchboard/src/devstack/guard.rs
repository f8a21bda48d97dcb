//! `switchboard guard -- CMD...`: runs one child, and ends its whole process tree when its owner ends.
//!
//! The owner holds the other end of the guard's stdin. End of file tells the guard to stop; the kernel sends it
//! even when the owner is killed. The guard is a child subreaper: a process that the tree orphans or detaches
//! becomes a child of the guard, which finds and ends it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// Time for a tree to end by itself after SIGTERM. Two such periods fit into the ten seconds in which a whole stack
/// stops.
const GRACE: Duration = Duration::from_secs(4);

/// Time for the orphans of a child that has ended.
const ORPHAN_GRACE: Duration = Duration::from_secs(1);

/// Interval between two looks at a tree that ends.
const POLL: Duration = Duration::from_millis(20);

/// The running executable, even after a newer build has replaced its file.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Arguments of the hidden command `guard`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to hold a shared lock on while a process of the tree is alive.
    #[arg(long)]
    lock: PathBuf,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Arguments of the hidden command `tied`.
#[derive(clap::Args)]
pub(crate) struct TiedArgs {
    /// The guard's process id.
    #[arg(long)]
    parent: i32,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the child until it ends, stdin ends, or a signal comes; then ends its whole tree.
///
/// # Errors
///
/// The lock is held exclusively, which means that the owner is gone; or the child cannot be started.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // A process group of its own: Ctrl-C in the terminal is for the owner, which then stops its children in order.
    // The leader of a session already has a group of its own and may not change it.
    let _ = rustix::process::setpgid(None, None);
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let lock = File::create(&args.lock).with_context(|| format!("opening {}", args.lock.display()))?;
    if lock.try_lock_shared().is_err() {
        bail!("the owner of this guard has gone");
    }

    let mut child = Command::new(SELF)
        .arg0("switchboard")
        .args(["tied", "--parent", &std::process::id().to_string(), "--"])
        .args(&args.command)
        .stdin(Stdio::piped())
        .spawn()?;
    // Held open and never written: the child may take end of file as the order to stop, too.
    let stdin = child.stdin.take();
    tokio::select! {
        () = end_of_stdin() => {}
        _ = child.wait() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(stdin);
    let status = end(&mut child).await?;
    Ok(exit_code(status))
}

/// Becomes the command, tied to its guard: if the guard is killed, the kernel kills the command.
///
/// This is a process of its own because only the process itself can ask the kernel for that.
///
/// # Errors
///
/// The guard is gone, or the command cannot be started. It returns only in these cases.
pub(crate) fn become_tied(args: &TiedArgs) -> anyhow::Error {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    if rustix::process::getppid() != Pid::from_raw(args.parent) {
        return anyhow::anyhow!("the guard has gone");
    }
    let [program, arguments @ ..] = args.command.as_slice() else {
        return anyhow::anyhow!("no command to run");
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    anyhow::Error::new(error).context(format!("starting {}", program.display()))
}

/// Waits until stdin ends.
pub(crate) async fn end_of_stdin() {
    // A read error means the same as end of file: the owner is gone.
    let read = || drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let _ = tokio::task::spawn_blocking(read).await;
}

/// Ends the child and everything below this process: SIGTERM, a grace period, SIGKILL until nothing is left.
async fn end(child: &mut Child) -> anyhow::Result<ExitStatus> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // Fails only if the child has ended meanwhile.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    let mut deadline = Instant::now() + GRACE;
    let mut left_alone = true;
    loop {
        let ended = child.try_wait()?.is_some();
        let living = descendants(rustix::process::getpid());
        if ended && living.is_empty() {
            break;
        }
        if ended && left_alone {
            left_alone = false;
            deadline = deadline.min(Instant::now() + ORPHAN_GRACE);
            send(&living, Signal::TERM);
        }
        if Instant::now() >= deadline {
            send(&living, Signal::KILL);
        }
        tokio::time::sleep(POLL).await;
    }
    let status = child.wait().await?;
    // The guard reaps what the tree orphaned; the first process of a container may not do so.
    while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    Ok(status)
}

fn send(pids: &[Pid], signal: Signal) {
    for pid in pids {
        // Fails only if the process has ended meanwhile.
        let _ = rustix::process::kill_process(*pid, signal);
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    // Like a shell: 128 plus the number of the signal.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// All running processes below `root`, without zombies.
pub(crate) fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Ok(stat) = std::fs::read_to_string(process.path().join("stat"))
            && let Some((parent, living)) = parent_and_life(&stat)
        {
            children.entry(parent).or_default().push((pid, living));
        }
    }
    let mut found = Vec::new();
    let mut unseen = vec![root.as_raw_nonzero().get()];
    while let Some(parent) = unseen.pop() {
        for (pid, living) in children.remove(&parent).unwrap_or_default() {
            unseen.push(pid);
            if living {
                found.extend(Pid::from_raw(pid));
            }
        }
    }
    found
}

/// Reads `/proc/PID/stat`: `pid (name) state ppid ...`. The name may contain parentheses.
fn parent_and_life(stat: &str) -> Option<(i32, bool)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let living = !matches!(fields.next()?, "Z" | "X");
    Some((fields.next()?.parse().ok()?, living))
}

#[cfg(test)]
mod tests {
    use super::parent_and_life;

    #[test]
    fn a_process_name_with_parentheses_does_not_hide_its_parent() {
        assert_eq!(parent_and_life("12 (a) b) S 34 12 12 0"), Some((34, true)));
        assert_eq!(parent_and_life("12 (sleep) Z 1 12 12 0"), Some((1, false)));
        assert_eq!(parent_and_life("nonsense"), None);
    }
}
