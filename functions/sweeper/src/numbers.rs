//! Phone numbers whose purchase, import or release was cut short. They are removed, and released at the carrier; one that
//! came from the deployment's pool returns to it.

use switchboard_aws::table::TableError;
use switchboard_model::{
    ids::AccountId,
    phone_numbers::{CallAccount, E164},
};
use switchboard_providers::carrier::Carrier as _;
use switchboard_runtime::{now, spans};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use crate::{ITEM_TIMEOUT, PAGE, POSTPONEMENT, SweepError, Sweeper, TABLE_TIMEOUT};

impl Sweeper {
    /// Removes the numbers that are due, and returns how many.
    pub(crate) async fn sweep_numbers(&self, deadline: Instant) -> Result<usize, TableError> {
        let Ok(found) = timeout_at(deadline, self.backend.table.due_phone_numbers(now(), PAGE)).await else {
            return Ok(0);
        };
        let mut removed = 0;
        for (account, number) in found? {
            if Instant::now() >= deadline {
                break;
            }
            let span = spans::account_job(account);
            removed += usize::from(self.remove_or_postpone(account, &number).instrument(span).await);
        }
        Ok(removed)
    }

    /// Returns whether the number was removed.
    async fn remove_or_postpone(&self, account: AccountId, number: &E164) -> bool {
        let error = match timeout(ITEM_TIMEOUT, self.remove_number(account, number)).await {
            Ok(Ok(was_removed)) => return was_removed,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it took longer than {} s", ITEM_TIMEOUT.as_secs()),
        };
        tracing::error!(error, "due phone number not removed");
        let postponing = self.backend.table.postpone_phone_number(account, number, now().after(POSTPONEMENT));
        if !matches!(timeout(TABLE_TIMEOUT, postponing).await, Ok(Ok(()))) {
            tracing::error!("due phone number not postponed");
        }
        false
    }

    /// Removes the number if it is still due.
    async fn remove_number(&self, account: AccountId, number: &E164) -> Result<bool, SweepError> {
        let (table, carrier, now) = (&self.backend.table, &self.backend.carrier, now());
        let Some(number) = table.phone_number(account, number).await? else { return Ok(false) };
        if number.due_at().is_none_or(|due| due > now) {
            return Ok(false);
        }
        // From this write on, a request that is still buying the number fails. A number of the pool stays as it is until it
        // is back there: one that is leaving would be released.
        let leaving = if number.is_from_pool() { number.clone() } else { number.clone().leaving(now) };
        let leaving = table.change_phone_number(&number, leaving).await?;
        match table.carrier_account(&self.backend.sealer, &leaving).await? {
            CallAccount::Customers(own) => match carrier.through_own(&own).unroute_number(&leaving).await {
                // A customer who withdrew the credentials has to change the number's routing themselves.
                Ok(_) | Err(switchboard_providers::Error::Rejected { .. }) => {}
                Err(error) => return Err(error.into()),
            },
            CallAccount::Deployments if number.is_from_pool() => {
                carrier.unroute_number(&leaving).await?;
                if let Some(sid) = leaving.carrier.sid.clone() {
                    table.pool_phone_number(&leaving, sid, now).await?;
                    tracing::warn!(number = %leaving.id, "unsettled phone number returned to the pool");
                    return Ok(true);
                }
            }
            CallAccount::Deployments => _ = carrier.release_number(&leaving).await?,
            CallAccount::Gone => {}
        }
        table.remove_phone_number(&leaving).await?;
        tracing::warn!(number = %leaving.id, "unsettled phone number removed");
        Ok(true)
    }
}
