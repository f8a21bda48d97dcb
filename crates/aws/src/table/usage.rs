//! Reads what an account uses of its limits, and what its webhooks' hosts have answered: for people, not for decisions.

use std::collections::{BTreeMap, BTreeSet};

use switchboard_model::{
    accounts::Account,
    costs::Usd,
    deliveries::{Host, Window},
    ids::AccountId,
    limits::{AccountUsage, Counters},
    time::Timestamp,
};

use super::{
    Table, TableError,
    items::{self, Item},
    numbers::read_number,
    slots::StoredSlots,
    spending::{Bought, Spent},
};
use crate::keys::{self, ACCOUNT, LIVE, NUMBER, REQUESTS, SLOTS, SPENT};

impl Table {
    /// An account and what it uses of its limits at `now`, in two requests. Its secrets are sealed. `None` if there is no such
    /// account.
    pub async fn usage(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Option<(Account, AccountUsage)>, TableError> {
        let pk = keys::account_pk(account);
        let (spent_sk, bought_sk) = (keys::spent_sk(now), keys::bought_sk(now));
        let mut wanted: Vec<_> =
            [ACCOUNT, LIVE, &spent_sk, &bought_sk].map(|sk| items::key(pk.clone(), sk)).into();
        wanted.push(items::key(keys::busy_pk(account, REQUESTS), REQUESTS));
        let (from, to) = (NUMBER.to_owned(), format!("{NUMBER}~"));
        let (mut found, numbers) =
            tokio::try_join!(self.batch(wanted), self.range(pk, from, to, usize::MAX))?;
        let Some(stored) = take(&mut found, ACCOUNT) else { return Ok(None) };
        let counters = take(&mut found, LIVE).map(|item| item.read::<Counters>(LIVE)).transpose()?;
        let requests = take(&mut found, REQUESTS).map(|item| item.read::<Counters>(REQUESTS)).transpose()?;
        let spent = take(&mut found, &spent_sk).map(|item| item.read::<Spent>(SPENT)).transpose()?;
        let bought = take(&mut found, &bought_sk).map(|item| item.read::<Bought>("BOUGHT")).transpose()?;
        let phone_numbers = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        let mut own_countries = BTreeSet::new();
        for number in numbers {
            let number = read_number(account, number)?;
            if number.is_owned() && !number.is_imported() {
                own_countries.insert(number.phone_number.calling_code().to_owned());
            }
        }
        let usage = AccountUsage {
            counters: counters.unwrap_or_default(),
            requests: requests.and_then(|bucket| bucket.full_at),
            phone_numbers,
            own_countries: own_countries.into_iter().collect(),
            bought: bought.unwrap_or_default().bought,
            spent: Usd::from_micros(spent.unwrap_or_default().micro_usd),
        };
        Ok(Some((stored.read(ACCOUNT)?, usage)))
    }

    /// The in-flight slots of an account's webhooks, and those of its hosts that were called in the last day. `hosts`: at
    /// most 99 names with ports.
    pub async fn webhook_hosts(
        &self,
        account: AccountId,
        hosts: impl Iterator<Item = &str>,
    ) -> Result<(Window, BTreeMap<String, Host>), TableError> {
        let key = |sk: String| items::key(keys::busy_pk(account, &sk), &sk);
        let mut sks: BTreeMap<String, &str> = hosts.map(|host| (keys::host_sk(host), host)).collect();
        let wanted = sks.keys().cloned().map(key).chain([key(SLOTS.to_owned())]).collect();
        let mut found = self.batch(wanted).await?;
        let window =
            take(&mut found, SLOTS).map(|item| item.read::<StoredSlots<Window>>(SLOTS)).transpose()?;
        let mut stored = BTreeMap::new();
        for item in found {
            if let Some(host) = item.sk().and_then(|sk| sks.remove(sk)) {
                stored.insert(host.to_owned(), item.read::<StoredSlots<Host>>("HOST")?.slots);
            }
        }
        Ok((window.unwrap_or_default().slots, stored))
    }
}

/// Takes the item with this `sk`.
fn take(items: &mut Vec<Item>, sk: &str) -> Option<Item> {
    let at = items.iter().position(|item| item.sk() == Some(sk))?;
    Some(items.swap_remove(at))
}
