//! The state that all requests and calls of the carrier share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    account::{Account, CUSTOMER_ACCOUNT_SID, CUSTOMER_AUTH_TOKEN, CUSTOMER_NUMBER, OWNED_NUMBER},
    call_record::Calls,
    numbers::Numbers,
    rudeness::Rudeness,
};
use crate::{callers::Callers, clock, speech};

/// Time limit of the HTTP client; `callbacks` has a shorter one that includes the retry.
const HTTP_TIMEOUT: Duration = Duration::from_secs(15);

/// The carrier.
pub(crate) struct Carrier {
    pub(super) accounts: Vec<Arc<Account>>,
    pub(super) callers: Callers,
    /// The client for webhooks, which are on this machine only.
    pub(super) http: reqwest::Client,
    calls: Mutex<Calls>,
    numbers: Mutex<Numbers>,
    rudeness: Mutex<Rudeness>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Carrier {
    /// Creates the deployment's account and the customer's, each with its number.
    pub(crate) fn new(
        account: Account,
        callers: Callers,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let http = speech::local_client(HTTP_TIMEOUT)?;
        let customers =
            Account { sid: CUSTOMER_ACCOUNT_SID.to_owned(), auth_token: CUSTOMER_AUTH_TOKEN.to_owned() };
        let mut numbers = Numbers::default();
        numbers.add(&account, OWNED_NUMBER, clock::now());
        numbers.add(&customers, CUSTOMER_NUMBER, clock::now());
        let accounts = [account, customers].map(Arc::new).into();
        let (calls, numbers, rudeness) = (Mutex::default(), Mutex::new(numbers), Mutex::default());
        Ok(Self { accounts, callers, http, calls, numbers, rudeness, tasks, stop })
    }

    /// See [`Sandbox::connect_number`](crate::Sandbox::connect_number).
    pub(crate) fn connect_number(
        &self,
        number: &str,
        voice_url: &str,
        fallback_url: &str,
        status_callback: &str,
    ) -> Option<String> {
        self.numbers().connect_number(number, voice_url, fallback_url, status_callback)
    }

    pub(super) fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rudeness(&self) -> MutexGuard<'_, Rudeness> {
        self.rudeness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
