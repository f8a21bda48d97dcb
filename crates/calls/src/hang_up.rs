//! Ends the carrier's call.

use std::time::Duration;

use switchboard_aws::table::TableError;
use switchboard_model::conversations::Conversation;
use switchboard_providers::carrier::{Carrier as _, CarrierCallId};
use tokio::time::timeout;

use crate::Backend;

/// The carrier's call was not ended. It ends all the same: no media stream is admitted for an ended conversation, and
/// the next status report of the call finds it ended.
#[derive(Debug, thiserror::Error)]
pub enum HangUpError {
    /// The account at the carrier was not found out.
    #[error("the carrier account of the call was not read")]
    Table(#[from] TableError),
    /// The phone number of the call was released, so its account at the carrier is no longer known.
    #[error("the phone number of the call was released")]
    NumberReleased,
    /// The carrier refused or did not respond.
    #[error("the carrier did not end the call")]
    Carrier(#[from] switchboard_providers::Error),
    /// The time limit passed first.
    #[error("ending the call took longer than {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// Ends the carrier's `call` of a conversation, in at most `limit`. A call that has ended already counts as ended.
///
/// # Errors
/// The carrier was not told, or did not confirm.
pub async fn hang_up(
    backend: &Backend,
    conversation: &Conversation,
    call: &CarrierCallId,
    limit: Duration,
) -> Result<(), HangUpError> {
    let ending = async {
        // The conversation may have ended before the id of its call was known.
        let leg = conversation.legs.of_call(call).unwrap_or(conversation.legs.caller());
        let carrier = backend.carrier_of(conversation.account_id, leg).await?;
        let carrier = carrier.ok_or(HangUpError::NumberReleased)?;
        Ok(carrier.hang_up(call).await?)
    };
    timeout(limit, ending).await.unwrap_or(Err(HangUpError::TimedOut(limit)))
}
