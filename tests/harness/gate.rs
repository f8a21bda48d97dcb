//! A gate between a stack's functions and workers, and the table and bucket in its emulator. Closing it is an outage.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::Stack;

/// The treatment of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// They pass.
    Open,
    /// They are cut, and others are closed at once.
    Cut,
    /// They stay open, and nothing passes.
    Stalled,
}

/// The gate. It ends with the runtime of the test, or when it is dropped.
#[derive(Debug)]
pub struct Gate {
    url: String,
    state: Arc<watch::Sender<(Passage, Option<SocketAddr>)>>,
    _serving: JoinSet<()>,
}

impl Gate {
    /// A gate that is closed until its stack has started.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(watch::Sender::new((Passage::Cut, None)));
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&state);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                connections.spawn(pass(client, shared.subscribe()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { url, state, _serving: serving })
    }

    /// Starts a stack behind the gate, and opens it.
    ///
    /// # Errors
    /// The stack does not start.
    pub fn stack(&self) -> anyhow::Result<Stack> {
        let stack = Stack::start_with(&[("SWITCHBOARD_STORAGE_URL", &self.url)])?;
        let emulator = stack.address("emulator_url").strip_prefix("http://").context("not an HTTP URL")?;
        let emulator = emulator.parse().context("the emulator's address")?;
        self.state.send_modify(|state| *state = (Passage::Open, Some(emulator)));
        Ok(stack)
    }

    /// Opens or closes the gate.
    pub fn set(&self, passage: Passage) {
        self.state.send_modify(|state| state.0 = passage);
    }
}

/// Forwards one connection for as long as the gate stays as it is.
async fn pass(mut client: TcpStream, mut state: watch::Receiver<(Passage, Option<SocketAddr>)>) {
    let (passage, emulator) = *state.borrow_and_update();
    let Some(emulator) = emulator.filter(|_| passage == Passage::Open) else {
        if passage == Passage::Stalled {
            let _ = state.changed().await;
        }
        return;
    };
    let Ok(mut server) = TcpStream::connect(emulator).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = state.changed() => {
            // Nothing that was sent is answered any more.
            let is_stalled = state.borrow_and_update().0 == Passage::Stalled;
            if is_stalled {
                let _ = state.changed().await;
            }
        }
    }
}
