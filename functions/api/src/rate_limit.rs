//! The limit of an account's requests per second.
//!
//! A `GET` is counted while it is answered, so that counting adds no latency; its answer is dropped if the limit was
//! exceeded. Other requests are counted first. If counting fails, the request is served: the client did nothing wrong, and
//! the gateway has a limit of its own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use switchboard_model::ids::AccountId;
use tokio::{sync::oneshot, time::timeout};

use crate::{Api, errors::ApiError};

/// Time-out of counting: two or three requests to the table, of about 5 ms each.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends the account of a `GET` to the counter, as soon as it is authenticated.
#[derive(Clone)]
pub(crate) struct AccountSender(Arc<Mutex<Option<oneshot::Sender<AccountId>>>>);

impl AccountSender {
    /// Sends the account. False if it was sent before.
    pub(crate) fn send(&self, account: AccountId) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The receiver is gone once the request is answered.
        sender.is_some_and(|sender| sender.send(account).is_ok())
    }
}

/// Counts a `GET` while it is answered.
pub(crate) async fn count_reads(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let (sender, account) = oneshot::channel();
    request.extensions_mut().insert(AccountSender(Arc::new(Mutex::new(Some(sender)))));
    let counting = async {
        match account.await {
            Ok(account) => api.count(account).await,
            // It was answered without authentication.
            Err(_) => Ok(()),
        }
    };
    let (response, counted) = tokio::join!(next.run(request), counting);
    counted.map_or_else(IntoResponse::into_response, |()| response)
}

impl Api {
    /// Counts one request of an account. The error says that it exceeds the limit.
    pub(crate) async fn count(&self, account: AccountId) -> Result<(), ApiError> {
        let counting = async {
            let limits = self.table.limits(account).await?;
            self.table.take_request(account, &limits, (self.now)()).await
        };
        match timeout(COUNT_TIMEOUT, counting).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(wait))) => return Err(ApiError::TooManyRequests(wait)),
            Ok(Err(error)) => tracing::warn!(%error, "request not counted"),
            Err(_elapsed) => tracing::warn!("request count timed out"),
        }
        Ok(())
    }
}
