//! The cores of a load test: one for the media worker alone, the others for everything else.

use std::{fs, io, path::Path};

use rustix::{
    process::{Pid, getpriority_process, setpriority_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::guard;

/// Added to the nice value of the emulator and its functions, so that the sandbox's callers run first: in a
/// deployment they would have machines of their own.
const NICER: i32 = 10;

/// The cores that this process may use, divided.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    worker: CpuSet,
    rest: CpuSet,
}

impl Cores {
    /// Reserves the last core for the worker, and moves this process and all its children to the others. `None` if
    /// there is only one core, or the operating system refuses.
    pub(crate) fn divide() -> Option<Self> {
        let all = sched_getaffinity(None).ok()?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|&core| all.is_set(core))?;
        let (mut worker, mut rest) = (CpuSet::new(), all);
        worker.set(last);
        rest.unset(last);
        let cores = Self { worker, rest };
        (all.count() > 1 && cores.clear().is_ok()).then_some(cores)
    }

    /// Moves everything that runs now off the worker's core.
    fn clear(&self) -> io::Result<()> {
        let own = rustix::process::getpid();
        for thread in threads(own)? {
            sched_setaffinity(Some(thread), &self.rest)?;
        }
        let nice = (getpriority_process(None)? + NICER).min(19);
        for thread in guard::descendants(own).into_iter().filter_map(|child| threads(child).ok()).flatten() {
            // A thread that has ended meanwhile needs no core.
            let _ = sched_setaffinity(Some(thread), &self.rest);
            let _ = setpriority_process(Some(thread), nice);
        }
        Ok(())
    }

    /// Runs `start` so that the processes it starts run on the worker's core.
    ///
    /// # Errors
    ///
    /// The operating system refuses, or `start` fails.
    pub(crate) fn start_worker<T>(&self, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        // Children inherit the cores of the thread that starts them.
        sched_setaffinity(None, &self.worker)?;
        let started = start();
        sched_setaffinity(None, &self.rest)?;
        started
    }
}

/// The threads of a process.
fn threads(process: Pid) -> io::Result<Vec<Pid>> {
    let tasks = fs::read_dir(Path::new("/proc").join(process.as_raw_nonzero().to_string()).join("task"))?;
    let id = |task: io::Result<fs::DirEntry>| task.ok()?.file_name().to_str()?.parse().ok();
    Ok(tasks.filter_map(id).filter_map(Pid::from_raw).collect())
}
