//! The clients that most use cases take.

use switchboard_aws::{
    sealing::Sealer,
    table::{Table, TableError},
};
use switchboard_model::{conversations::Leg, ids::AccountId};
use switchboard_providers::{AnyCarrier, carrier::Carrier as _};

/// The table, the sealing key and the carrier. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Where conversations are stored.
    pub table: Table,
    /// Opens the customers' secrets.
    pub sealer: Sealer,
    /// The carrier, with the deployment's own account.
    pub carrier: AnyCarrier,
}

impl Backend {
    /// The carrier with the account that this leg's call goes through: the deployment's, or the customer's own for an
    /// imported number. `None` if the number was released, so that its account is no longer known.
    pub async fn carrier_of(&self, account: AccountId, leg: &Leg) -> Result<Option<AnyCarrier>, TableError> {
        let account = self.table.call_account(&self.sealer, account, leg).await?;
        Ok(self.carrier.through(&account))
    }
}
