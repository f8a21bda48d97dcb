//! Customers' own keys of providers, sealed.

use serde::{Deserialize, Serialize};
use switchboard_model::{
    credentials::{Credential, OpenCredential, Provider},
    ids::{AccountId, CredentialId},
    lists::Listing,
    secrets::Sealed,
    time::Timestamp,
};

use super::{Table, TableError, items::Item};
use crate::keys;
use crate::sealing::Sealer;

const CREDENTIAL: &str = "CREDENTIAL";

/// A credential as an item; the key names the account.
#[derive(Serialize, Deserialize)]
struct StoredCredential {
    id: CredentialId,
    provider: Provider,
    api_key: Sealed,
    last4: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    created_at: Timestamp,
}

impl Table {
    /// Stores a new credential with its sealed key. [`TableError::Conflict`] if its id exists.
    pub async fn create_credential(
        &self,
        credential: &Credential,
        api_key: Sealed,
    ) -> Result<(), TableError> {
        self.write(vec![self.put_new(credential_item(credential.clone(), api_key)?)]).await
    }

    /// A credential and its sealed key; `None` if the account has no such credential.
    pub async fn credential(
        &self,
        account: AccountId,
        id: CredentialId,
    ) -> Result<Option<(Credential, Sealed)>, TableError> {
        let item = self.get(keys::account_pk(account), keys::credential_sk(id)).await?;
        item.map(|item| read_credential(account, item)).transpose()
    }

    /// A credential and its key in plain text; `None` if the account has no such credential.
    pub async fn open_credential(
        &self,
        sealer: &Sealer,
        account: AccountId,
        id: CredentialId,
    ) -> Result<Option<OpenCredential>, TableError> {
        let Some((credential, key)) = self.credential(account, id).await? else { return Ok(None) };
        let api_key = sealer.open((account, &id.to_string()), &key).await?;
        Ok(Some(OpenCredential { credential, api_key }))
    }

    /// One page of an account's credentials, newest first, and whether there are more.
    pub async fn credentials(
        &self,
        account: AccountId,
        listing: Listing,
    ) -> Result<(Vec<Credential>, bool), TableError> {
        let read = |item| Ok(read_credential(account, item)?.0);
        let age = |credential: &Credential| (credential.created_at, credential.id);
        self.page(keys::credentials_pk(account), listing, read, age).await
    }

    /// Deletes a credential. Returns it; `None` if the account has no such credential.
    pub async fn delete_credential(
        &self,
        account: AccountId,
        id: CredentialId,
    ) -> Result<Option<Credential>, TableError> {
        let item = self.delete_one(keys::account_pk(account), &keys::credential_sk(id)).await?;
        item.map(|item| Ok(read_credential(account, item)?.0)).transpose()
    }
}

fn credential_item(credential: Credential, api_key: Sealed) -> Result<Item, TableError> {
    let Credential { id, account_id, provider, last4, region, user_id, base_url, created_at } = credential;
    let stored = StoredCredential { id, provider, api_key, last4, region, user_id, base_url, created_at };
    let item = Item::new(keys::account_pk(account_id), keys::credential_sk(id), &stored)?;
    Ok(item.listed(keys::credentials_pk(account_id), created_at, &id))
}

fn read_credential(account_id: AccountId, item: Item) -> Result<(Credential, Sealed), TableError> {
    let StoredCredential { id, provider, api_key, last4, region, user_id, base_url, created_at } =
        item.read(CREDENTIAL)?;
    let credential = Credential { id, account_id, provider, last4, region, user_id, base_url, created_at };
    Ok((credential, api_key))
}

#[cfg(test)]
mod tests {
    use switchboard_model::{
        lists::{Created, Page},
        secrets::Secret,
    };

    use super::*;
    use crate::{
        sealing,
        table::{items::Item, testing::new_table},
    };

    const KEY: &str = "sk-of-the-customer";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_359_845_123 + seconds * 1_000)
    }

    fn credential(account_id: AccountId, seconds: i64) -> Credential {
        Credential {
            id: CredentialId::new(at(seconds), 1),
            account_id,
            provider: Provider::ALL[0],
            last4: "omer".into(),
            region: None,
            user_id: None,
            base_url: Some("https://models.example.com/v1".into()),
            created_at: at(seconds),
        }
    }

    async fn sealed(credential: &Credential) -> (sealing::Sealer, Sealed) {
        let service = sealing::testing::sealer().await;
        let context = (credential.account_id, &*credential.id.to_string());
        let sealed = service.seal(context, &Secret::new(KEY)).await.unwrap();
        (service, sealed)
    }

    fn first(limit: usize) -> Listing {
        Listing { created: Created::default(), page: Page { index: 1, limit } }
    }

    #[tokio::test]
    async fn a_credential_reads_back_and_the_table_holds_no_plain_key() {
        let (table, account) = (new_table().await, AccountId::new(at(0), 1));
        let stored = credential(account, 0);
        let (service, key) = sealed(&stored).await;
        table.create_credential(&stored, key.clone()).await.unwrap();
        let (read, read_key) = table.credential(account, stored.id).await.unwrap().unwrap();
        assert_eq!(read, stored);
        let opened = service.open((account, &stored.id.to_string()), &read_key).await.unwrap();
        assert_eq!(opened.reveal(), KEY);
        let opened = table.open_credential(&service, account, stored.id).await.unwrap().unwrap();
        assert_eq!((opened.api_key.reveal(), opened.credential), (KEY, stored.clone()));

        let item: Option<Item> =
            table.get(keys::account_pk(account), keys::credential_sk(stored.id)).await.unwrap();
        let attributes = format!("{:?}", item.unwrap().into_attributes());
        assert!(attributes.contains("omer") && !attributes.contains(KEY), "{attributes}");
        assert!(matches!(table.create_credential(&stored, key).await, Err(TableError::Conflict)));
    }

    #[tokio::test]
    async fn credentials_are_listed_newest_first_to_their_account_only() {
        let (table, account, other) = (new_table().await, AccountId::new(at(0), 1), AccountId::new(at(0), 2));
        for seconds in 0..3 {
            let new = credential(account, seconds);
            let (_, key) = sealed(&new).await;
            table.create_credential(&new, key).await.unwrap();
        }
        let [oldest, middle, newest] = [0, 1, 2].map(|seconds| credential(account, seconds));
        let listed = table.credentials(account, first(2)).await.unwrap();
        assert_eq!(listed, (vec![newest.clone(), middle.clone()], true));
        assert_eq!(table.credentials(other, first(2)).await.unwrap(), (vec![], false));
        assert!(table.credential(other, oldest.id).await.unwrap().is_none());
        assert_eq!(table.delete_credential(other, oldest.id).await.unwrap(), None);

        assert_eq!(table.delete_credential(account, middle.id).await.unwrap(), Some(middle.clone()));
        assert_eq!(table.delete_credential(account, middle.id).await.unwrap(), None);
        assert!(table.credential(account, middle.id).await.unwrap().is_none());
        assert_eq!(table.credentials(account, first(100)).await.unwrap(), (vec![newest, oldest], false));
    }
}
