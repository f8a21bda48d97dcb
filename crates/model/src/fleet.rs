//! The media workers of a deployment: what each of them reports, and whether there is room for another call.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Time between two reports of a worker.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Age from which a report counts no more: three of them are missing, or the clocks differ by half a minute.
pub const FRESH: Duration = Duration::from_secs(45);

/// The last report of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its id: that of its task, where it runs in one.
    pub id: String,
    /// Calls that it holds.
    pub live: u32,
    /// Calls that it takes at most.
    pub capacity: u32,
    /// When it reported.
    pub at: Timestamp,
    /// Whether it is to hand its calls over: the platform is about to stop it. The platform's events set this.
    #[serde(default)]
    pub draining: bool,
}

/// The workers of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The last report of each worker that reported lately.
    pub workers: Vec<WorkerReport>,
    /// Whether any worker has reported within a day or more, also one that has stopped or died since.
    pub is_known: bool,
}

impl Fleet {
    /// Whether a worker has room for another call at `now`. Without any report nothing is known of the workers, and there may
    /// be: they may be of a version that does not report.
    #[must_use]
    pub fn has_room(&self, now: Timestamp) -> bool {
        let has_room = |worker: &WorkerReport| {
            now.since(worker.at) < FRESH && !worker.draining && worker.live < worker.capacity
        };
        !self.is_known || self.workers.iter().any(has_room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_if_a_worker_that_reports_is_not_full() {
        let at = |seconds: i64| Timestamp::from_millis(1_795_339_800_000 + seconds * 1_000);
        let worker = |live, at| WorkerReport { id: "a".into(), live, capacity: 2, at, draining: false };
        let full = worker(2, at(0));
        let free = worker(1, at(0));
        let has_room =
            |workers: &[WorkerReport], now| Fleet { workers: workers.to_vec(), is_known: true }.has_room(now);
        assert!(Fleet { workers: vec![], is_known: false }.has_room(at(0)), "nothing is known");
        assert!(!has_room(&[], at(0)), "the last worker has stopped or died");
        assert!(has_room(&[full.clone(), free.clone()], at(44)));
        assert!(!has_room(&[full.clone(), free.clone()], at(45)), "it died");
        assert!(!has_room(&[full], at(0)));
        assert!(!has_room(&[WorkerReport { draining: true, ..free }], at(0)));
        // The clock of the worker is ahead.
        assert!(has_room(&[worker(0, at(20))], at(0)));
    }
}
