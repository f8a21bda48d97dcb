//! The resources that the media worker's process uses, from the kernel's accounting in `/proc`.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use rustix::{
    process::Pid,
    thread::{sched_getaffinity, sched_setaffinity},
};

/// A running media worker.
pub(super) struct WorkerProcess {
    process: Option<Pid>,
    directory: PathBuf,
}

/// Totals since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessUsage {
    /// Processor time, in user and kernel mode.
    pub(super) cpu: Duration,
    /// Time in which it was ready to run, but its core was busy.
    pub(super) waited: Duration,
    /// Resident memory, in bytes.
    pub(super) memory: u64,
}

impl WorkerProcess {
    pub(super) fn new(pid: u32) -> Self {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        Self { process, directory: PathBuf::from(format!("/proc/{pid}")) }
    }

    /// Whether it may run on one core only.
    pub(super) fn has_one_core(&self) -> bool {
        self.process.is_some_and(|pid| sched_getaffinity(Some(pid)).is_ok_and(|cores| cores.count() == 1))
    }

    /// Runs `start` so that the processes it starts run on the same cores.
    ///
    /// # Errors
    ///
    /// The process has ended, or `start` fails.
    pub(super) fn on_its_cores<T>(&self, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        // Children inherit the cores of the thread that starts them.
        let here = sched_getaffinity(None)?;
        sched_setaffinity(None, &sched_getaffinity(self.process)?)?;
        let started = start();
        sched_setaffinity(None, &here)?;
        started
    }

    /// Reads the totals.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub(super) fn usage(&self) -> anyhow::Result<ProcessUsage> {
        let read = |name| fs::read_to_string(self.directory.join(name)).context("the media worker has ended");
        let ticks = ticks(&read("stat")?).context("/proc/PID/stat has an unknown format")?;
        let memory = resident(&read("status")?).context("/proc/PID/status has an unknown format")?;
        let waits = fs::read_dir(self.directory.join("task"))?.flatten();
        let waits = waits.filter_map(|task| waited(&fs::read_to_string(task.path().join("schedstat")).ok()?));
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(ProcessUsage {
            cpu: Duration::from_millis(ticks * 1000 / per_second),
            waited: waits.sum(),
            memory,
        })
    }
}

/// The sum of `utime` and `stime` in `/proc/PID/stat` (fields 14 and 15; the name before them may contain blanks).
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// `VmRSS` in `/proc/PID/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The second field of `/proc/PID/task/TID/schedstat`: nanoseconds spent ready to run.
fn waited(schedstat: &str) -> Option<Duration> {
    Some(Duration::from_nanos(schedstat.split_whitespace().nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_accounting_is_parsed() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 5 0 0 0 1234 56 0 0 20 0 3 0 999 1 2";
        assert_eq!(ticks(stat), Some(1290));
        assert_eq!(ticks("nonsense"), None);
        assert_eq!(resident("Name:\tmedia\nVmRSS:\t   17152 kB\n"), Some(17152 * 1024));
        assert_eq!(waited("123 4000 5"), Some(Duration::from_micros(4)));
    }

    #[test]
    fn a_process_has_used_time_and_memory() {
        let usage = WorkerProcess::new(std::process::id()).usage().unwrap();
        assert!(usage.memory > 0);
        assert!(WorkerProcess::new(u32::MAX).usage().is_err());
    }
}
