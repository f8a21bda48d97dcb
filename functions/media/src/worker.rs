//! The worker: clients, limits and the shutdown signal that its calls share.

use std::{fmt, sync::Arc};

use switchboard_aws::{clips::Clips, recordings::Recordings, sealing::Sealer, table::Table};
use switchboard_calls::Backend;
use switchboard_model::costs::Prices;
use switchboard_providers::{AnyCarrier, chain::ProviderOutages, webhooks::WebhookClient};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clips::ClipCache,
    clock::Clock,
    config::Config,
    fleet_counts::FleetCounts,
    ports::{CarrierControl, EcsTask, ProviderSource, TaskSource, VendorProviders, WebhookSender},
    unadmitted::UnadmittedSockets,
    worker_signals::SignalPoller,
};

/// The parts of which a worker is made. Tests replace some of them.
#[derive(Debug)]
pub struct WorkerParts {
    /// The table.
    pub table: Table,
    /// The bucket's recordings and replay logs.
    pub recordings: Recordings,
    /// The bucket's clips.
    pub clips: Clips,
    /// Opens customers' credentials.
    pub sealer: Sealer,
    /// Ends calls.
    pub carrier: Arc<dyn CarrierControl>,
    /// Transcribers, language models and voices.
    pub providers: Arc<dyn ProviderSource>,
    /// Calls the webhooks that answer functions.
    pub webhooks: Arc<dyn WebhookSender>,
    /// The deployment's own prices.
    pub prices: Prices,
    /// Maximum number of live calls.
    pub max_calls: usize,
    /// The websocket's URL as the carrier is given it: handshakes are signed for it.
    pub media_url: String,
    /// Whether `X-Forwarded-For` names the address that a socket comes from.
    pub trusts_forwarded_for: bool,
    /// The time of day.
    pub clock: Clock,
    /// Describes the task that it runs in.
    pub task: Arc<dyn TaskSource>,
}

/// A worker that can be served.
pub struct Worker {
    pub(crate) table: Table,
    pub(crate) recordings: Recordings,
    pub(crate) clips: ClipCache,
    pub(crate) sealer: Sealer,
    pub(crate) carrier: Arc<dyn CarrierControl>,
    pub(crate) providers: Arc<dyn ProviderSource>,
    /// The providers that failed calls a short time ago.
    pub(crate) outages: ProviderOutages,
    pub(crate) webhooks: Arc<dyn WebhookSender>,
    pub(crate) prices: Prices,
    pub(crate) clock: Clock,
    pub(crate) signals: SignalPoller,
    pub(crate) task: Arc<dyn TaskSource>,
    pub(crate) counts: Arc<FleetCounts>,
    /// Maximum number of live calls.
    pub(crate) capacity: usize,
    /// One permit for each call that may still be admitted.
    pub(crate) permits: Arc<Semaphore>,
    /// The carrier's sockets without a permit.
    pub(crate) unadmitted: UnadmittedSockets,
    /// Browsers' sockets without a permit.
    pub(crate) unadmitted_browsers: UnadmittedSockets,
    pub(crate) trusts_forwarded_for: bool,
    pub(crate) media_url: String,
    /// The tasks that the worker waits for before it stops.
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

impl Worker {
    /// Builds the clients and reads the deployment's provider keys.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub async fn connect(config: &Config) -> anyhow::Result<Self> {
        let sdk = switchboard_aws::sdk_config().await;
        let secret = &config.secrets.provider_keys;
        let providers = switchboard_calls::connect_providers(&sdk, secret, config.endpoints.clone()).await?;
        let sealer = Sealer::new(&sdk, config.secrets.sealing_key.clone());
        let table = Table::new(&sdk, config.table.clone()).sealing(sealer.clone());
        let carrier = AnyCarrier::new(&providers);
        Ok(Self::new(WorkerParts {
            table: table.clone(),
            recordings: Recordings::new(&sdk, config.bucket.clone()),
            clips: Clips::new(&sdk, config.bucket.clone()),
            sealer: sealer.clone(),
            carrier: Arc::new(Backend { table, sealer, carrier }),
            task: Arc::new(EcsTask { providers: providers.clone(), url: config.task_metadata_url.clone() }),
            providers: Arc::new(VendorProviders { providers, egress_policy: config.egress_policy }),
            webhooks: Arc::new(WebhookClient::new(config.egress_policy)),
            prices: config.prices.clone(),
            max_calls: config.max_calls,
            media_url: config.media_url.clone(),
            trusts_forwarded_for: config.trusts_forwarded_for,
            clock: switchboard_runtime::now,
        }))
    }

    /// A worker of these parts, without calls.
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        Self {
            table: parts.table,
            recordings: parts.recordings,
            clips: ClipCache::new(parts.clips),
            sealer: parts.sealer,
            carrier: parts.carrier,
            providers: parts.providers,
            outages: ProviderOutages::default(),
            webhooks: parts.webhooks,
            prices: parts.prices,
            clock: parts.clock,
            signals: SignalPoller::default(),
            task: parts.task,
            counts: Arc::default(),
            capacity: parts.max_calls,
            permits: Arc::new(Semaphore::new(parts.max_calls)),
            unadmitted: UnadmittedSockets::default(),
            unadmitted_browsers: UnadmittedSockets::default(),
            media_url: parts.media_url,
            trusts_forwarded_for: parts.trusts_forwarded_for,
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("permits", &self.permits.available_permits()).finish_non_exhaustive()
    }
}
