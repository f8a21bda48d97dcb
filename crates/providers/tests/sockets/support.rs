//! Servers for one test each. Dropping one stops it.

use std::{future::Future, net::SocketAddr, time::Duration};

use axum::Router;
use switchboard_providers::{Providers, StreamTimeouts, egress, endpoints::Endpoints, keys::Keys};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

/// Longer than a loopback response takes on a busy machine, and short enough for a test.
pub(crate) const SHORT: Duration = Duration::from_millis(250);

/// For tests in which every event comes.
pub(crate) const PATIENT: StreamTimeouts =
    StreamTimeouts { first: Duration::from_secs(10), idle: Duration::from_secs(10) };

/// For tests in which an event never comes.
pub(crate) const IMPATIENT: StreamTimeouts = StreamTimeouts { first: SHORT, idle: SHORT };

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    /// A correct HTTP server.
    pub(crate) async fn http(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, _tasks: tasks }
    }

    /// Reads one request of each connection and leaves the response to `answer`.
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
                read_request(&mut socket).await;
                connections.spawn(answer(socket));
            }
        });
        Self { address, _tasks: tasks }
    }

    pub(crate) fn providers(&self) -> Providers {
        providers(&format!("http://{}", self.address))
    }
}

/// Reads the whole request: closing a connection with unread bytes resets it, and the response is lost.
async fn read_request(socket: &mut TcpStream) {
    let mut request = Vec::new();
    while socket.read_buf(&mut request).await.unwrap_or(0) > 0 {
        // A TLS client hello.
        if request[0] == 0x16 {
            return;
        }
        let Some(head) = request.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let length = String::from_utf8_lossy(&request[..head])
            .to_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .unwrap_or(0);
        if request.len() >= head + 4 + length {
            return;
        }
    }
}

/// Providers at an address that is reserved and refuses connections.
pub(crate) struct Nowhere {
    pub(crate) providers: Providers,
    _reserved: TcpSocket,
}

pub(crate) fn nowhere() -> Nowhere {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    Nowhere { providers: providers(&url), _reserved: socket }
}

pub(crate) fn providers(url: &str) -> Providers {
    let keys = r#"{"twilio_account_sid":"AC1","twilio_auth_token":"token","openai_api_key":"sk-1","google_api_key":"go-1",
        "deepgram_api_key":"dg-1","elevenlabs_api_key":"xi-1","azure_api_key":"az-1","rime_api_key":"rm-1",
        "playht_api_key":"ph-1","playht_user_id":"user-1"}"#;
    Providers {
        http: egress::client(),
        endpoints: Endpoints::from_vars(&|name| name.ends_with("_URL").then(|| url.to_owned())).unwrap(),
        keys: Keys::parse(keys).unwrap(),
    }
}

/// The head of a response with a chunked body.
pub(crate) const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Writes `bytes` as one chunk; false once the peer has closed the connection.
pub(crate) async fn write_chunk(socket: &mut TcpStream, bytes: &[u8]) -> bool {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    socket.write_all(&chunk).await.is_ok()
}

/// Returns when the peer has closed the connection.
pub(crate) async fn until_closed(socket: &mut TcpStream) {
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await.unwrap_or(0) > 0 {}
}
