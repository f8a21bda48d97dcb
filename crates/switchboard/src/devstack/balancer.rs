//! A load balancer in front of the media workers: each connection goes to the next healthy worker.
//!
//! It forwards bytes and knows nothing of their meaning. When a worker dies, its connections break.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Limit for a health check and a connection. A healthy worker answers within a millisecond.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(500);

/// Pause after a failed accept, which may mean that the process has no file descriptors left.
const BREATH: Duration = Duration::from_millis(100);

/// A running media worker, as `local.json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    /// The process id of the worker itself.
    pub(crate) pid: u32,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Open connections through the balancer: one per live call.
    pub(crate) streams: usize,
}

/// A media worker that has ended, as `local.json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndedWorker {
    /// The process id of the worker itself.
    pub(crate) pid: u32,
    /// The exit code, or 128 plus the number of the signal that ended it; null if neither is known.
    pub(crate) exit_code: Option<i32>,
}

/// The workers of the stack, running and ended. Cheap to clone; all clones share one list.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    workers: Arc<watch::Sender<PoolState>>,
    turn: Arc<AtomicUsize>,
}

/// The two lists of a [`Pool`].
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolState {
    running: Vec<Worker>,
    ended: Vec<EndedWorker>,
}

/// An open connection to a worker. Dropping it takes the connection off the worker's count.
#[derive(Debug)]
struct CountedConnection {
    pool: Pool,
    pid: u32,
}

/// A running balancer. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Balancer {
    _server: JoinSet<()>,
}

impl Pool {
    /// Creates a pool without workers.
    pub(crate) fn new() -> Self {
        Self { workers: Arc::new(watch::Sender::new(PoolState::default())), turn: Arc::default() }
    }

    /// Subscribes to the lists and their changes.
    pub(crate) fn watch(&self) -> watch::Receiver<PoolState> {
        self.workers.subscribe()
    }

    /// Returns the running workers.
    pub(crate) fn workers(&self) -> Vec<Worker> {
        self.workers.borrow().running.clone()
    }

    /// Adds a worker that is ready.
    pub(crate) fn add(&self, pid: u32, url: String) {
        self.workers.send_modify(|state| state.running.push(Worker { pid, url, streams: 0 }));
    }

    /// Stops sending connections to a worker.
    pub(crate) fn remove(&self, pid: u32) {
        self.workers.send_modify(|state| state.running.retain(|worker| worker.pid != pid));
    }

    /// Moves a worker from the running to the ended ones.
    pub(crate) fn record_exit(&self, pid: u32, exit_code: Option<i32>) {
        self.workers.send_modify(|state| {
            state.running.retain(|worker| worker.pid != pid);
            state.ended.push(EndedWorker { pid, exit_code });
        });
    }

    /// Returns the running workers, starting with another one at each call.
    fn in_turn(&self) -> Vec<Worker> {
        let mut workers = self.workers();
        if !workers.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % workers.len();
            workers.rotate_left(first);
        }
        workers
    }

    fn count(&self, pid: u32) -> CountedConnection {
        self.change_streams(pid, |streams| streams + 1);
        CountedConnection { pool: self.clone(), pid }
    }

    fn change_streams(&self, pid: u32, change: impl FnOnce(usize) -> usize) {
        self.workers.send_if_modified(|state| {
            let Some(worker) = state.running.iter_mut().find(|worker| worker.pid == pid) else {
                return false;
            };
            worker.streams = change(worker.streams);
            true
        });
    }
}

impl PoolState {
    /// The running workers, and those that have ended, the latest last.
    pub(crate) fn into_parts(self) -> (Vec<Worker>, Vec<EndedWorker>) {
        (self.running, self.ended)
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.pool.change_streams(self.pid, |streams| streams.saturating_sub(1));
    }
}

impl Balancer {
    /// Forwards the connections of `listener` to the workers of `pool`.
    ///
    /// # Errors
    ///
    /// The HTTP client for health checks cannot be created.
    pub(crate) fn start(listener: TcpListener, pool: Pool) -> anyhow::Result<Self> {
        // Connections are not reused: an idle one would look alive after its worker died.
        let health = reqwest::Client::builder()
            .timeout(HEALTH_TIMEOUT)
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()?;
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((client, _)) => {
                            connections.spawn(balance(client, pool.clone(), health.clone()));
                        }
                        Err(error) => {
                            tracing::warn!(%error, "connection not accepted");
                            sleep(BREATH).await;
                        }
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { _server: server })
    }
}

/// Forwards a connection to a healthy worker until either side closes it. Closes it at once if no worker is healthy.
async fn balance(mut client: TcpStream, pool: Pool, health: reqwest::Client) {
    let Some((mut worker, _counted)) = connect(&pool, &health).await else {
        tracing::warn!("no healthy media worker");
        return;
    };
    // Without the option Nagle's algorithm would hold back frames; a refusal is harmless.
    let _ = client.set_nodelay(true).and(worker.set_nodelay(true));
    // After an error of one side both sockets are dropped, which closes the other side, too.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut worker).await;
}

async fn connect(pool: &Pool, health: &reqwest::Client) -> Option<(TcpStream, CountedConnection)> {
    for Worker { pid, url, .. } in pool.in_turn() {
        let answer = health.get(format!("{url}/health")).send().await;
        if !answer.is_ok_and(|answer| answer.status().is_success()) {
            continue;
        }
        let address = url.strip_prefix("http://").unwrap_or(&url);
        if let Ok(Ok(worker)) = timeout(HEALTH_TIMEOUT, TcpStream::connect(address)).await {
            return Some((worker, pool.count(pid)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A worker that answers with its name, and with `health` to health checks.
    async fn worker(name: &'static str, health: StatusCode, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app =
            Router::new().route("/health", get(async move || health)).route("/", get(async move || name));
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    async fn balancer(pool: &Pool) -> (Balancer, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (Balancer::start(listener, pool.clone()).unwrap(), address)
    }

    async fn ask(address: &str) -> Option<String> {
        // A connection of its own per request.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        client.get(format!("http://{address}/")).send().await.ok()?.text().await.ok()
    }

    #[tokio::test]
    async fn connections_go_to_the_healthy_workers_in_turn() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (mut tasks, pool) = (JoinSet::new(), Pool::new());
        pool.add(1, worker("one", StatusCode::OK, &mut tasks).await);
        pool.add(2, worker("full", StatusCode::SERVICE_UNAVAILABLE, &mut tasks).await);
        pool.add(3, worker("three", StatusCode::OK, &mut tasks).await);
        pool.add(4, "http://127.0.0.1:9".to_owned());
        let (_balancer, address) = balancer(&pool).await;
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(ask(&address).await.unwrap());
        }
        answers.sort();
        answers.dedup();
        assert_eq!(answers, ["one", "three"]);
    }

    #[tokio::test]
    async fn without_a_worker_a_connection_is_closed_at_once() {
        let (_balancer, address) = balancer(&Pool::new()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn open_connections_are_counted_and_break_with_their_worker() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (mut tasks, pool) = (JoinSet::new(), Pool::new());
        pool.add(1, worker("one", StatusCode::OK, &mut tasks).await);
        let (_balancer, address) = balancer(&pool).await;
        let mut changes = pool.watch();
        let mut client = TcpStream::connect(address).await.unwrap();
        changes.wait_for(|state| state.running[0].streams == 1).await.unwrap();
        // The server closes, and all of its connections break.
        tasks.shutdown().await;
        drop(tasks);
        client.shutdown().await.unwrap();
        changes.wait_for(|state| state.running[0].streams == 0).await.unwrap();
        pool.record_exit(1, Some(137));
        let (running, ended) = changes.borrow().clone().into_parts();
        assert_eq!((running, ended), (vec![], vec![EndedWorker { pid: 1, exit_code: Some(137) }]));
    }
}
