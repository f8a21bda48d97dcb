//! The stack's table, for what is not seen from outside, and for letting time pass.

use std::time::Duration;

use harness::Stack;
use switchboard_aws::{
    recordings::Recordings,
    table::{DueItem, Outcome, Table},
};
use switchboard_model::{
    conversations::{Lease, LegState, State, Transition},
    ids::{AccountId, ConversationId},
    time::Timestamp,
};

/// Longer than any deadline.
const LONG_AGO: Duration = Duration::from_hours(2);

/// Where everything is deployed.
const REGION: &str = "us-east-1";

/// The table of a stack, and its account.
pub(crate) struct StackTable {
    pub(crate) table: Table,
    pub(crate) account: AccountId,
}

impl StackTable {
    pub(crate) fn of(stack: &Stack) -> Self {
        let config = switchboard_aws::emulator_config(stack.address("emulator_url"), REGION);
        let table = Table::new(&config, stack.address("table_name").to_owned());
        Self { table, account: stack.address("account_id").parse().unwrap() }
    }

    /// Everything that somebody must look after at any time to come: whatever has not ended.
    pub(crate) async fn due(&self) -> Vec<DueItem> {
        self.table.due(Timestamp::from_millis(i64::MAX / 2), 1_000).await.unwrap()
    }

    /// As if a conversation had been left alone for longer than any of its deadlines.
    pub(crate) async fn time_passes(&self, id: ConversationId) {
        if let Some(lease) = self.table.lease(self.account, id).await.unwrap() {
            let until = ago(lease.until);
            let past = Lease { until, ..lease };
            self.table.renew_lease(self.account, id, &past).await.unwrap();
        }
        let aged = self.table.transition(self.account, id, |snapshot| {
            let mut conversation = snapshot.conversation.clone();
            conversation.version += 1;
            conversation.created_at = ago(conversation.created_at);
            let caller = conversation.legs.caller_mut();
            match &mut caller.state {
                LegState::Waiting | LegState::Ended { .. } => {}
                LegState::Dialing { dialed_at: at }
                | LegState::Ringing { dialed_at: at }
                | LegState::Answered { answered_at: at } => *at = ago(*at),
            }
            if let Some(reported) = &mut caller.reported_end {
                reported.at = ago(reported.at);
            }
            if let State::Started { started_at } = &mut conversation.state {
                *started_at = ago(*started_at);
            }
            if conversation.ended().is_some() {
                return Err(switchboard_model::conversations::InvalidTransition);
            }
            Ok(Transition { conversation, events: vec![], messages: vec![] })
        });
        assert!(matches!(aged.await.unwrap(), Outcome::Changed(_) | Outcome::Unchanged(_)));
    }
}

/// The bucket of a stack.
pub(crate) async fn recordings(stack: &Stack) -> Recordings {
    let config = switchboard_aws::emulator_config(stack.address("emulator_url"), REGION);
    Recordings::new(&config, stack.recordings_bucket().await.unwrap())
}

fn ago(at: Timestamp) -> Timestamp {
    let by = i64::try_from(LONG_AGO.as_millis()).unwrap();
    Timestamp::from_millis(at.as_millis() - by)
}
