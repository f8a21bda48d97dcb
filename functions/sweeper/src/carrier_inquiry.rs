//! Asks the carrier about the call of a conversation.

use switchboard_model::{
    conversations::{Conversation, LegState, RejectReason},
    sweep::Carrier,
};
use switchboard_providers::carrier::{
    Carrier as _, CarrierCallId,
    calls::{CallStatus, CarrierCall},
};

use crate::{SweepError, Sweeper};

impl Sweeper {
    /// Asks the carrier for its report of the call, and for the id of the call if it is certain.
    pub(crate) async fn ask_carrier(
        &self,
        conversation: &Conversation,
    ) -> Result<(Option<CarrierCallId>, Carrier), SweepError> {
        let leg = conversation.legs.caller();
        let carrier = match self.backend.carrier_of(conversation.account_id, leg).await {
            Ok(Some(carrier)) => carrier,
            // Without the number there is no account to ask with.
            Ok(None) => return Ok((None, Carrier::Unknown)),
            Err(error) => {
                tracing::warn!(%error, "carrier account of the call not read");
                return Ok((None, Carrier::Silent));
            }
        };
        let found = match (leg.carrier_call_id(), &leg.phone_call) {
            (Some(call), _) => {
                let call = carrier.call_id(call.id()).map_err(|_| SweepError::BadCallId)?;
                carrier.fetch(&call).await.map(|state| state.map(|state| (call, state)))
            }
            // The response to our request was lost, and every status report as well.
            (None, Some(phone_call)) => {
                let (to, from) = (&phone_call.to_number, &phone_call.from_number);
                let since = match leg.state {
                    LegState::Dialing { dialed_at } | LegState::Ringing { dialed_at } => dialed_at,
                    _ => conversation.created_at,
                };
                let found = carrier.find(to, from, since).await;
                // Among several calls it is unknown which one is the conversation's.
                found.map(|mut found| if found.len() == 1 { found.pop() } else { None })
            }
            (None, None) => Ok(None),
        };
        match found {
            Ok(Some((call, state))) => {
                let report = report(&call, &state);
                // A call that was found by its numbers may be another conversation's, which must not be hung up. If it
                // is this one's, it ends all the same: no stream is admitted for an ended conversation.
                let is_certain = leg.carrier_call_id().is_some();
                Ok((is_certain.then_some(call), report))
            }
            Ok(None) => Ok((None, Carrier::Unknown)),
            Err(error) => {
                tracing::warn!(%error, "carrier did not report on the call");
                Ok((None, Carrier::Silent))
            }
        }
    }
}

fn report(call: &CarrierCallId, state: &CarrierCall) -> Carrier {
    let call = call.clone();
    match state.status {
        CallStatus::Queued | CallStatus::Initiated => Carrier::Queued,
        // A status that this version does not know is not known to be an end.
        CallStatus::Ringing | CallStatus::Unknown => Carrier::Rings,
        CallStatus::InProgress => Carrier::Talks { call, answered_at: state.answered_at },
        CallStatus::Completed => Carrier::Over { call, talked: state.duration.unwrap_or_default() },
        CallStatus::Busy => Carrier::Rejected(RejectReason::Busy),
        CallStatus::Failed => Carrier::Rejected(RejectReason::Failed),
        CallStatus::NoAnswer => Carrier::Rejected(RejectReason::NoAnswer),
        CallStatus::Canceled => Carrier::Rejected(RejectReason::Canceled),
    }
}
