//! The Lambda function of the HTTP API: configuration, clients, routes.

use std::process::ExitCode;

use switchboard_api::{Api, Config};
use switchboard_runtime::process;

fn main() -> ExitCode {
    process::lambda(Config::from_vars, async |config| {
        let api = Api::connect(config).await?;
        lambda_http::run(switchboard_api::router(api)).await
    })
}
