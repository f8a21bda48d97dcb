//! The keys of the table's items: how they are written, and how they are read back.
//!
//! [`table`](crate::table) lists all of them. This module knows texts only; neither attributes nor requests.

use switchboard_model::{
    conversations::Status,
    ids::{AccountId, AgentId, ConversationId, CredentialId, PhoneNumberId},
    phone_numbers::E164,
    time::Timestamp,
};

pub(crate) const ACCOUNT: &str = "ACCOUNT";
pub(crate) const TOKEN: &str = "TOKEN";
/// Prefix of the tokens of an account.
pub(crate) const ISSUED: &str = "TOKEN#";
pub(crate) const OWNER: &str = "OWNER";
pub(crate) const STATE: &str = "STATE";
pub(crate) const CONFIG: &str = "CONFIG";
/// A recording that is to be joined.
pub(crate) const RECORDING: &str = "RECORDING";
pub(crate) const LEASE: &str = "LEASE";
pub(crate) const CHECK: &str = "CHECK";
pub(crate) const LIVE: &str = "LIVE";
pub(crate) const REQUESTS: &str = "REQUESTS";
/// The bucket of the calls that an account at the carrier starts per second.
pub(crate) const STARTS: &str = "STARTS";
pub(crate) const SLOTS: &str = "SLOTS";
pub(crate) const SPENT: &str = "SPENT#";
pub(crate) const CLAIM: &str = "CLAIM#";
pub(crate) const MESSAGE: &str = "MSG#";
pub(crate) const EVENT: &str = "EVT#";
pub(crate) const DELIVERY: &str = "DLV#";
pub(crate) const NUMBER: &str = "NUMBER#";

/// The `pk` of the numbers that no account has.
pub(crate) const POOL: &str = "POOL";

/// The `pk` of the reports of media workers.
pub(crate) const WORKERS: &str = "WORKERS";

/// The `pk` of the list of all accounts.
pub(crate) const ACCOUNTS: &str = "ACCOUNTS";

/// A list of the index `due`. Each is spread over several partition keys, since one partition takes a thousand writes per
/// second at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DueList {
    /// Conversations and leases.
    Conversations,
    /// Deliveries, which are listed apart: many due deliveries do not delay the conversations.
    Deliveries,
    /// Checks for lost first attempts at webhooks.
    Events,
    /// Phone numbers whose purchase or release is incomplete.
    Numbers,
    /// Recordings that are to be joined.
    Recordings,
}

impl DueList {
    const fn name(self) -> &'static str {
        match self {
            Self::Conversations => "DUE",
            Self::Deliveries => "DUE#DELIVERIES",
            Self::Events => "DUE#EVENTS",
            Self::Numbers => "DUE#NUMBERS",
            Self::Recordings => "DUE#RECORDINGS",
        }
    }

    /// The number of its partition keys.
    pub(crate) const fn shards(self) -> u32 {
        match self {
            Self::Conversations | Self::Deliveries => 32,
            Self::Events => 256,
            Self::Numbers | Self::Recordings => 1,
        }
    }

    /// The `due_pk` of an item with this `pk`. All items of a conversation are in one shard.
    pub(crate) fn pk(self, item_pk: &str) -> String {
        self.shard_pk(hash(item_pk) % self.shards())
    }

    /// All its values of `due_pk`: the shards, and the one that version 0.1.0 wrote all items to.
    pub(crate) fn all_pks(self) -> impl Iterator<Item = String> {
        let shards = (0..self.shards()).map(move |shard| self.shard_pk(shard));
        shards.chain(std::iter::once(self.name().to_owned()))
    }

    fn shard_pk(self, shard: u32) -> String {
        format!("{}#{shard:03}", self.name())
    }
}

/// FNV-1a. It is stored, so it must not change with a version of a library.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Names a delivery: one event for one webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryKey {
    /// The owner.
    pub account: AccountId,
    /// The conversation of the event.
    pub conversation: ConversationId,
    /// The event's number in the conversation, from 1.
    pub sequence: u64,
    /// The webhook's index in the agent's list, from 0.
    pub webhook: usize,
}

impl DeliveryKey {
    /// `pk` and `sk` of the delivery's item.
    pub(crate) fn item(self) -> (String, String) {
        (conversation_pk(self.account, self.conversation), delivery_sk(self.sequence, self.webhook))
    }

    /// Reads `pk` and `sk` of a delivery's item. `None` if they are of another item.
    pub(crate) fn of_item(pk: &str, sk: &str) -> Option<Self> {
        let (account, conversation) = conversation_of_key(pk)?;
        let (sequence, webhook) = delivery_of_sk(sk)?;
        Some(Self { account, conversation, sequence, webhook })
    }
}

/// Reads the `sk` of a delivery's item: the event's number, and the webhook's index. `None` if it is of another item.
pub(crate) fn delivery_of_sk(sk: &str) -> Option<(u64, usize)> {
    let (sequence, webhook) = sk.strip_prefix(DELIVERY)?.split_once('#')?;
    Some((sequence.parse().ok()?, webhook.parse().ok()?))
}

/// Reads the `pk` of a conversation's items. `None` if it is of another item.
pub(crate) fn conversation_of_key(pk: &str) -> Option<(AccountId, ConversationId)> {
    let (account, conversation) = pk.split_once('#')?;
    Some((account.parse().ok()?, conversation.parse().ok()?))
}

pub(crate) fn account_pk(account: AccountId) -> String {
    account.to_string()
}

/// The `pk` of an item of an account that changes often: a partition takes a thousand write units per second at most, and
/// items with different keys are in different partitions when it is busy.
pub(crate) fn busy_pk(account: AccountId, sk: &str) -> String {
    format!("{account}#{sk}")
}

pub(crate) fn conversation_pk(account: AccountId, conversation: ConversationId) -> String {
    format!("{account}#{conversation}")
}

/// Both the `sk` of an account's token and the `pk` of a token's account.
pub(crate) fn token_key(sha256: &str) -> String {
    format!("{ISSUED}{sha256}")
}

/// The `sk` of an account's number and of a pooled number, and the `pk` of a number's owner.
pub(crate) fn number_key(number: &E164) -> String {
    format!("{NUMBER}{number}")
}

/// The `pk` of what belongs to an account at the carrier; none: the deployment's.
pub(crate) fn carrier_pk(account_sid: Option<&str>) -> String {
    format!("CARRIER#{}", account_sid.unwrap_or("DEPLOYMENT"))
}

pub(crate) fn claim_sk(key_sha256: &str) -> String {
    format!("{CLAIM}{key_sha256}")
}

pub(crate) fn agent_sk(agent: AgentId) -> String {
    format!("AGENT#{agent}")
}

pub(crate) fn credential_sk(credential: CredentialId) -> String {
    format!("CREDENTIAL#{credential}")
}

/// A message or an event. Six digits sort as text up to a million, about ten times what a call of four hours produces.
pub(crate) fn numbered_sk(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:06}")
}

/// A pack, by the sequence of its first event. A point sorts before every digit, so packs sort by their events, and those
/// of one place by the number of takeovers before them.
pub(crate) fn pack_sk(first: u64, takeovers: u32) -> String {
    let sk = numbered_sk(EVENT, first);
    if takeovers == 0 { sk } else { format!("{sk}.{takeovers:03}") }
}

/// A key after all packs that begin with the event `sequence` or an earlier one.
pub(crate) fn after_packs_sk(sequence: u64) -> String {
    format!("{}~", numbered_sk(EVENT, sequence))
}

/// Two digits sort as text up to a hundred webhooks of one agent.
pub(crate) fn delivery_sk(sequence: u64, webhook: usize) -> String {
    format!("{}#{webhook:02}", numbered_sk(DELIVERY, sequence))
}

/// The item that ends all further deliveries of a conversation to a webhook.
pub(crate) fn stop_sk(webhook: usize) -> String {
    format!("STOP#{webhook:02}")
}

/// `host` is the host of an account's webhooks, with its port.
pub(crate) fn host_sk(host: &str) -> String {
    format!("HOST#{host}")
}

/// The sum of a day's costs. The text of a time begins with its day.
pub(crate) fn spent_sk(at: Timestamp) -> String {
    format!("{SPENT}{}", &at.to_string()[..10])
}

/// The number of numbers that were bought on a day.
pub(crate) fn bought_sk(at: Timestamp) -> String {
    format!("BOUGHT#{}", &at.to_string()[..10])
}

/// The token bucket of the requests about inbound calls to a number.
pub(crate) fn inbound_requests_sk(number: PhoneNumberId) -> String {
    format!("INBOUND#{number}")
}

/// The `account_pk` of an account's phone numbers.
pub(crate) fn numbers_pk(account: AccountId) -> String {
    format!("{account}#numbers")
}

/// The `account_pk` of an account's agents.
pub(crate) fn agents_pk(account: AccountId) -> String {
    format!("{account}#agents")
}

/// The `account_pk` of an account's credentials.
pub(crate) fn credentials_pk(account: AccountId) -> String {
    format!("{account}#credentials")
}

/// The `account_pk` of an account's conversations with this status.
pub(crate) fn conversations_pk(account: AccountId, status: Status) -> String {
    format!("{account}#{}", status.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (AccountId, ConversationId) {
        let at = Timestamp::from_millis(1_795_339_800_120);
        (AccountId::new(at, 1), ConversationId::new(at, 2))
    }

    #[test]
    fn the_key_of_a_conversation_reads_back() {
        let (account, conversation) = ids();
        let pk = conversation_pk(account, conversation);
        assert_eq!(conversation_of_key(&pk), Some((account, conversation)));
        for other in ["", "acc_1#cnv_1", &account.to_string(), &format!("{conversation}#{account}")] {
            assert_eq!(conversation_of_key(other), None, "{other}");
        }
    }

    #[test]
    fn due_items_of_a_conversation_share_a_shard_and_conversations_are_spread() {
        let at = Timestamp::from_millis(1_795_339_800_120);
        for list in [DueList::Conversations, DueList::Deliveries, DueList::Events] {
            let mut shards = std::collections::BTreeMap::new();
            for n in 0..10_000 {
                let pk = conversation_pk(AccountId::new(at, 1), ConversationId::new(at, n * 7_919));
                *shards.entry(list.pk(&pk)).or_insert(0_u32) += 1;
            }
            let all: std::collections::BTreeSet<_> = list.all_pks().collect();
            assert!(
                shards.keys().all(|shard| all.contains(shard)) && all.len() == shards.len() + 1,
                "{list:?}"
            );
            let fair = 10_000 / list.shards();
            let (least, most) = (shards.values().min().unwrap(), shards.values().max().unwrap());
            assert!(*least > fair / 2 && *most < fair * 3 / 2, "{list:?}: {least} to {most}");
        }
        assert_eq!(DueList::Numbers.pk("a"), DueList::Numbers.pk("b"));
        assert_eq!(DueList::Conversations.pk("acc_1#cnv_1"), "DUE#024", "it is stored");
    }

    #[test]
    fn packs_sort_by_their_events_and_then_by_takeovers() {
        let places = [(1, 0), (1, 1), (1, 12), (2, 0), (10, 0), (10, 3), (999_999, 0)];
        let sks: Vec<_> = places.map(|(first, takeovers)| pack_sk(first, takeovers)).into();
        assert!(sks.is_sorted(), "{sks:?}");
        assert!(sks[2] < after_packs_sk(1) && after_packs_sk(1) < sks[3], "{sks:?}");
    }

    #[test]
    fn the_key_of_a_delivery_reads_back() {
        let (account, conversation) = ids();
        for (sequence, webhook) in [(1, 0), (1_234_567, 19), (12, 100)] {
            let key = DeliveryKey { account, conversation, sequence, webhook };
            let (pk, sk) = key.item();
            assert_eq!(DeliveryKey::of_item(&pk, &sk), Some(key), "{sk}");
        }
        let pk = conversation_pk(account, conversation);
        for (pk, sk) in
            [(&*pk, "DLV#1"), (&*pk, "EVT#000001"), (&*pk, "DLV#x#00"), ("acc_1", "DLV#000001#00")]
        {
            assert_eq!(DeliveryKey::of_item(pk, sk), None, "{pk} {sk}");
        }
    }
}
