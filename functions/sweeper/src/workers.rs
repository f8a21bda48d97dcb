//! Media workers that ECS is about to stop.
//!
//! ECS reports a task that it stops before it takes the task out of the load balancer and sends SIGTERM. The worker reads
//! the mark within ten seconds, and hands its calls over while their sockets are open.

use serde_json::Value;
use switchboard_aws::table::TableError;

use crate::Sweeper;

/// The ARN of a task that is to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppingTask(String);

impl StoppingTask {
    /// Reads an event "ECS Task State Change". `None` for other events, and for a task that goes on.
    #[must_use]
    pub fn of_event(event: &Value) -> Option<Self> {
        let detail = &event["detail"];
        let is_stopping =
            event["detail-type"] == "ECS Task State Change" && detail["desiredStatus"] == "STOPPED";
        is_stopping.then(|| detail["taskArn"].as_str().map(|arn| Self(arn.to_owned()))).flatten()
    }
}

impl Sweeper {
    /// Has the worker in this task hand its calls over.
    ///
    /// # Errors
    /// The table cannot be written. Nothing repeats the event: the worker reads its task's metadata, too.
    pub async fn drain_worker(&self, task: &StoppingTask) -> Result<(), TableError> {
        let is_known = self.backend.table.mark_worker_draining(&task.0).await?;
        tracing::info!(task = task.0, is_known, "task is about to stop");
        Ok(())
    }
}
