//! Wiring of the media worker.

use std::process::ExitCode;

use anyhow::{Context, bail};
use switchboard_media::{Config, Worker};
use switchboard_runtime::{ConfigError, Vars};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    tracing_subscriber::fmt().json().with_env_filter(EnvFilter::from_default_env()).init();
    let config = match Config::from_vars(Vars::from_env()) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error);
            return ExitCode::from(ConfigError::EXIT_CODE);
        }
    };
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: &Config) -> anyhow::Result<()> {
    let worker = Worker::new(config).await?;
    let listener = TcpListener::bind(config.listen).await.context("LISTEN cannot be bound")?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut signals = async move || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::select! {
        served = switchboard_media::serve(listener, worker, async { drop(stopped.await) }, switchboard_media::DRAIN) => served,
        // The first signal hands the calls over, the second cuts them off.
        () = async { signals().await; drop(stop); signals().await } => bail!("told to stop at once"),
    }
}
