//! The media worker's process: configuration, clients, the listener, signals.

use std::process::ExitCode;

use anyhow::{Context, bail};
use switchboard_media::{Config, Worker};
use switchboard_runtime::process;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

fn main() -> ExitCode {
    process::worker(Config::from_vars, async |config| Ok(serve(&config).await?))
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let worker = Worker::new(config).await?;
    let listener = TcpListener::bind(config.listen).await.context("LISTEN cannot be bound")?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut signals = async move || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::select! {
        served = switchboard_media::serve(listener, worker, async { drop(stopped.await) }, switchboard_media::DRAIN) => served,
        // The first signal hands the calls over, the second cuts them off.
        () = async { signals().await; drop(stop); signals().await } => bail!("stopped by a second signal"),
    }
}
