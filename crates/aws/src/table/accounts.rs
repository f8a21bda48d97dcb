//! Accounts and their tokens.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use switchboard_model::{
    accounts::{Account, IssuedToken, ListedAccount, Token},
    ids::AccountId,
    time::Timestamp,
};

use super::{
    Table, TableError,
    conditions::Condition,
    items::{self, Item, Owned},
    transactions::{Guard, Write},
};
use crate::keys::{self, ACCOUNT, ACCOUNTS, ISSUED, TOKEN};

/// The name of an account's first token, which is created together with the account.
pub const FIRST_TOKEN: &str = "first";

impl Table {
    /// Stores a new account and its first token, under the name [`FIRST_TOKEN`]. [`TableError::Conflict`] if either
    /// exists.
    pub async fn create_account(&self, account: &Account, token: &Token) -> Result<(), TableError> {
        let Account { id, ref name, created_at, .. } = *account;
        let listed = ListedAccount { id, name: name.clone(), created_at };
        let issued = token.issued(FIRST_TOKEN.to_owned(), created_at);
        let sealed = self.seal_account(account).await?;
        let mut writes = vec![
            self.put_new(Item::new(keys::account_pk(id), ACCOUNT, &sealed)?),
            self.put_new(Item::new(ACCOUNTS.to_owned(), id.to_string(), &listed)?),
        ];
        writes.extend(self.put_token(id, &issued)?);
        self.write(writes).await
    }

    /// `None` if there is no such account.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, TableError> {
        match self.stored_account(id).await? {
            Some(account) => Ok(Some(self.open_account(account).await?)),
            None => Ok(None),
        }
    }

    /// An account with its secrets as they are stored.
    pub(super) async fn stored_account(&self, id: AccountId) -> Result<Option<Account>, TableError> {
        let item = self.get(keys::account_pk(id), ACCOUNT).await?;
        item.map(|item| item.read(ACCOUNT)).transpose()
    }

    /// All accounts, oldest first.
    pub async fn accounts(&self) -> Result<Vec<ListedAccount>, TableError> {
        // Ids sort by time.
        let items = self.range(ACCOUNTS.to_owned(), "acc_".into(), "acc_~".into(), usize::MAX).await?;
        items.into_iter().map(|item| item.read(ACCOUNTS)).collect()
    }

    /// Gives an account another signing secret ([`Account::rotate`]). Returns the account after it; `None` if there is
    /// no such account. [`TableError::Conflict`] if another writer rotated it at the same time.
    pub async fn rotate_signing_secret(
        &self,
        id: AccountId,
        new_secret: String,
        now: Timestamp,
    ) -> Result<Option<Account>, TableError> {
        let Some(before) = self.stored_account(id).await? else { return Ok(None) };
        let old = before.signing_secret.clone();
        let after = self.seal_account(&before.rotate(new_secret, now)).await?;
        let previous: AttributeValue = serde_dynamo::to_attribute_value(&after.previous_signing_secret)
            .map_err(|_| TableError::Corrupt("NEW"))?;
        // Only the secrets: other attributes may change at the same time.
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::account_pk(id), ACCOUNT)))
            .update_expression("SET signing_secret = :new, previous_signing_secret = :previous")
            .condition_expression("signing_secret = :old")
            .expression_attribute_values(":new", AttributeValue::S(after.signing_secret.clone()))
            .expression_attribute_values(":previous", previous)
            .expression_attribute_values(":old", AttributeValue::S(old))
            .build();
        self.write(vec![Write::new(update.map(|update| TransactWriteItem::builder().update(update)))])
            .await?;
        Ok(Some(self.open_account(after).await?))
    }

    /// Stores another token of an account. [`TableError::Conflict`] if there is no such account, or the token exists.
    pub async fn create_token(
        &self,
        account: AccountId,
        token: &Token,
        name: String,
        now: Timestamp,
    ) -> Result<IssuedToken, TableError> {
        let issued = token.issued(name, now);
        let exists = Condition::new("attribute_exists(pk)");
        let mut writes = vec![self.check(keys::account_pk(account), ACCOUNT, &exists)];
        writes.extend(self.put_token(account, &issued)?);
        self.write(writes).await?;
        Ok(issued)
    }

    fn put_token(&self, account: AccountId, issued: &IssuedToken) -> Result<[Write; 2], TableError> {
        let key = keys::token_key(&issued.sha256);
        Ok([
            self.put_new(Item::new(key.clone(), TOKEN, &Owned { account_id: account })?),
            self.put_new(Item::new(keys::account_pk(account), key, issued)?),
        ])
    }

    /// The tokens of an account, oldest first.
    pub async fn tokens(&self, account: AccountId) -> Result<Vec<IssuedToken>, TableError> {
        let (pk, from) = (keys::account_pk(account), ISSUED.to_owned());
        let items = self.range(pk, from, format!("{ISSUED}~"), usize::MAX).await?;
        let mut tokens: Vec<IssuedToken> =
            items.into_iter().map(|item| item.read(ISSUED)).collect::<Result<_, _>>()?;
        tokens.sort_by_key(|token| token.created_at);
        Ok(tokens)
    }

    /// Revokes a token. False if the account has no token of this hash.
    pub async fn revoke_token(&self, account: AccountId, sha256: &str) -> Result<bool, TableError> {
        let key = keys::token_key(sha256);
        let listed = Condition::new("attribute_exists(pk)");
        let opens = Condition::new("account_id = :account").text(":account", &account);
        let writes = vec![
            self.delete_if(keys::account_pk(account), &key, &listed).guarded_by(Guard::Forbidden),
            self.delete_if(key, TOKEN, &opens),
        ];
        Ok(self.transact(writes).await?.is_none())
    }

    /// The account of a token; `None` if the token is unknown.
    pub async fn account_of_token(&self, token: &Token) -> Result<Option<AccountId>, TableError> {
        let Some(item) = self.get(keys::token_key(&token.sha256()), TOKEN).await? else { return Ok(None) };
        Ok(Some(item.read::<Owned>(TOKEN)?.account_id))
    }
}
