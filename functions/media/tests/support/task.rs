//! The task that a worker runs in, as a test says.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use switchboard_media::{Task, TaskSource};

pub(crate) const TASK: &str = "arn:aws:ecs:us-east-1:123456789012:task/switchboard/1dc5c17a422b4dc8";

/// Clones are one task.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestTask(Arc<AtomicBool>);

impl TestTask {
    /// The platform wants the task to stop.
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl TaskSource for TestTask {
    fn task(&self) -> BoxFuture<'_, Option<Task>> {
        let status = if self.0.load(Ordering::Relaxed) { "STOPPED" } else { "RUNNING" };
        let task = Task { arn: TASK.to_owned(), desired_status: status.to_owned() };
        async { Some(task) }.boxed()
    }
}
