//! The reports of the media workers. Each worker has one item, which it writes every ten seconds.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use switchboard_model::fleet::WorkerReport;

use super::{Table, TableError, items, items::Item, request_error, single_writes::Refusal};
use crate::keys::WORKERS;

/// Time after its last report for which a worker is listed.
const KEPT: Duration = Duration::from_hours(1);
/// Maximum number of workers that are read.
const MAX_WORKERS: usize = 500;

impl Table {
    /// Stores a worker's report. Returns whether it is to hand its calls over ([`Table::mark_worker_draining`]).
    pub async fn report_worker(&self, report: &WorkerReport) -> Result<bool, TableError> {
        let number = |value: i64| AttributeValue::N(value.to_string());
        let expires = report.at.after(KEPT).as_millis().div_euclid(1_000);
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(items::key(WORKERS.to_owned(), &report.id)))
            .update_expression("SET id = :id, live = :live, #capacity = :capacity, #at = :at, #ttl = :ttl")
            .expression_attribute_names("#capacity", "capacity")
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":id", AttributeValue::S(report.id.clone()))
            .expression_attribute_values(":live", number(report.live.into()))
            .expression_attribute_values(":capacity", number(report.capacity.into()))
            .expression_attribute_values(
                ":at",
                serde_dynamo::to_attribute_value(report.at).map_err(|_| TableError::Corrupt("NEW"))?,
            )
            .expression_attribute_values(":ttl", number(expires))
            .return_values(ReturnValue::AllNew)
            .send();
        let updated = Box::pin(request).await.map_err(|error| request_error("UpdateItem", &error))?;
        let item = updated.attributes.map(Item::from).ok_or(TableError::Corrupt(WORKERS))?;
        Ok(item.read::<WorkerReport>(WORKERS)?.draining)
    }

    /// The last reports of all workers, also of those that have died in the last hour.
    pub async fn workers(&self) -> Result<Vec<WorkerReport>, TableError> {
        let items = self.range(WORKERS.to_owned(), "!".into(), "~".into(), MAX_WORKERS).await?;
        items.into_iter().map(|item| item.read(WORKERS)).collect()
    }

    /// Has a worker hand its calls over with its next report. False if no worker of this id reports.
    pub async fn mark_worker_draining(&self, id: &str) -> Result<bool, TableError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(items::key(WORKERS.to_owned(), id)))
            .condition_expression("attribute_exists(pk)")
            .update_expression("SET draining = :yes")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .send();
        match Box::pin(request).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(Refusal::of(&error), Some(Refusal::Condition)) => Ok(false),
            Err(error) => Err(request_error("UpdateItem", &error)),
        }
    }

    /// Removes a worker that stops.
    pub async fn remove_worker(&self, id: &str) -> Result<(), TableError> {
        self.delete_one(WORKERS.to_owned(), id).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{testing, tests::at};

    #[tokio::test]
    async fn workers_report_drain_and_leave() {
        let table = testing::new_table().await;
        let report = |id: &str, live| WorkerReport {
            id: id.to_owned(),
            live,
            capacity: 10,
            at: at(i64::from(live)),
            draining: false,
        };
        assert!(!table.mark_worker_draining("arn:aws:ecs:task/a").await.unwrap());
        for (id, live) in [("arn:aws:ecs:task/a", 1), ("arn:aws:ecs:task/b", 2), ("arn:aws:ecs:task/a", 3)] {
            assert!(!table.report_worker(&report(id, live)).await.unwrap());
        }
        let (a, b) = (report("arn:aws:ecs:task/a", 3), report("arn:aws:ecs:task/b", 2));
        assert_eq!(table.workers().await.unwrap(), [a.clone(), b]);
        assert!(table.mark_worker_draining(&a.id).await.unwrap());
        assert!(table.report_worker(&a).await.unwrap(), "it reads that with its next report");
        assert!(table.workers().await.unwrap()[0].draining);
        table.remove_worker(&a.id).await.unwrap();
        assert_eq!(table.workers().await.unwrap().len(), 1);
    }
}
