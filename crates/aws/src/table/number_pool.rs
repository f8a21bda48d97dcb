//! The deployment's pool of phone numbers: those that an account deleted without a release.
//!
//! A pooled number has one item, and no owner. Every move between an account and the pool is one transaction.

use switchboard_model::{
    phone_numbers::{E164, PhoneNumber, PooledNumber},
    time::Timestamp,
};

use super::{
    Table, TableError,
    conditions::Condition,
    items::{Item, Owned},
    numbers::{number_item, unchanged},
};
use crate::keys::{self, NUMBER, OWNER, POOL};

/// Maximum number of pooled numbers: the carrier bills them, and each search reads them. A number that is deleted beyond it
/// is released at the carrier.
pub const MAX_POOLED: usize = 500;

impl Table {
    /// Moves a number from its account to the pool. `sid` is the carrier's id of it. [`TableError::Conflict`] if another
    /// writer changed it meanwhile.
    pub async fn pool_phone_number(
        &self,
        number: &PhoneNumber,
        sid: String,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let key = keys::number_key(&number.phone_number);
        let own = Condition::new("account_id = :account").text(":account", &number.account_id);
        let pooled = PooledNumber { phone_number: number.phone_number.clone(), sid, pooled_at: now };
        self.write(vec![
            self.delete_if(keys::account_pk(number.account_id), &key, &unchanged(number)),
            self.delete_if(key.clone(), OWNER, &own),
            self.put(Item::new(POOL.to_owned(), key, &pooled)?),
        ])
        .await
    }

    /// Moves a number from the pool to an account. [`TableError::Conflict`] if another account took it first.
    pub async fn take_pooled_number(&self, coming: &PhoneNumber) -> Result<(), TableError> {
        let key = keys::number_key(&coming.phone_number);
        let pooled = Condition::new("attribute_exists(pk)");
        let owner = Owned { account_id: coming.account_id };
        let sealed = self.seal_number(coming).await?;
        self.write(vec![
            self.delete_if(POOL.to_owned(), &key, &pooled),
            self.put_new(number_item(&sealed)?),
            self.put_new(Item::new(key, OWNER, &owner)?),
        ])
        .await
    }

    /// A number of the pool; `None` if it is not there.
    pub async fn pooled_number(&self, number: &E164) -> Result<Option<PooledNumber>, TableError> {
        let item = self.get(POOL.to_owned(), keys::number_key(number)).await?;
        item.map(|item| item.read(POOL)).transpose()
    }

    /// The pool, in the order of the numbers; at most [`MAX_POOLED`].
    pub async fn pooled_numbers(&self) -> Result<Vec<PooledNumber>, TableError> {
        let (from, to) = (NUMBER.to_owned(), format!("{NUMBER}~"));
        let items = self.range(POOL.to_owned(), from, to, MAX_POOLED).await?;
        items.into_iter().map(|item| item.read(POOL)).collect()
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::ids::{AccountId, PhoneNumberId};

    use super::*;
    use crate::table::testing::new_table;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000 + seconds * 1_000)
    }

    fn coming(account: u128) -> PhoneNumber {
        let id = PhoneNumberId::new(at(0), account);
        PhoneNumber::coming(id, AccountId::new(at(0), account), "+14155550200".parse().unwrap(), None, at(0))
    }

    #[tokio::test]
    async fn a_number_moves_between_accounts_and_the_pool() {
        let table = new_table().await;
        let first = coming(1).arrived("PN1".to_owned());
        table.add_phone_number(&first).await.unwrap();
        assert_eq!(table.pooled_number(&first.phone_number).await.unwrap(), None);
        table.pool_phone_number(&first, "PN1".to_owned(), at(5)).await.unwrap();
        let pooled = PooledNumber {
            phone_number: first.phone_number.clone(),
            sid: "PN1".to_owned(),
            pooled_at: at(5),
        };
        assert_eq!(table.pooled_number(&first.phone_number).await.unwrap(), Some(pooled.clone()));
        assert_eq!(table.pooled_numbers().await.unwrap(), [pooled]);
        assert_eq!(table.phone_number(first.account_id, &first.phone_number).await.unwrap(), None);
        let again = table.pool_phone_number(&first, "PN1".to_owned(), at(6)).await;
        assert!(matches!(again, Err(TableError::Conflict)));

        let second = coming(2).from_pool("PN1".to_owned());
        table.take_pooled_number(&second).await.unwrap();
        assert_eq!(table.phone_number(second.account_id, &second.phone_number).await.unwrap(), Some(second));
        assert_eq!(table.pooled_numbers().await.unwrap(), []);
        let late = table.take_pooled_number(&coming(3).from_pool("PN1".to_owned())).await;
        assert!(matches!(late, Err(TableError::Conflict)));
    }
}
