//! Verifies the handshake of a media stream: the carrier signs it like a callback.

use switchboard_aws::table::TableError;
use switchboard_model::{
    ids::{AccountId, ConversationId},
    phone_numbers::CallAccount,
};
use switchboard_providers::carrier::{Carrier as _, callbacks::CallbackRequest};

use crate::Backend;

/// Whether the carrier signed the handshake of a stream of this conversation. Its URL is the websocket's as the
/// carrier was given it, its body empty. It signs with the token of the account that the call goes through: the deployment's, which needs no request, or
/// the customer's own for a call of an imported number.
///
/// # Errors
/// The conversation or the customer's token cannot be read.
pub async fn verify_stream(
    backend: &Backend,
    request: &CallbackRequest,
    account: AccountId,
    conversation: ConversationId,
) -> Result<bool, TableError> {
    let carrier = &backend.carrier;
    if carrier.verify(request).is_some() {
        return Ok(true);
    }
    let Some(found) = backend.table.conversation(account, conversation).await? else { return Ok(false) };
    let leg = found.conversation.legs.caller();
    Ok(match backend.table.call_account(&backend.sealer, account, leg).await? {
        CallAccount::Customers(own) => carrier.through_own(&own).verify(request).is_some(),
        // The token may have been replaced since it was read.
        CallAccount::Deployments | CallAccount::Gone => {
            carrier.reread_credentials().await;
            carrier.verify(request).is_some()
        }
    })
}
