//! Servers for one test each. They end when they are dropped.

use std::{future::Future, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use vendors::{Patience, Providers, egress, endpoints::Endpoints, keys::Keys};

/// Long enough for a loopback answer on a busy machine, short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(250);

/// For tests in which nothing is late.
pub(crate) const PATIENT: Patience =
    Patience { first: Duration::from_secs(10), idle: Duration::from_secs(10) };

/// For tests in which something never comes.
pub(crate) const IMPATIENT: Patience = Patience { first: SHORT, idle: SHORT };

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Speaks HTTP properly.
    pub(crate) async fn http(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, _tasks: tasks }
    }

    /// Reads the head of each connection's request and leaves the rest to `answer`.
    pub(crate) async fn raw<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                connections.spawn(answer(socket));
            }
        });
        Self { address, _tasks: tasks }
    }

    pub(crate) fn providers(&self) -> Providers {
        providers(&format!("http://{}", self.address))
    }
}

/// An address that nobody listens on.
pub(crate) async fn nowhere() -> Providers {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    providers(&format!("http://{}", listener.local_addr().unwrap()))
}

pub(crate) fn providers(url: &str) -> Providers {
    let keys = r#"{"twilio_account_sid":"AC1","twilio_auth_token":"token","openai_api_key":"sk-1","deepgram_api_key":"dg-1"}"#;
    Providers {
        http: egress::client(),
        endpoints: Endpoints::from_vars(&|_| Some(url.to_owned())).unwrap(),
        keys: Keys::parse(keys).unwrap(),
    }
}

/// The head of an answer whose body comes in chunks.
pub(crate) const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Writes `bytes` as one chunk; false once the other side is gone.
pub(crate) async fn write_chunk(socket: &mut TcpStream, bytes: &[u8]) -> bool {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    socket.write_all(&chunk).await.is_ok()
}

/// Returns when the other side has closed the connection.
pub(crate) async fn until_closed(socket: &mut TcpStream) {
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await.unwrap_or(0) > 0 {}
}
