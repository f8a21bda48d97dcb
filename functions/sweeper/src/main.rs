//! The Lambda function that acts on passed deadlines: configuration, clients, one sweep per invocation.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use switchboard_runtime::{now, process};
use switchboard_sweeper::{Config, StoppingTask, Sweeper};

fn main() -> ExitCode {
    process::lambda(Config::from_vars, async |config| {
        let sweeper = &Sweeper::connect(config).await?;
        let handler = |event: LambdaEvent<Value>| async move {
            match StoppingTask::of_event(&event.payload) {
                Some(task) => sweeper.drain_worker(&task).await?,
                None => sweeper.sweep().await?.metrics().write(now()),
            }
            Ok::<_, Error>(())
        };
        lambda_runtime::run(service_fn(handler)).await
    })
}
