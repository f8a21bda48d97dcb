//! A webhook endpoint on a loopback socket, as well or badly behaved as a test wants.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use switchboard_model::time::Timestamp;
use switchboard_runtime as system;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Maximum size of a request.
const LONGEST: u64 = 1 << 20;

/// How a receiver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manner {
    /// With a status, further headers (each with its line end) and a body, after a while.
    Answers(u16, String, &'static str, Duration),
    /// Not at all, though the connection stays open.
    Hangs,
    /// With a hundred megabytes.
    Floods,
    /// With a body that comes one byte a second.
    Drips,
    /// Like a language model that never stops.
    Babbles,
}

/// One received request.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    /// Time at which the request was complete.
    pub(crate) at: Timestamp,
    pub(crate) method: String,
    pub(crate) query: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The signed content.
    pub(crate) fn signed(&self) -> Value {
        let content = if self.method == "GET" { &self.query } else { &self.body };
        json!({ "headers": self.headers, "content": content })
    }

    /// The body of a `POST`.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A receiver; ends with the test's runtime or when it is dropped.
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Got>>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::start_on("127.0.0.1:0", manner).await
    }

    /// A receiver on this address; `0.0.0.0` is every host of the loopback network.
    pub(crate) async fn start_on(address: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let mut serving = JoinSet::new();
        let log = Arc::clone(&got);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (manner, log) = (manner.clone(), Arc::clone(&log));
                // A killed function breaks its connection.
                connections.spawn(async move { drop(serve(socket, &manner, &log).await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url, got, _serving: serving }
    }

    /// Answers at once with a status.
    pub(crate) async fn answering(status: u16) -> Self {
        Self::start(Manner::Answers(status, String::new(), "thanks", Duration::ZERO)).await
    }

    /// The requests received so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn serve(socket: TcpStream, manner: &Manner, log: &Mutex<Vec<Got>>) -> std::io::Result<()> {
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read.take(LONGEST));
    let mut line = String::new();
    read.read_line(&mut line).await?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).await? == 0 {
            // The client was killed before it had sent its request.
            return Ok(());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    read.read_exact(&mut body).await?;
    let body = String::from_utf8(body).unwrap();
    let query = target.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    log.lock().unwrap().push(Got { at: system::now(), method, query, headers, body });

    match manner {
        Manner::Answers(status, headers, body, after) => {
            tokio::time::sleep(*after).await;
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} Answer\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            write.write_all(answer.as_bytes()).await
        }
        // Until the client closes the connection.
        Manner::Hangs => read.read_u8().await.map(drop),
        Manner::Floods => {
            write.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await?;
            for _ in 0..10_000 {
                write.write_all(&[b'x'; 10_000]).await?;
            }
            Ok(())
        }
        Manner::Babbles => {
            write.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await?;
            loop {
                write
                    .write_all(b"data: {\"choices\":[{\"delta\":{\"content\":\"And more. \"}}]}\n\n")
                    .await?;
            }
        }
        Manner::Drips => {
            write.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await?;
            for _ in 0..1_000 {
                write.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
    }
}
