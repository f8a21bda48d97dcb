//! The reports of the media workers. Each worker has one item, which it writes every ten seconds.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use switchboard_model::{
    fleet::{FRESH, Fleet, WorkerReport},
    time::Timestamp,
};

use super::{Table, TableError, items, items::Item, request_error, single_writes::Refusal};
use crate::{failure::Cause, keys::WORKERS};

/// Time after its last report for which a worker is listed. DynamoDB removes it hours or days later. A fleet of which nothing is
/// listed counts as one with room, so this outlives a night without any worker.
const KEPT: Duration = Duration::from_hours(24);
/// Maximum number of pages of workers that are read, 1 MB each: several thousand workers, of which most have died.
const MAX_PAGES: usize = 20;

impl Table {
    /// Stores a worker's first report. Unlike later ones, it removes the mark of an earlier worker in the same task, whose
    /// container was started again.
    pub async fn register_worker(&self, report: &WorkerReport) -> Result<(), TableError> {
        self.set_report(report, " REMOVE draining").await?;
        Ok(())
    }

    /// Stores a worker's report. Returns whether it is to hand its calls over ([`Table::mark_worker_draining`]).
    pub async fn report_worker(&self, report: &WorkerReport) -> Result<bool, TableError> {
        self.set_report(report, "").await
    }

    async fn set_report(&self, report: &WorkerReport, more: &str) -> Result<bool, TableError> {
        let number = |value: i64| AttributeValue::N(value.to_string());
        let expires = report.at.after(KEPT).as_millis().div_euclid(1_000);
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(items::key(WORKERS.to_owned(), &report.id)))
            .update_expression(format!(
                "SET id = :id, live = :live, #capacity = :capacity, #at = :at, #ttl = :ttl{more}"
            ))
            .expression_attribute_names("#capacity", "capacity")
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":id", AttributeValue::S(report.id.clone()))
            .expression_attribute_values(":live", number(report.live.into()))
            .expression_attribute_values(":capacity", number(report.capacity.into()))
            .expression_attribute_values(":at", attribute(report.at)?)
            .expression_attribute_values(":ttl", number(expires))
            .return_values(ReturnValue::AllNew)
            .send();
        let updated = Box::pin(request).await.map_err(|error| request_error("UpdateItem", &error))?;
        let item = updated.attributes.map(Item::from).ok_or(TableError::Corrupt(WORKERS))?;
        Ok(item.read::<WorkerReport>(WORKERS)?.draining)
    }

    /// The workers that reported lately, as of `now`, and whether there have been others.
    ///
    /// # Errors
    /// The table did not respond, or has more items of workers than can be read.
    pub async fn fleet(&self, now: Timestamp) -> Result<Fleet, TableError> {
        let mut fleet = Fleet { workers: vec![], is_known: false };
        let fresh = i64::try_from(FRESH.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from_millis(now.as_millis().saturating_sub(fresh));
        let mut start = None;
        for _ in 0..MAX_PAGES {
            let request = self
                .client
                .query()
                .table_name(&self.name)
                .key_condition_expression("pk = :pk")
                // Those that died do not hide the others, however many they are.
                .filter_expression("#at > :oldest")
                .expression_attribute_names("#at", "at")
                .expression_attribute_values(":pk", AttributeValue::S(WORKERS.to_owned()))
                .expression_attribute_values(":oldest", attribute(oldest)?)
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send();
            let page = Box::pin(request).await.map_err(|error| request_error("Query", &error))?;
            fleet.is_known |= page.scanned_count > 0;
            for item in page.items.unwrap_or_default() {
                fleet.workers.push(Item::from(item).read(WORKERS)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(fleet);
            }
        }
        let advice =
            format!("more than {MAX_PAGES} pages of workers: delete the old items with the key {WORKERS}");
        Err(TableError::Refused(Cause::new(advice)))
    }

    /// Has a worker hand its calls over with its next report, and counts no room of it. False if no worker of this id reports.
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
}

fn attribute(at: Timestamp) -> Result<AttributeValue, TableError> {
    serde_dynamo::to_attribute_value(at).map_err(|_| TableError::Corrupt("NEW"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{testing, tests::at};

    fn report(id: &str, live: u32, at: Timestamp) -> WorkerReport {
        WorkerReport { id: id.to_owned(), live, capacity: 10, at, draining: false }
    }

    #[tokio::test]
    async fn workers_report_drain_and_leave() {
        let table = testing::new_table().await;
        let [a, b] = ["arn:aws:ecs:task/a", "arn:aws:ecs:task/b"];
        assert!(!table.mark_worker_draining(a).await.unwrap());
        assert!(table.fleet(at(0)).await.unwrap().has_room(at(0)), "nothing is known");
        for (id, live) in [(a, 1), (b, 2), (a, 3)] {
            assert!(!table.report_worker(&report(id, live, at(i64::from(live)))).await.unwrap());
        }
        let (last_a, last_b) = (report(a, 3, at(3)), report(b, 2, at(2)));
        assert_eq!(table.fleet(at(4)).await.unwrap().workers, [last_a.clone(), last_b]);
        let fresh = table.fleet(at(47)).await.unwrap().workers;
        assert_eq!(fresh, std::slice::from_ref(&last_a), "the other is too old");
        assert!(table.mark_worker_draining(a).await.unwrap());
        assert!(table.report_worker(&last_a).await.unwrap(), "it reads that with its next report");
        assert!(table.fleet(at(4)).await.unwrap().has_room(at(4)), "the other one has room");
        assert!(table.mark_worker_draining(b).await.unwrap());
        for later in [4, 4_000] {
            let fleet = table.fleet(at(later)).await.unwrap();
            assert!(!fleet.has_room(at(later)), "the last worker has stopped");
        }
        table.register_worker(&last_a).await.unwrap();
        assert!(table.fleet(at(4)).await.unwrap().has_room(at(4)), "its container was started again");
    }

    #[tokio::test]
    async fn dead_workers_do_not_hide_a_live_one() {
        let table = testing::new_table().await;
        for n in 0..600 {
            table.report_worker(&report(&format!("arn:aws:ecs:task/{n:03}"), 0, at(n))).await.unwrap();
        }
        let live = report("arn:aws:ecs:task/z", 1, at(10_000));
        table.report_worker(&live).await.unwrap();
        assert_eq!(table.fleet(at(10_001)).await.unwrap().workers, [live]);
    }

    #[tokio::test]
    async fn the_pages_of_workers_are_limited() {
        // Each page ends with a key to go on from.
        let pages = crate::testing::config_of(|_request| {
            let key = r#"{"pk":{"S":"WORKERS"},"sk":{"S":"a"}}"#;
            let body = format!(r#"{{"Items":[],"Count":0,"ScannedCount":9,"LastEvaluatedKey":{key}}}"#);
            Box::pin(async move { Some(crate::testing::Response::new(200, body)) })
        });
        let table = Table::new(&pages, "switchboard".to_owned());
        assert!(matches!(table.fleet(at(0)).await, Err(TableError::Refused(_))));
    }
}
