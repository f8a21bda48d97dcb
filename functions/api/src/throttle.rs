//! Requests per second of an account.
//!
//! A request that only reads is counted while it is answered, so that counting costs it no time; what it
//! found is dropped if it was one too many. All others are counted first. Where counting fails, the request
//! goes on: that nobody can count is no fault of the client's, and the gateway has a limit of its own.

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

/// How long counting may take: two or three requests to the table, of some 5 ms each.
const COUNTING: Duration = Duration::from_secs(1);

/// Where the account of a request that only reads is awaited, as soon as it is known.
#[derive(Clone)]
pub(crate) struct Awaited(Arc<Mutex<Option<oneshot::Sender<AccountId>>>>);

impl Awaited {
    /// Says whose request it is. False if that was said before.
    pub(crate) fn say(&self, account: AccountId) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody listens any more once the request is answered.
        sender.is_some_and(|sender| sender.send(account).is_ok())
    }
}

/// Counts a request that only reads while it is answered.
pub(crate) async fn beside(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let (said, account) = oneshot::channel();
    request.extensions_mut().insert(Awaited(Arc::new(Mutex::new(Some(said)))));
    let counting = async {
        match account.await {
            Ok(account) => api.count(account).await,
            // It was answered, and nobody had to know whose it is.
            Err(_) => Ok(()),
        }
    };
    let (response, counted) = tokio::join!(next.run(request), counting);
    counted.map_or_else(IntoResponse::into_response, |()| response)
}

impl Api {
    /// Counts one request of an account; an error if it is one too many.
    pub(crate) async fn count(&self, account: AccountId) -> Result<(), ApiError> {
        let counting = async {
            let limits = self.table.limits(account).await?;
            self.table.take_request(account, &limits, (self.now)()).await
        };
        match timeout(COUNTING, counting).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(wait))) => return Err(ApiError::TooManyRequests(wait)),
            Ok(Err(error)) => tracing::warn!(%account, %error, "a request was not counted"),
            Err(_elapsed) => tracing::warn!(%account, "a request was not counted in time"),
        }
        Ok(())
    }
}
