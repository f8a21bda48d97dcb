//! Which processes of a stack are alive.

use std::{fs, path::Path, process::Command};

use crate::Stack;

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

impl Stack {
    /// The functions' processes that run now: the function's name and a process id each.
    pub fn function_processes(&self) -> Vec<(String, u32)> {
        let endpoint = format!("AWS_ENDPOINT_URL={}", self.address("emulator_url"));
        let function = |process: &Path| {
            let pid = process.file_name()?.to_str()?.parse().ok()?;
            let command = fs::read(process.join("cmdline")).ok()?;
            let environment = fs::read(process.join("environ")).ok()?;
            let variables: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
            let name = variables.iter().find_map(|line| line.strip_prefix(b"AWS_LAMBDA_FUNCTION_NAME="))?;
            let is_ours = command.trim_ascii_end().ends_with(b"bootstrap\0")
                && variables.contains(&endpoint.as_bytes());
            is_ours.then(|| (String::from_utf8_lossy(name).into_owned(), pid))
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut found: Vec<_> = processes.filter_map(|process| function(&process.path())).collect();
        found.sort();
        found
    }
}

/// Ends a process without a word; false if it has ended by itself.
pub fn kill(pid: u32) -> bool {
    let sent = Command::new("kill").args(["-KILL", &pid.to_string()]).output();
    sent.is_ok_and(|output| output.status.success())
}

/// Sends a signal (`-KILL`) to a process.
///
/// # Panics
/// There is no such process.
pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {name} {pid}");
}
