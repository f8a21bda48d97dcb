//! Phone numbers whose purchase, import or release was cut short: they go, and nothing is left behind at the
//! carrier that nobody knows of.

use switchboard_aws::table::TableError;
use switchboard_model::{
    ids::AccountId,
    phone_numbers::{CallAccount, E164},
};
use switchboard_providers::carrier::Carrier as _;
use switchboard_runtime as system;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{ITEM_TIMEOUT, NotDone, PAGE, PUT_OFF, STORE_TIMEOUT, Sweeper};

impl Sweeper {
    /// Clears away what is due, within bounds; how many numbers it was.
    ///
    /// # Errors
    /// The index cannot be read. What is wrong with one number is logged, and it is put off.
    pub(crate) async fn numbers(&self, deadline: Instant) -> Result<usize, TableError> {
        let Ok(found) = timeout_at(deadline, self.table.due_phone_numbers(system::now(), PAGE)).await else {
            return Ok(0);
        };
        let mut cleared = 0;
        for (account, number) in found? {
            if Instant::now() >= deadline {
                break;
            }
            let why = match timeout(ITEM_TIMEOUT, self.clear(account, &number)).await {
                Ok(Ok(was_due)) => {
                    cleared += usize::from(was_due);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => format!("it took longer than {} s", ITEM_TIMEOUT.as_secs()),
            };
            tracing::error!(%account, error = why, "a number was not cleared away: put off");
            let until = system::now().after(PUT_OFF);
            let putting_off = self.table.postpone_phone_number(account, &number, until);
            if !matches!(timeout(STORE_TIMEOUT, putting_off).await, Ok(Ok(()))) {
                tracing::error!(%account, "not put off either");
            }
        }
        Ok(cleared)
    }

    /// False: it is not due any more.
    async fn clear(&self, account: AccountId, number: &E164) -> Result<bool, NotDone> {
        let now = system::now();
        let Some(number) = self.table.phone_number(account, number).await? else { return Ok(false) };
        if number.due_at().is_none_or(|due| due > now) {
            return Ok(false);
        }
        // Whoever is still at buying it does not get it any more.
        let leaving = number.clone().leaving(now);
        let leaving = self.table.change_phone_number(&number, leaving).await?;
        match self.table.carrier_account(&self.sealer, &leaving).await? {
            CallAccount::Customers(own) => {
                match self.carrier.through_own(&own).unroute_number(&leaving).await {
                    // Who has taken back their credentials cuts the wires themselves.
                    Ok(_) | Err(switchboard_providers::Error::Rejected { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            CallAccount::Deployments => _ = self.carrier.release_number(&leaving).await?,
            CallAccount::Gone => {}
        }
        self.table.remove_phone_number(&leaving).await?;
        tracing::warn!(%account, number = %leaving.id, "cleared away");
        Ok(true)
    }
}
