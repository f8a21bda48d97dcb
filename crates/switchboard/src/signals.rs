//! SIGINT, SIGTERM and SIGHUP, which all ask the command to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a shell for a program that Ctrl-C ended: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// The signals that ask for a stop: the first for an orderly one, the second for an immediate one.
pub(crate) struct StopSignals([Signal; 3]);

impl StopSignals {
    /// Installs the handlers.
    ///
    /// # Errors
    ///
    /// The operating system refuses a handler.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
