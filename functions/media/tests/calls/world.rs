//! A whole worker in memory, on paused time: the server over duplex pipes, scripted providers, webhooks and carrier,
//! and the table and the bucket behind AWS clients without a socket.
//!
//! The clock stands still while any task can run, so a test of a minute takes milliseconds, and two runs are equal.

use std::{
    cell::RefCell,
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{http::HeaderMap, serve::Listener};
use futures_util::{FutureExt, future::BoxFuture};
use switchboard_aws::{
    SdkConfig,
    capacity::Tally,
    clips::Clips,
    recordings::Recordings,
    sealing::Sealer,
    table::{TableError, testing::MemoryDatabase},
    testing::{Request, Response as AwsResponse, config_of},
};
use switchboard_calls::HangUpError;
use switchboard_media::{CarrierControl, DRAIN_TIMEOUT, Worker, WorkerParts};
use switchboard_model::{
    agents::AgentConfig,
    conversations::Conversation,
    costs::Prices,
    ids::{AccountId, ConversationId},
    time::Timestamp,
};
use switchboard_providers::{AnyMediaStream, carrier::CarrierCallId, twilio::TwilioMediaStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, duplex},
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{providers::ScriptedProviders, webhooks::ScriptedWebhooks};
use crate::support::{
    TEST_TIMEOUT,
    bucket::{self, Objects},
    conversation::StoredConversation,
    phone::{Address, MEDIA_URL},
    task::TestTask,
};

/// Latency of the table and the bucket.
const AWS_DELAY: Duration = Duration::from_millis(5);
/// Buffer of a connection in each direction, in bytes.
const CONNECTION_BUFFER: usize = 64 * 1024;

/// A fault of the worker's requests to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableFault {
    None,
    /// The connections break.
    Unreachable,
    /// Writes that contain this text are refused for good, as an item of more than 400 KB is.
    Refuses(&'static str),
    /// The requests are executed, but the responses to writes are lost.
    LosesResponses,
}

pub(crate) struct World {
    /// The task that its workers run in.
    pub(crate) task: TestTask,
    pub(crate) conversation: StoredConversation,
    pub(crate) providers: ScriptedProviders,
    pub(crate) webhooks: ScriptedWebhooks,
    pub(crate) carrier: ScriptedCarrier,
    pub(crate) objects: Objects,
    /// Whether the bucket does not respond.
    pub(crate) bucket_is_away: Arc<AtomicBool>,
    fault: Arc<Mutex<TableFault>>,
    database: Database,
}

/// The database, and the number of writes so far.
#[derive(Clone)]
struct Database {
    memory: MemoryDatabase,
    writes: watch::Sender<u64>,
}

impl Database {
    fn execute(&self, request: &Request) -> AwsResponse {
        let response = self.memory.execute(request);
        let is_read = |target: &str| target.contains("Get") || target.ends_with("Query");
        if !request.target.as_deref().is_some_and(is_read) {
            self.writes.send_modify(|writes| *writes += 1);
        }
        response
    }

    fn config(&self) -> SdkConfig {
        let database = self.clone();
        config_of(move |request| {
            let database = database.clone();
            async move { Some(database.execute(&request)) }.boxed()
        })
    }
}

impl World {
    /// An answered conversation that waits for its stream. The voice takes `bytes_per_character`.
    pub(crate) async fn new(agent: AgentConfig, bytes_per_character: usize) -> Self {
        start_clock();
        let database = Database { memory: MemoryDatabase::counting(), writes: watch::Sender::default() };
        let table = MemoryDatabase::table(&database.config()).await;
        let writes = Some(database.writes.subscribe());
        Self {
            task: TestTask::default(),
            conversation: StoredConversation::new(table, writes, agent, now).await,
            providers: ScriptedProviders::new(bytes_per_character),
            webhooks: ScriptedWebhooks::default(),
            carrier: ScriptedCarrier::default(),
            objects: Objects::default(),
            bucket_is_away: Arc::default(),
            fault: Arc::new(Mutex::new(TableFault::None)),
            database,
        }
    }

    /// The charges of all writes to the table so far.
    pub(crate) fn tally(&self) -> Tally {
        self.database.memory.tally()
    }

    /// Sets the fault of all workers' requests to the table.
    pub(crate) fn set_table_fault(&self, fault: TableFault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(crate) fn worker(&self) -> RunningWorker {
        self.worker_with(10, DRAIN_TIMEOUT)
    }

    /// Starts a worker that admits at most `max_calls` calls, and has `drain_timeout` to hand them over.
    pub(crate) fn worker_with(&self, max_calls: usize, drain_timeout: Duration) -> RunningWorker {
        let (database, fault) = (self.database.clone(), Arc::clone(&self.fault));
        let table = MemoryDatabase::client(&config_of(move |request| {
            let (database, fault) = (database.clone(), Arc::clone(&fault));
            async move {
                sleep(AWS_DELAY).await;
                let fault = *fault.lock().unwrap();
                let is_write = request.target.as_deref().is_some_and(|target| {
                    target.ends_with("TransactWriteItems") || target.ends_with("PutItem")
                });
                match fault {
                    TableFault::Unreachable => None,
                    TableFault::LosesResponses if is_write => {
                        let _ = database.execute(&request);
                        None
                    }
                    TableFault::Refuses(text)
                        if is_write && String::from_utf8_lossy(&request.body).contains(text) =>
                    {
                        let body = r#"{"__type": "com.amazon.coral.validate#ValidationException",
                            "message": "Item size has exceeded the maximum allowed size"}"#;
                        Some(AwsResponse::new(400, body))
                    }
                    TableFault::None | TableFault::LosesResponses | TableFault::Refuses(_) => {
                        Some(database.execute(&request))
                    }
                }
            }
            .boxed()
        }));
        let (objects, is_away) = (Arc::clone(&self.objects), Arc::clone(&self.bucket_is_away));
        let bucket = config_of(move |request: Request| {
            let (objects, is_away) = (Arc::clone(&objects), Arc::clone(&is_away));
            async move {
                sleep(AWS_DELAY).await;
                (!is_away.load(Ordering::Relaxed)).then(|| bucket::execute(&objects, request))
            }
            .boxed()
        });
        // The agents of this suite name no credential.
        let no_keys = config_of(|_| async { Some(AwsResponse::new(400, "{}")) }.boxed());
        let worker = Worker::new(WorkerParts {
            table,
            recordings: Recordings::new(&bucket, bucket::NAME.to_owned()),
            clips: Clips::new(&bucket, bucket::NAME.to_owned()),
            sealer: Sealer::new(&no_keys, "sealing".to_owned()),
            carrier: Arc::new(self.carrier.clone()),
            providers: Arc::new(self.providers.clone()),
            webhooks: Arc::new(self.webhooks.clone()),
            prices: Prices { agent_per_minute: "0.06".parse().unwrap() },
            max_calls,
            media_url: MEDIA_URL.to_owned(),
            trusts_forwarded_for: false,
            clock: now,
            task: Arc::new(self.task.clone()),
        });
        let (address, listener) = in_memory();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        // The test's runtime owns the worker, and ends it with the test.
        let served = Handle::current()
            .spawn(async move { switchboard_media::serve(listener, worker, stopped, drain_timeout).await });
        RunningWorker { address, stop, served }
    }

    /// Waits for an object whose key is as expected, and returns it.
    pub(crate) fn object(&self, is_it: impl Fn(&str) -> bool) -> Vec<u8> {
        let objects = self.objects.lock().unwrap();
        objects.iter().find(|(key, _)| is_it(key)).expect("there is such an object").1.to_vec()
    }
}

/// A running worker.
pub(crate) struct RunningWorker {
    pub(crate) address: MemoryAddress,
    stop: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl RunningWorker {
    /// Makes the worker stop, and waits until it has stopped.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let served = timeout(2 * TEST_TIMEOUT, self.served).await;
        served.expect("the worker stops in time").unwrap()
    }

    /// Waits until the worker has stopped by itself.
    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        timeout(2 * TEST_TIMEOUT, self.served).await.expect("the worker stops in time").unwrap()
    }
}

/// The address of a worker in this process.
pub(crate) struct MemoryAddress(mpsc::Sender<DuplexStream>);

/// Accepts the connections to a [`MemoryAddress`].
pub(crate) struct MemoryListener(mpsc::Receiver<DuplexStream>);

fn in_memory() -> (MemoryAddress, MemoryListener) {
    let (sender, receiver) = mpsc::channel(16);
    (MemoryAddress(sender), MemoryListener(receiver))
}

impl Address for MemoryAddress {
    async fn connect(&self) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        let (ours, theirs) = duplex(CONNECTION_BUFFER);
        self.0.send(theirs).await.unwrap();
        ours
    }
}

impl Listener for MemoryListener {
    type Io = DuplexStream;
    type Addr = &'static str;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(connection) => (connection, "memory"),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok("memory")
    }
}

/// The carrier's REST API, as far as it ends calls, and its signatures.
#[derive(Clone, Default)]
pub(crate) struct ScriptedCarrier {
    ended_calls: Arc<Mutex<Vec<String>>>,
    /// Whether verifying a handshake takes for ever.
    pub(crate) never_verifies: Arc<AtomicBool>,
}

impl ScriptedCarrier {
    /// The ids of the calls that were ended.
    pub(crate) fn ended_calls(&self) -> Vec<String> {
        self.ended_calls.lock().unwrap().clone()
    }
}

impl fmt::Debug for ScriptedCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScriptedCarrier")
    }
}

impl CarrierControl for ScriptedCarrier {
    fn media_stream_codec(&self) -> AnyMediaStream {
        AnyMediaStream::Twilio(TwilioMediaStream::default())
    }

    fn verify_stream(
        &self,
        _url: String,
        _headers: HeaderMap,
        _key: (AccountId, ConversationId),
    ) -> BoxFuture<'_, Result<bool, TableError>> {
        let never_verifies = self.never_verifies.load(Ordering::Relaxed);
        async move {
            if never_verifies {
                std::future::pending::<()>().await;
            }
            Ok(true)
        }
        .boxed()
    }

    fn hang_up<'a>(
        &'a self,
        _conversation: &'a Conversation,
        call: &'a CarrierCallId,
        _limit: Duration,
    ) -> BoxFuture<'a, Result<(), HangUpError>> {
        async move {
            sleep(AWS_DELAY).await;
            self.ended_calls.lock().unwrap().push(call.id().to_owned());
            Ok(())
        }
        .boxed()
    }
}

thread_local! {
    /// The wall clock and the paused clock at the beginning of the test.
    static EPOCH: RefCell<Option<(Timestamp, Instant)>> = const { RefCell::new(None) };
}

fn start_clock() {
    EPOCH.with_borrow_mut(|epoch| *epoch = Some((switchboard_runtime::now(), Instant::now())));
}

/// A wall clock that follows the paused clock.
pub(crate) fn now() -> Timestamp {
    EPOCH.with_borrow(|epoch| {
        let (wall, instant) = epoch.expect("the world has begun");
        wall.after(instant.elapsed())
    })
}
