//! Releasing a number at the carrier.

use switchboard_model::phone_numbers::{CallAccount, PhoneNumber};
use switchboard_providers::carrier::Carrier as _;

use crate::{Api, errors::ApiError};

impl Api {
    /// Releases a number, or removes our callbacks from it. A number that the carrier does not know counts as released.
    pub(super) async fn release(&self, number: &PhoneNumber, release: bool) -> Result<(), ApiError> {
        let done = match self.table.carrier_account(&self.sealer, number).await? {
            CallAccount::Customers(own) => self.carrier.through_own(&own).unroute_number(number).await,
            CallAccount::Deployments if release => self.carrier.release_number(number).await,
            CallAccount::Deployments => self.carrier.unroute_number(number).await,
            CallAccount::Gone => Ok(false),
        };
        match done {
            Err(error @ switchboard_providers::Error::Rejected { .. }) if number.is_imported() => {
                // A customer who has revoked the credentials must remove the callbacks at the carrier.
                tracing::warn!(phone_number_id = %number.id, %error, "callbacks of an imported number not removed");
                Ok(())
            }
            done => Ok(done.map(drop)?),
        }
    }
}
