//! The limit of an account's requests per second.
//!
//! A request is counted once its caller is known, before its handler runs: a request over the limit costs no more than the
//! count. If counting fails, the request is served: the client did nothing wrong, and the gateway has a limit of its own.
//! A request that waits for events counts four times more for each second.

use std::time::Duration;

use switchboard_model::ids::AccountId;
use tokio::time::timeout;

use crate::{Api, errors::ApiError};

/// Time-out of counting: two or three requests to the table, of about 5 ms each.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);

impl Api {
    /// Counts a request of an account, as `counts` of them. The error says that it exceeds the limit.
    pub(crate) async fn count(&self, account: AccountId, counts: u32) -> Result<(), ApiError> {
        let counting = async {
            let limits = self.table.limits(account).await?;
            self.table.take_request(account, &limits, counts, (self.now)()).await
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
