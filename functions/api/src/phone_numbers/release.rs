//! Releasing a number at the carrier, or keeping it for the deployment.

use switchboard_model::phone_numbers::{CallAccount, PhoneNumber};
use switchboard_providers::carrier::Carrier as _;

use crate::{Api, errors::ApiError};

impl Api {
    /// Releases a number, or removes our callbacks from it. Returns the carrier's id of a number that the deployment still
    /// has then. A number that the carrier does not know counts as released.
    pub(super) async fn release(
        &self,
        number: &PhoneNumber,
        release: bool,
    ) -> Result<Option<String>, ApiError> {
        match self.table.carrier_account(&self.sealer, number).await? {
            CallAccount::Customers(own) => {
                match self.carrier.through_own(&own).unroute_number(number).await {
                    Err(error @ switchboard_providers::Error::Rejected { .. }) => {
                        // A customer who has revoked the credentials must remove the callbacks at the carrier.
                        tracing::warn!(phone_number_id = %number.id, %error, "callbacks of an imported number not removed");
                        Ok(None)
                    }
                    done => Ok(done.map(|_| None)?),
                }
            }
            CallAccount::Deployments if release => {
                Ok(self.carrier.release_number(number).await.map(|_| None)?)
            }
            CallAccount::Deployments => {
                self.carrier.unroute_number(number).await?;
                Ok(self.carrier.find_number(&number.phone_number).await?.map(|found| found.id))
            }
            CallAccount::Gone => Ok(None),
        }
    }
}
