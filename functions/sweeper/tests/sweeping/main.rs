//! A sweep, from the sample event to the requests to the carrier, and the table.

#![cfg(test)]

mod conversations;
mod numbers;
mod webhooks;
mod world;

use lambda_runtime::LambdaEvent;
use serde_json::Value;
use switchboard_model::fleet::WorkerReport;
use switchboard_runtime as system;
use switchboard_sweeper::StoppingTask;
use world::World;

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;

#[test]
fn the_sample_of_the_schedule_is_accepted() {
    let sample = include_str!("../../../../events/schedule_sweep.json");
    let payload: Value = serde_json::from_str(sample).unwrap();
    assert_eq!(payload["detail-type"], "Scheduled Event");
    // The function ignores the content of the event: only the clock decides which items are due.
    let _: LambdaEvent<Value> = LambdaEvent::new(payload, lambda_runtime::Context::default());
}

#[tokio::test]
async fn a_worker_whose_task_is_about_to_stop_is_told_so() {
    let sample: Value =
        serde_json::from_str(include_str!("../../../../events/ecs_task_stopping.json")).unwrap();
    let world = World::new().await;
    let table = &world.sweeper.backend.table;
    let id = sample["detail"]["taskArn"].as_str().unwrap().to_owned();
    let report = WorkerReport { id, live: 1, capacity: 10, at: system::now(), draining: false };
    assert!(!table.report_worker(&report).await.unwrap());
    let task = StoppingTask::of_event(&sample).unwrap();
    world.sweeper.drain_worker(&task).await.unwrap();
    assert!(table.report_worker(&report).await.unwrap());
    let mut goes_on = sample.clone();
    goes_on["detail"]["desiredStatus"] = "RUNNING".into();
    assert_eq!(StoppingTask::of_event(&goes_on), None);
    let schedule = serde_json::from_str(include_str!("../../../../events/schedule_sweep.json")).unwrap();
    assert_eq!(StoppingTask::of_event(&schedule), None);
}
