//! The Lambda function that delivers events to webhooks: configuration, clients, the queue's batches.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use switchboard_runtime::process;
use switchboard_webhook_delivery::{Config, WebhookDelivery};

fn main() -> ExitCode {
    process::lambda(Config::from_vars, async |config| {
        let function = &WebhookDelivery::connect(config).await;
        let handler = |event: LambdaEvent<_>| async { Ok::<_, Error>(function.handle(event.payload).await) };
        lambda_runtime::run(service_fn(handler)).await
    })
}
