//! One conversation in the table, as the other functions see it.

use std::time::Duration;

use serde_json::Value;
use switchboard_aws::table::{Outcome, Table};
use switchboard_model::{
    accounts::{Account, Token, sha256_hex},
    agents::AgentConfig,
    carriers::{CarrierCallId, CarrierName},
    conversations::{
        Conversation, EndedReason, InvalidTransition, Lease, LegId, Snapshot, State, Transition,
        UtteranceProgress,
    },
    deliveries::Delivery,
    events::Event,
    ids::{AccountId, ConversationId},
    messages::Message,
    time::Timestamp,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{SIGNING_SECRET, TEST_TIMEOUT, phone::START};

/// Time between two reads of a table that does not notify of its changes.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The conversation that the sample's stream names.
pub(crate) struct StoredConversation {
    pub(crate) table: Table,
    pub(crate) account: AccountId,
    pub(crate) id: ConversationId,
    now: fn() -> Timestamp,
    /// Changes with every write; `None` if the table does not notify of writes.
    writes: Option<watch::Receiver<u64>>,
}

impl StoredConversation {
    /// An answered conversation that waits for its stream.
    pub(crate) async fn new(
        table: Table,
        writes: Option<watch::Receiver<u64>>,
        agent: AgentConfig,
        now: fn() -> Timestamp,
    ) -> Self {
        let start: Value = serde_json::from_str(START).unwrap();
        let parameter = |name: &str| start["start"]["customParameters"][name].as_str().unwrap();
        let (account, id) =
            (parameter("account_id").parse().unwrap(), parameter("conversation_id").parse().unwrap());
        let conversation = Self { table, account, id, now, writes };
        let owner = Account::new(account, "Bakery".to_owned(), now(), SIGNING_SECRET.to_owned());
        conversation.table.create_account(&owner, &Token::new([7; 32])).await.unwrap();
        conversation.answer(id, agent).await;
        conversation
    }

    /// Stores another answered conversation: its stream differs from the sample's in its id alone.
    pub(crate) async fn answer(&self, id: ConversationId, agent: AgentConfig) {
        let start: Value = serde_json::from_str(START).unwrap();
        let token = start["start"]["customParameters"]["token"].as_str().unwrap();
        let call = start["start"]["callSid"].as_str().unwrap();
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        let now = self.now;
        let conversation = Conversation::outbound(id, self.account, None, to, from, now());
        self.table.create_conversation(&Snapshot { conversation, agent }).await.unwrap();
        let call = &CarrierCallId::new(CarrierName::Twilio, call).unwrap();
        let leg = LegId::CALLER;
        let dial = |Snapshot { conversation, agent }: &Snapshot| {
            conversation.mark_dialing(leg, agent, sha256_hex(token), now())
        };
        let answer =
            |Snapshot { conversation, agent }: &Snapshot| conversation.mark_answered(leg, agent, call, now());
        for change in [&dial as &dyn Fn(&Snapshot) -> _, &answer] {
            let outcome = self.table.transition(self.account, id, change).await.unwrap();
            assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
        }
    }

    /// A web call of the same account, which waits for its browser; its path below `/media`.
    pub(crate) async fn web(&self, agent: AgentConfig) -> (Self, String) {
        let (now, token) = ((self.now)(), "0123456789abcdef".repeat(4));
        let id = ConversationId::new(now, 7);
        let conversation = Conversation::web(id, self.account, None, sha256_hex(&token), now);
        self.table.create_conversation(&Snapshot { conversation, agent }).await.unwrap();
        let path = format!("/web/{}/{id}/{token}", self.account);
        let (table, writes) = (self.table.clone(), self.writes.clone());
        (Self { table, account: self.account, id, now: self.now, writes }, path)
    }

    /// Changes the conversation, as other functions do.
    pub(crate) async fn change(
        &self,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) {
        let outcome = self.table.transition(self.account, self.id, change).await.unwrap();
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }

    /// Reads until `ready` returns something, after each write.
    pub(crate) async fn poll<T>(&self, expected: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
        let mut writes = self.writes.clone();
        let reading = async {
            loop {
                if let Some(writes) = &mut writes {
                    writes.borrow_and_update();
                }
                if let Some(found) = ready().await {
                    return found;
                }
                match &mut writes {
                    Some(writes) => writes.changed().await.expect("the table lives as long as the test"),
                    None => sleep(POLL_INTERVAL).await,
                }
            }
        };
        let Ok(found) = timeout(TEST_TIMEOUT, reading).await else {
            panic!("never {expected}: {:?}", self.load().await)
        };
        found
    }

    pub(crate) async fn load(&self) -> Conversation {
        self.load_other(self.id).await
    }

    pub(crate) async fn load_other(&self, id: ConversationId) -> Conversation {
        self.table.conversation(self.account, id).await.unwrap().unwrap().conversation
    }

    pub(crate) async fn lease(&self) -> Option<Lease> {
        self.table.lease(self.account, self.id).await.unwrap()
    }

    pub(crate) async fn messages(&self) -> Vec<Message> {
        self.table.messages(self.account, self.id).await.unwrap()
    }

    /// All events, after a check that their sequence has no gaps.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let (events, has_more) = self.table.events(self.account, self.id, 0, 1_000).await.unwrap();
        assert!(!has_more);
        let sequence: Vec<_> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequence, (1..=events.len() as u64).collect::<Vec<_>>());
        events
    }

    /// The faults on all events.
    pub(crate) async fn faults(&self) -> Vec<String> {
        self.events().await.into_iter().flat_map(|event| event.faults).collect()
    }

    pub(crate) async fn deliveries(&self) -> Vec<Delivery> {
        self.table.deliveries(self.account, self.id, 1, 1_000).await.unwrap()
    }

    /// Waits for this many deliveries.
    pub(crate) async fn until_deliveries(&self, count: usize) -> Vec<Delivery> {
        self.poll("so many deliveries", async || {
            Some(self.deliveries().await).filter(|deliveries| deliveries.len() == count)
        })
        .await
    }

    /// Waits until the conversation is as expected.
    pub(crate) async fn until(
        &self,
        expected: &str,
        mut is_so: impl FnMut(&Conversation) -> bool,
    ) -> Conversation {
        self.poll(expected, async || Some(self.load().await).filter(&mut is_so)).await
    }

    pub(crate) async fn started(&self) -> Conversation {
        self.until("started", |conversation| matches!(conversation.state, State::Started { .. })).await
    }

    /// Waits for the end, and returns its reason.
    pub(crate) async fn ended(&self) -> (Conversation, EndedReason) {
        let conversation = self.until("ended", |conversation| conversation.ended().is_some()).await;
        let (_, reason, _) = conversation.ended().unwrap();
        (conversation, reason)
    }

    /// Waits until the lease's checkpoint is as expected.
    pub(crate) async fn until_checkpoint(&self, is_so: impl Fn(&UtteranceProgress) -> bool) {
        self.poll("such a checkpoint", async || {
            self.lease().await?.utterance.filter(|words| is_so(words)).map(|_| ())
        })
        .await;
    }

    /// Waits until this many messages are stored.
    pub(crate) async fn until_messages(&self, count: u64) -> Vec<Message> {
        self.until("said", |conversation| conversation.next_message > count).await;
        self.messages().await
    }
}
