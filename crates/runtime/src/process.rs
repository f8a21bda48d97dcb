//! The `main` of a binary: subscriber, configuration, serving, exit code.
//!
//! The exit code is 0 after serving ended, 64 if the configuration is bad, 1 after any other error. It knows nothing
//! of Lambda or HTTP: the binary passes the function that serves.

use std::{error::Error, process::ExitCode};

use tokio::runtime::{Builder, Runtime};

use crate::{
    ConfigError, Vars, emf,
    logging::{self, Output},
};

/// Any error that ends a process.
pub type ProcessError = Box<dyn Error + Send + Sync>;

/// Runs a Lambda function on one thread: Lambda gives an instance one invocation at a time.
///
/// `lambda_runtime::run` turns a panic of a handler into an error of that invocation.
pub fn lambda<C>(
    configure: impl FnOnce(Vars) -> Result<C, ConfigError>,
    serve: impl AsyncFnOnce(C) -> Result<(), ProcessError>,
) -> ExitCode {
    run(Output::Lambda, Builder::new_current_thread().enable_all(), configure, serve)
}

/// Runs a server on all cores.
pub fn worker<C>(
    configure: impl FnOnce(Vars) -> Result<C, ConfigError>,
    serve: impl AsyncFnOnce(C) -> Result<(), ProcessError>,
) -> ExitCode {
    run(Output::Worker, Builder::new_multi_thread().enable_all(), configure, serve)
}

/// Runs a check of another process, without a log: exit code 0 if it passes, else 1.
pub fn check<C>(
    configure: impl FnOnce(Vars) -> Result<C, ConfigError>,
    passes: impl FnOnce(C) -> bool,
) -> ExitCode {
    let has_passed = configure(Vars::from_env()).is_ok_and(passes);
    if has_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run<C>(
    output: Output,
    runtime: &mut Builder,
    configure: impl FnOnce(Vars) -> Result<C, ConfigError>,
    serve: impl AsyncFnOnce(C) -> Result<(), ProcessError>,
) -> ExitCode {
    let vars = Vars::from_env();
    logging::init(output, &vars);
    emf::init(&vars);
    let config = match configure(vars) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "configuration rejected");
            return ExitCode::from(ConfigError::EXIT_CODE);
        }
    };
    let served = runtime
        .build()
        .map_err(ProcessError::from)
        .and_then(|runtime: Runtime| runtime.block_on(serve(config)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = with_causes(&*error), "process failed");
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, outermost first, separated by colons.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (**error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("PROVIDER_KEYS_SECRET")]
    struct Outer(#[source] ConfigError);

    #[test]
    fn an_error_is_printed_with_its_causes() {
        let error = Outer(ConfigError(vec!["A is not set".to_owned()]));
        assert_eq!(with_causes(&error), "PROVIDER_KEYS_SECRET: bad configuration: A is not set");
    }
}
