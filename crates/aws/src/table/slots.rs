//! In-flight slots of webhooks: those of a host, with its circuit breaker, and those of an account. Each is one item, which
//! is read, changed and written on condition that nobody else has.

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use switchboard_model::{
    deliveries::{Admission, Host, Window},
    ids::AccountId,
    time::Timestamp,
};

use super::{ATTEMPTS, Table, TableError, back_off, conditions::Condition, items::Item};
use crate::keys::{self, SLOTS};

/// Retention of the slots of a host or an account after its last attempt.
const HOST_KEPT: Duration = Duration::from_hours(24);

/// A host or a window as an item.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct StoredSlots<S> {
    #[serde(flatten)]
    pub(super) slots: S,
    /// Grows with every write.
    version: u64,
}

impl Table {
    /// Takes in-flight slots at a host for some attempts, in one write. All are refused if too many other writers
    /// change the host at the same time. Returns whether the process may keep them.
    pub(super) async fn take_host_slots(
        &self,
        account: AccountId,
        host: &str,
        slots: &[String],
        now: Timestamp,
    ) -> Result<(Vec<Admission>, bool), TableError> {
        let take = |host: &mut Host| {
            let admissions = slots.iter().map(|slot| host.admit(slot, now)).collect::<Vec<_>>();
            (admissions, host.may_keep_slots())
        };
        all_or_full(self.change_slots(account, keys::host_sk(host), now, take).await, slots)
    }

    /// Takes in-flight slots at a host, and for those attempts that get one, slots of the account. Returns whether the
    /// process may keep them for its next attempts, as long as they are valid.
    pub async fn take_slots(
        &self,
        account: AccountId,
        host: &str,
        slots: &[String],
        now: Timestamp,
    ) -> Result<(Vec<Admission>, bool), TableError> {
        let (mut admissions, at_host_may) = self.take_host_slots(account, host, slots, now).await?;
        let admitted = |admission: &Admission| *admission == Admission::Admitted;
        let at_host = slots.iter().zip(&admissions).filter(|(_, admission)| admitted(admission));
        let at_host: Vec<_> = at_host.map(|(slot, _)| slot.clone()).collect();
        if at_host.is_empty() {
            return Ok((admissions, false));
        }
        let (of_account, account_may) = self.take_window_slots(account, host, &at_host, now).await?;
        let both = admissions.iter_mut().filter(|admission| admitted(admission));
        both.zip(of_account).for_each(|(admission, of_account)| *admission = of_account);
        Ok((admissions, at_host_may && account_may))
    }

    /// Returns in-flight slots, each with whether the host responded.
    pub async fn return_slots(
        &self,
        account: AccountId,
        host: &str,
        slots: &[(String, bool)],
        now: Timestamp,
    ) -> Result<(), TableError> {
        let free = |host: &mut Host| {
            for (slot, responded) in slots {
                host.done(slot, *responded, now);
            }
        };
        self.change_slots(account, keys::host_sk(host), now, free).await
    }

    /// Takes in-flight slots of an account for attempts that have one at their host. Those that get none return theirs.
    /// Returns whether the process may keep them.
    pub(super) async fn take_window_slots(
        &self,
        account: AccountId,
        host: &str,
        slots: &[String],
        now: Timestamp,
    ) -> Result<(Vec<Admission>, bool), TableError> {
        let take = |window: &mut Window| {
            let admissions = slots.iter().map(|slot| window.admit(slot, now)).collect::<Vec<_>>();
            (admissions, window.may_keep_slots())
        };
        let admissions = all_or_full(self.change_slots(account, SLOTS.to_owned(), now, take).await, slots);
        let is_admitted = |index: usize| {
            admissions.as_ref().is_ok_and(|(all, _)| all.get(index) == Some(&Admission::Admitted))
        };
        let refused: Vec<_> = slots
            .iter()
            .enumerate()
            .filter(|(index, _)| !is_admitted(*index))
            .map(|(_, slot)| slot)
            .collect();
        if !refused.is_empty() {
            let withdraw = |host: &mut Host| refused.iter().for_each(|slot| host.withdraw(slot));
            // If this fails, the slots expire.
            let _ = self.change_slots(account, keys::host_sk(host), now, withdraw).await;
        }
        admissions
    }

    /// Returns in-flight slots of an account, each with whether its host responded.
    pub async fn return_account_slots(
        &self,
        account: AccountId,
        slots: &[(String, bool)],
        now: Timestamp,
    ) -> Result<(), TableError> {
        let free =
            |window: &mut Window| slots.iter().for_each(|(slot, responded)| window.done(slot, *responded));
        self.change_slots(account, SLOTS.to_owned(), now, free).await
    }

    /// Changes the slots of a host or of an account. Nothing is written if they stay the same.
    async fn change_slots<S, T>(
        &self,
        account: AccountId,
        sk: String,
        now: Timestamp,
        mut change: impl FnMut(&mut S) -> T,
    ) -> Result<T, TableError>
    where
        S: Clone + Default + PartialEq + Serialize + DeserializeOwned,
    {
        let pk = keys::busy_pk(account, &sk);
        for attempt in 0..ATTEMPTS {
            let stored = self.get(pk.clone(), sk.clone()).await?;
            let before: StoredSlots<S> =
                stored.map(|item| item.read("SLOTS")).transpose()?.unwrap_or_default();
            let mut after = before.slots.clone();
            let result = change(&mut after);
            if after == before.slots {
                return Ok(result);
            }
            let version = before.version;
            let item =
                Item::new(pk.clone(), sk.clone(), &StoredSlots { slots: after, version: version + 1 })?
                    .expiring(Some(now.after(HOST_KEPT)));
            let condition =
                Condition::new("attribute_not_exists(pk) OR version = :version").number(":version", &version);
            match self.put_one_if(item, &condition).await? {
                None => return Ok(result),
                Some(_) => back_off(attempt).await,
            }
        }
        Err(TableError::Conflict)
    }
}

/// The answer for these slots: all are refused if too many other writers changed the item at the same time.
fn all_or_full(
    taken: Result<(Vec<Admission>, bool), TableError>,
    slots: &[String],
) -> Result<(Vec<Admission>, bool), TableError> {
    match taken {
        Err(TableError::Conflict) => Ok((vec![Admission::Full; slots.len()], false)),
        taken => taken,
    }
}
