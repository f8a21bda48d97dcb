//! The Lambda function behind the carrier's callbacks: configuration, clients, routes.

use std::process::ExitCode;

use switchboard_carrier_callbacks::{Callbacks, Config};
use switchboard_runtime::process;

fn main() -> ExitCode {
    process::lambda(Config::from_vars, async |config| {
        let callbacks = Callbacks::connect(config).await?;
        lambda_http::run(switchboard_carrier_callbacks::router(callbacks)).await
    })
}
