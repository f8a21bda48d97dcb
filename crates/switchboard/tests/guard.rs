//! `switchboard guard` on real processes: nothing below it outlives its owner.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// More than any step of a guard takes; only a failing test waits so long.
const TIME_LIMIT: Duration = Duration::from_secs(20);

const SWITCHBOARD: &str = env!("CARGO_BIN_EXE_switchboard");

/// A shell, a child, one in a session of its own, a daemon, and one that ignores SIGTERM. Each appends
/// its process id to the file named by `$PIDS`.
const TREE: &str = r#"
note='echo $$ >> "$PIDS"'
sh -c "$note; exec sleep 1000" &
setsid sh -c "$note; exec sleep 1000" &
(setsid sh -c "$note; exec sleep 1000" &)
sh -c "trap '' TERM; $note; while :; do sleep 1; done" &
eval "$note"
wait
"#;

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIME_LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {TIME_LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The process ids that were noted, once there are `count`.
fn noted(path: &Path, count: usize) -> Vec<u32> {
    let read = || -> Vec<u32> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    };
    eventually("the tree stands", || read().len() == count);
    read()
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A guard holds a shared lock as long as it lives.
fn no_guard_is_left(lock: &Path) -> bool {
    File::create(lock).expect("the directory is ours").try_lock().is_ok()
}

fn guard(directory: &Path, script: &str) -> Child {
    Command::new(SWITCHBOARD)
        .args(["guard", "--lock"])
        .arg(directory.join("lock"))
        .args(["--", "sh", "-c", script])
        .env("PIDS", directory.join("pids"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program was built for this test")
}

#[test]
fn a_whole_tree_ends_when_its_owner_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (lock, pids) = (directory.path().join("lock"), directory.path().join("pids"));
    // The shell starts the guard and becomes the process that holds the other end of its stdin.
    let script =
        r#"mkfifo "$0.in"; "$1" guard --lock "$0" -- sh -c "$2" < "$0.in" & exec sleep 1000 > "$0.in""#;
    let mut owner = Command::new("sh")
        .args(["-c", script])
        .arg(&lock)
        .args([SWITCHBOARD, TREE])
        .env("PIDS", &pids)
        .spawn()
        .unwrap();
    let tree = noted(&pids, 5);
    assert!(tree.iter().all(|pid| is_alive(*pid)), "{tree:?}");
    assert!(!no_guard_is_left(&lock));

    // SIGKILL.
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the guard has gone", || no_guard_is_left(&lock));
    let left: Vec<_> = tree.into_iter().filter(|pid| is_alive(*pid)).collect();
    assert!(left.is_empty(), "still alive: {left:?}");
}

#[test]
fn the_exit_code_of_the_child_is_passed_on_after_what_it_left_was_ended() {
    let directory = tempfile::tempdir().unwrap();
    let script =
        r#"setsid sh -c 'echo $$ >> "$PIDS"; exec sleep 1000' & until [ -s "$PIDS" ]; do :; done; exit 7"#;
    let mut guard = guard(directory.path(), script);
    // Held open: the guard ends because of the child, not because of us.
    let stdin = guard.stdin.take();
    let status = guard.wait().unwrap();
    drop(stdin);
    assert_eq!(status.code(), Some(7));
    assert!(noted(&directory.path().join("pids"), 1).into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn the_command_does_not_outlive_a_guard_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut guard = guard(directory.path(), r#"echo $$ >> "$PIDS"; exec sleep 1000"#);
    let pid = noted(&directory.path().join("pids"), 1)[0];
    assert!(is_alive(pid));
    guard.kill().unwrap();
    guard.wait().unwrap();
    eventually("the command has gone", || !is_alive(pid));
}
