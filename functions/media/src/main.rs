//! The media worker's process: configuration in, exit code out. The calls are served by the library.

use std::{net::Ipv4Addr, process::ExitCode};

use anyhow::{Context, bail};
use switchboard_media::{Config, DRAIN_TIMEOUT, Worker, listen, without_delay};
use switchboard_runtime::process;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

fn main() -> ExitCode {
    // `switchboard-media health` is the health check of the container.
    if std::env::args().nth(1).as_deref() == Some("health") {
        return process::check(Config::from_vars, |config| {
            let address = (Ipv4Addr::LOCALHOST, config.listen.port()).into();
            switchboard_media::probe(address).is_ok()
        });
    }
    process::worker(Config::from_vars, async |config| Ok(serve(&config).await?))
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let worker = Worker::connect(config).await?;
    let listener = listen(config.listen).context("LISTEN cannot be bound")?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut signals = async move || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    tokio::select! {
        served = switchboard_media::serve(without_delay(listener), worker, stopped, DRAIN_TIMEOUT) => served,
        // The first signal hands the calls over, the second one cuts them off.
        () = async { signals().await; drop(stop); signals().await } => bail!("stopped by a second signal"),
    }
}
