//! This worker as a part of its fleet: it reports its room, and learns when it is to stop.
//!
//! ECS sends SIGTERM only after the load balancer has cut every socket: deregistration comes first. So the worker does not
//! wait for the signal. The event "task is deactivating" reaches the sweeper, which marks this worker's item in the table;
//! the worker reads the mark with its next report, and hands its calls over while their sockets are still open. What the
//! task's own metadata says of its desired status counts too. [`Fleet::has_room`](switchboard_model::fleet::Fleet::has_room)
//! decides for the dialer whether the fleet takes another call.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use switchboard_model::fleet::{REPORT_INTERVAL, WorkerReport};
use switchboard_runtime::emf::{Metrics, Unit};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    fleet_counts::FleetCounts,
    ports::{Task, TaskSource},
    worker::Worker,
};

/// Maximum time for a report, and for reading the metadata of the task.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Reports for one line of metrics: a minute.
const REPORTS_PER_METRIC: u32 = 6;

/// Reports until the process ends. Cancels `drain` once the platform is about to stop this worker.
pub(crate) async fn report(worker: &Worker, drain: &CancellationToken) {
    let id = match task(&*worker.task).await {
        Some(task) => task.arn,
        None => format!("worker-{}", switchboard_runtime::random_hex::<8>()),
    };
    let span = tracing::error_span!("fleet", worker = id);
    report_as(id, worker, drain).instrument(span).await;
}

async fn report_as(id: String, worker: &Worker, drain: &CancellationToken) {
    let mut ticks = interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_registered = false;
    for number in 0_u32.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = drain.cancelled() => break,
        }
        let live = u32::try_from(worker.capacity - worker.permits.available_permits()).unwrap_or(u32::MAX);
        let capacity = u32::try_from(worker.capacity).unwrap_or(u32::MAX);
        if number % REPORTS_PER_METRIC == 0 {
            for metrics in metrics(worker, live, capacity) {
                metrics.write((worker.clock)());
            }
        }
        let report = WorkerReport { id: id.clone(), live, capacity, at: (worker.clock)(), draining: false };
        let reporting = async {
            if is_registered {
                return worker.table.report_worker(&report).await;
            }
            worker.table.register_worker(&report).await?;
            Ok(false)
        };
        let marked = match timeout(TIMEOUT, reporting).await {
            Ok(Ok(marked)) => {
                is_registered = true;
                marked
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "worker not reported");
                false
            }
            Err(_elapsed) => {
                tracing::warn!("worker not reported in time");
                false
            }
        };
        if marked || task(&*worker.task).await.is_some_and(|task| task.is_to_stop()) {
            tracing::info!(live, "worker is drained: the platform is about to stop it");
            drain.cancel();
        }
    }
    // The dialer counts no room of a draining worker. Its item stays: without any, nothing would be known of the fleet.
    if !matches!(timeout(TIMEOUT, worker.table.mark_worker_draining(&id)).await, Ok(Ok(_))) {
        tracing::warn!("worker not marked as draining");
    }
}

async fn task(source: &dyn TaskSource) -> Option<Task> {
    timeout(TIMEOUT, source.task()).await.ok().flatten()
}

/// `CallLoad` is what the deployment scales on.
fn metrics(worker: &Worker, live: u32, capacity: u32) -> Vec<Metrics> {
    let FleetCounts { refused, taken_over, .. } = &*worker.counts;
    let taken = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
    let load = u64::from(live) * 100 / u64::from(capacity.max(1));
    let whole = Metrics::new()
        .value("CallLoad", Unit::Percent, load)
        .value("LiveCalls", Unit::Count, live.into())
        .value("CallCapacity", Unit::Count, capacity.into())
        .value("StreamsRefused", Unit::Count, taken(refused))
        .value("CallsTakenOver", Unit::Count, taken(taken_over))
        .value("ProviderFaults", Unit::Count, 0);
    let faults = worker.counts.take_faults().into_iter();
    let faults = faults.map(|(provider, count)| {
        Metrics::new().value("ProviderFaults", Unit::Count, count).by("Provider", provider)
    });
    std::iter::once(whole).chain(faults).collect()
}
