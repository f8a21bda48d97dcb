//! Which processes run on which cores: the media worker on one of its own, everything else on the others.

use std::{fs, io, path::Path};

use rustix::{
    process::{Pid, getpriority_process, setpriority_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::guard;

/// What stands in for the cloud goes after what stands in for the telephone network: elsewhere it has
/// machines of its own. So much nicer than we are, 19 being the nicest.
const NICER: i32 = 10;

/// The cores we may use, divided.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    worker: CpuSet,
    rest: CpuSet,
}

impl Cores {
    /// The last one for the worker: this process and all it has started move to the others. None if there
    /// are no two, or they may not be told apart.
    pub(crate) fn divide() -> Option<Self> {
        let all = sched_getaffinity(None).ok()?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|&core| all.is_set(core))?;
        let (mut worker, mut rest) = (CpuSet::new(), all);
        worker.set(last);
        rest.unset(last);
        let cores = Self { worker, rest };
        (all.count() > 1 && cores.clear().is_ok()).then_some(cores)
    }

    /// Leaves the worker's core to it.
    fn clear(&self) -> io::Result<()> {
        let own = rustix::process::getpid();
        for thread in threads(own)? {
            sched_setaffinity(Some(thread), &self.rest)?;
        }
        let nice = (getpriority_process(None)? + NICER).min(19);
        for thread in guard::descendants(own).into_iter().filter_map(|child| threads(child).ok()).flatten() {
            // One that has ended meanwhile needs no core.
            let _ = sched_setaffinity(Some(thread), &self.rest);
            let _ = setpriority_process(Some(thread), nice);
        }
        Ok(())
    }

    /// Does something whose processes run on the worker's core.
    ///
    /// # Errors
    ///
    /// If they may not, or it fails.
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
