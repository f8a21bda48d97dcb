//! A worker, its vendors, table and bucket on loopback ports.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response as HttpResponse},
};
use switchboard_aws::{
    clips::Clips,
    recordings::Recordings,
    sealing::{self, Sealer},
    table::testing::{self, MemoryDatabase},
    testing::{Request, Response},
};
use switchboard_calls::Backend;
use switchboard_media::{DRAIN_TIMEOUT, VendorProviders, Worker, WorkerParts, listen, without_delay};
use switchboard_model::{agents::AgentConfig, costs::Prices, egress_policy::EgressPolicy, time::Timestamp};
use switchboard_providers::{
    AnyCarrier, Providers, egress, endpoints::Endpoints, keys::Keys, webhooks::WebhookClient,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::vendors::Vendors;
use crate::support::{
    TEST_TIMEOUT,
    bucket::{self, Objects},
    conversation::StoredConversation,
    phone::MEDIA_URL,
    task::TestTask,
};

pub(crate) const TABLE: &str = "switchboard";

/// The deployment's own keys.
pub(crate) const KEYS: &str =
    r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"o","deepgram_api_key":"d"}"#;

pub(crate) struct World {
    /// The task that its workers run in.
    pub(crate) task: TestTask,
    pub(crate) conversation: StoredConversation,
    pub(crate) vendors: Vendors,
    pub(crate) objects: Objects,
    pub(crate) sealer: Sealer,
    pub(crate) table_url: String,
    pub(crate) bucket_url: String,
    is_unavailable: Arc<AtomicBool>,
}

/// A running worker.
pub(crate) struct RunningWorker {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
    /// The worker's own runtime, which a crash drops; `None` afterwards.
    runtime: Option<Runtime>,
}

impl World {
    /// An answered conversation that waits for its stream. The voice takes `bytes_per_character`.
    pub(crate) async fn new(agent: AgentConfig, bytes_per_character: usize) -> Self {
        let database = MemoryDatabase::new();
        let is_unavailable = Arc::new(AtomicBool::new(false));
        let served = database.clone();
        // The test's own requests to the table never fail.
        let direct = serve(move |request| Some(served.execute(&request))).await;
        let flag = Arc::clone(&is_unavailable);
        let table_url =
            serve(move |request| (!flag.load(Ordering::Relaxed)).then(|| database.execute(&request))).await;
        let objects = Objects::default();
        let served = Arc::clone(&objects);
        let bucket_url = serve(move |request| Some(bucket::execute(&served, request))).await;
        let table = MemoryDatabase::table(&testing::config(&direct).await).await;
        Self {
            task: TestTask::default(),
            conversation: StoredConversation::new(table, None, agent, now).await,
            vendors: Vendors::start(bytes_per_character).await,
            objects,
            sealer: sealing::testing::sealer().await,
            table_url,
            bucket_url,
            is_unavailable,
        }
    }

    /// Makes the workers' requests to the table fail from now on.
    pub(crate) fn lose_table(&self) {
        self.is_unavailable.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn worker(&self) -> RunningWorker {
        self.worker_with(10, DRAIN_TIMEOUT).await
    }

    /// Starts a worker that admits at most `max_calls` calls, and has `drain_timeout` to hand them over.
    pub(crate) async fn worker_with(&self, max_calls: usize, drain_timeout: Duration) -> RunningWorker {
        let url = &self.vendors.url;
        let endpoint = |name: &str| match name {
            "OPENAI_API_URL" => Some(format!("{url}/v1")),
            _ => name.ends_with("_URL").then(|| url.clone()),
        };
        let providers = Providers {
            http: egress::client(),
            endpoints: Endpoints::from_vars(&endpoint).unwrap(),
            keys: Keys::parse(KEYS).unwrap(),
        };
        self.start(providers, max_calls, drain_timeout).await
    }

    /// Starts a worker that uses other vendors.
    pub(crate) async fn worker_of(&self, providers: Providers) -> RunningWorker {
        self.start(providers, 10, DRAIN_TIMEOUT).await
    }

    async fn start(&self, providers: Providers, max_calls: usize, drain_timeout: Duration) -> RunningWorker {
        let table = MemoryDatabase::client(&testing::config(&self.table_url).await);
        let bucket = testing::config(&self.bucket_url).await;
        let (sealer, carrier) = (self.sealer.clone(), AnyCarrier::new(&providers));
        let egress_policy = EgressPolicy::Local;
        let worker = Worker::new(WorkerParts {
            table: table.clone(),
            recordings: Recordings::new(&bucket, bucket::NAME.to_owned()),
            clips: Clips::new(&bucket, bucket::NAME.to_owned()),
            sealer: sealer.clone(),
            carrier: Arc::new(Backend { table, sealer, carrier }),
            providers: Arc::new(VendorProviders { providers, egress_policy }),
            webhooks: Arc::new(WebhookClient::new(egress_policy)),
            prices: Prices { agent_per_minute: "0.06".parse().unwrap() },
            max_calls,
            media_url: MEDIA_URL.to_owned(),
            trusts_forwarded_for: false,
            clock: now,
            task: Arc::new(self.task.clone()),
        });
        // Bound here, and served by the worker's own runtime.
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().into_std().unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let served = runtime.spawn(async move {
            let listener = without_delay(TcpListener::from_std(listener).unwrap());
            switchboard_media::serve(listener, worker, stopped, drain_timeout).await
        });
        RunningWorker { address, stop, served, runtime: Some(runtime) }
    }

    /// Waits for an object whose key is as expected, and returns it.
    pub(crate) fn object(&self, is_it: impl Fn(&str) -> bool) -> Vec<u8> {
        let objects = self.objects.lock().unwrap();
        objects.iter().find(|(key, _)| is_it(key)).expect("there is such an object").1.to_vec()
    }
}

impl RunningWorker {
    /// Makes the worker stop, and waits until it has stopped.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let served = timeout(TEST_TIMEOUT, &mut self.served).await;
        served.expect("the worker stops in time").unwrap()
    }

    /// Ends the worker like a crash: without a handover.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        // A runtime cannot be dropped within another one. A crash does not wait for tasks either.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn now() -> Timestamp {
    switchboard_runtime::now()
}

/// Serves an AWS service on a port of its own; `None` becomes status 503. The test's runtime owns the server.
async fn serve(service: impl Fn(Request) -> Option<Response> + Clone + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| -> HttpResponse {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).map(str::to_owned);
        let request = Request { method: method.to_string(), uri: uri.to_string(), target, body };
        match service(request) {
            Some(Response { status, body }) => {
                (StatusCode::from_u16(status).unwrap(), Body::from(body)).into_response()
            }
            None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    };
    let router = Router::new().fallback(answer);
    Handle::current().spawn(async move { axum::serve(listener, router).await });
    url
}
