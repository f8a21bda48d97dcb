//! The Lambda function that dials calls: configuration, clients, the queue's batches.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use switchboard_dialer::{Config, Dialer};
use switchboard_runtime::process;

fn main() -> ExitCode {
    process::lambda(Config::from_vars, async |config| {
        let dialer = &Dialer::connect(config).await?;
        let handler = |event: LambdaEvent<_>| async { Ok::<_, Error>(dialer.handle(event.payload).await) };
        lambda_runtime::run(service_fn(handler)).await
    })
}
