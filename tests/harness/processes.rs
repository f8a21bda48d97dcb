//! Which processes of a stack are alive.

use std::{fs, path::Path, process::Command};

/// Process ids and command lines of all processes that were started on this state directory: it is in
/// their arguments, their environment or their working directory.
pub fn alive_on(state: &Path) -> Vec<String> {
    let needle = state.to_string_lossy().into_owned();
    let names = |process: &Path, file: &str| {
        let bytes = fs::read(process.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|process| {
            process.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
        })
        .filter(|process| {
            process.file_name().is_some_and(|name| name.to_string_lossy() != std::process::id().to_string())
        })
        .filter_map(|process| {
            let command = names(&process, "cmdline");
            let directory = fs::read_link(process.join("cwd")).unwrap_or_default();
            let ours = command.contains(&needle)
                || names(&process, "environ").contains(&needle)
                || directory.starts_with(state);
            ours.then(|| format!("{} {command}", process.display()))
        })
        .collect()
}

/// Sends a signal (`-KILL`) to a process.
///
/// # Panics
/// There is no such process.
pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {name} {pid}");
}
