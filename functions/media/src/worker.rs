//! What the calls of one worker share: clients, limits and the shutdown signal.

use std::sync::Arc;

use switchboard_aws::{
    clips::Clips, provider_keys::ProviderKeys, recordings::Recordings, sealing::Sealer, store::Store,
};
use switchboard_model::costs::Prices;
use switchboard_providers::{Providers, keys::Keys, twilio::Calls, webhooks::Sender};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{clips::ClipCache, config::Config, worker_signals::SignalPoller};

/// The clients and limits that all calls of this worker share.
#[derive(Debug)]
pub struct Worker {
    pub(crate) store: Store,
    pub(crate) recordings: Recordings,
    /// Greetings and phrases that were spoken before.
    pub(crate) clips: ClipCache,
    /// Opens the customers' secrets.
    pub(crate) sealer: Sealer,
    pub(crate) providers: Providers,
    pub(crate) calls: Calls,
    /// To the customers' endpoints.
    pub(crate) sender: Sender,
    pub(crate) prices: Prices,
    pub(crate) signals: SignalPoller,
    /// One permit per call that may still be let in.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

impl Worker {
    /// Makes the clients and reads the deployment's provider keys.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        let sdk = switchboard_aws::sdk_config().await;
        let keys = Keys::parse(ProviderKeys::load(&sdk, &config.secrets.provider_keys).await?.json())?;
        let http = switchboard_providers::egress::client();
        let providers = Providers { http, endpoints: config.endpoints.clone(), keys };
        let store = Store::new(&sdk, config.table.clone());
        let recordings = Recordings::new(&sdk, config.bucket.clone());
        let clips = Clips::new(&sdk, config.bucket.clone());
        let sealer = Sealer::new(&sdk, config.secrets.sealing_key.clone());
        let sender = Sender::new(config.egress_policy);
        Ok(Self::from_parts(
            store,
            (recordings, clips),
            sealer,
            providers,
            sender,
            config.prices.clone(),
            config.max_calls,
        ))
    }

    /// A worker over clients that are made already, which lets in at most `max_calls` at once.
    #[must_use]
    pub fn from_parts(
        store: Store,
        (recordings, clips): (Recordings, Clips),
        sealer: Sealer,
        providers: Providers,
        sender: Sender,
        prices: Prices,
        max_calls: usize,
    ) -> Self {
        Self {
            store,
            recordings,
            clips: ClipCache::new(clips),
            sealer,
            calls: Calls::new(&providers),
            providers,
            sender,
            prices,
            signals: SignalPoller::default(),
            room: Arc::new(Semaphore::new(max_calls)),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }
    }
}
