//! Secrets within items of the table: signing secrets, headers of webhooks, answers of idempotency keys.
//!
//! They are many and small, and one list shows a hundred of them. So one data key seals all of an account that one process
//! writes in an hour, and a process remembers the data keys that it opened: KMS is asked rarely. A sealed text is bound to
//! its account by the encryption context of the data key, and to its place by the cipher's additional data: a text that is
//! copied to another account, or to another webhook's URL, cannot be opened there.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_kms::primitives::Blob;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::aead::{Aad, NONCE_LEN, Nonce};
use switchboard_model::{ids::AccountId, time::Timestamp};
use switchboard_runtime as system;

use super::{Sealer, data_key, decoded, refused, unreadable};
use crate::failure::ServiceError;

/// The resource in the encryption context of the data keys.
const RESOURCE: &str = "table";
/// Begins every sealed text. Neither a signing secret nor the JSON of headers or of an answer begins like this.
const PREFIX: &str = "sealed:";
/// Time for which a data key seals.
const KEY_LIFE: Duration = Duration::from_hours(1);
/// Texts that one data key seals, far below the 2^32 that random nonces allow.
const KEY_USES: u32 = 1 << 20;
/// Data keys that a process remembers of each kind; then it forgets all, and asks KMS again.
const REMEMBERED: usize = 1_000;

/// The data keys of one process.
#[derive(Default)]
pub(super) struct DataKeys {
    sealing: Mutex<BTreeMap<AccountId, SealingKey>>,
    /// By account and encrypted form.
    opened: Mutex<BTreeMap<(AccountId, String), Blob>>,
}

#[derive(Clone)]
struct SealingKey {
    plain: Blob,
    encrypted: String,
    until: Timestamp,
    uses: u32,
}

/// Whether a stored text is sealed. Earlier versions stored plain texts.
pub(crate) fn is_sealed(stored: &str) -> bool {
    stored.starts_with(PREFIX)
}

impl Sealer {
    /// Seals a text of an account for one place, such as `webhook https://...`.
    pub(crate) async fn seal_stored(
        &self,
        account: AccountId,
        place: &str,
        text: &str,
    ) -> Result<String, ServiceError> {
        let SealingKey { plain, encrypted, .. } = self.sealing_key(account).await?;
        let nonce: [u8; NONCE_LEN] = system::random();
        let mut bytes = text.as_bytes().to_vec();
        data_key(&plain)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut bytes,
            )
            .map_err(|_| refused("the text is too long to be sealed"))?;
        let [nonce, text] = [&nonce[..], &bytes[..]].map(|part| BASE64_STANDARD.encode(part));
        Ok(format!("{PREFIX}{encrypted}:{nonce}:{text}"))
    }

    /// Opens what [`Sealer::seal_stored`] returned, for the same account and place. A text that is not sealed is returned
    /// as it is.
    pub(crate) async fn open_stored(
        &self,
        account: AccountId,
        place: &str,
        stored: &str,
    ) -> Result<String, ServiceError> {
        let Some(sealed) = stored.strip_prefix(PREFIX) else { return Ok(stored.to_owned()) };
        let mut parts = sealed.split(':');
        let (Some(encrypted), Some(nonce), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unreadable());
        };
        let (nonce, mut text) = (decoded(nonce)?, decoded(text)?);
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| unreadable())?;
        let plain = self.opened_key(account, encrypted).await?;
        let opened = data_key(&plain)?
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut text)
            .map_err(|_| unreadable())?;
        Ok(str::from_utf8(opened).map_err(|_| unreadable())?.to_owned())
    }

    async fn sealing_key(&self, account: AccountId) -> Result<SealingKey, ServiceError> {
        let now = system::now();
        let usable = |key: &&mut SealingKey| now < key.until && key.uses < KEY_USES;
        if let Some(key) =
            self.keys.sealing.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&account).filter(usable)
        {
            key.uses += 1;
            return Ok(key.clone());
        }
        let (plain, encrypted) = self.generate_key((account, RESOURCE)).await?;
        let encrypted = BASE64_STANDARD.encode(encrypted);
        let key = SealingKey {
            plain: plain.clone(),
            encrypted: encrypted.clone(),
            until: now.after(KEY_LIFE),
            uses: 1,
        };
        remember(&self.keys.opened, (account, encrypted), plain);
        remember(&self.keys.sealing, account, key.clone());
        Ok(key)
    }

    async fn opened_key(&self, account: AccountId, encrypted: &str) -> Result<Blob, ServiceError> {
        let id = (account, encrypted.to_owned());
        if let Some(plain) = self.keys.opened.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(plain.clone());
        }
        let plain = self.decrypt_key((account, RESOURCE), decoded(encrypted)?).await?;
        remember(&self.keys.opened, id, plain.clone());
        Ok(plain)
    }
}

fn remember<K: Ord, V>(keys: &Mutex<BTreeMap<K, V>>, key: K, value: V) {
    let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
    if keys.len() >= REMEMBERED {
        keys.clear();
    }
    keys.insert(key, value);
}

#[cfg(test)]
mod tests {
    use switchboard_model::time::Timestamp;

    use super::*;
    use crate::sealing::testing::sealer;

    fn account(random: u128) -> AccountId {
        AccountId::new(Timestamp::from_millis(0), random)
    }

    #[tokio::test]
    async fn a_stored_text_opens_for_its_account_and_place_only() {
        let sealer = sealer().await;
        let stored = sealer.seal_stored(account(1), "webhook https://a.example/", "secret").await.unwrap();
        assert!(is_sealed(&stored) && !stored.contains("secret"));
        let open = async |account, place| sealer.open_stored(account, place, &stored).await;
        assert_eq!(open(account(1), "webhook https://a.example/").await.unwrap(), "secret");
        for (account, place) in
            [(account(1), "webhook https://b.example/"), (account(2), "webhook https://a.example/")]
        {
            assert!(matches!(open(account, place).await, Err(ServiceError::Refused(_))), "{place}");
        }
        let cut = &stored[..stored.len() - 8];
        for changed in [cut, "sealed:", "sealed:AAAA:AAAA:AAAA"] {
            let opened = sealer.open_stored(account(1), "webhook https://a.example/", changed).await;
            assert!(matches!(opened, Err(ServiceError::Refused(_))), "{changed}");
        }
        assert_eq!(sealer.open_stored(account(1), "x", "whsec_plain").await.unwrap(), "whsec_plain");
    }

    #[tokio::test]
    async fn a_process_asks_the_key_service_once_for_an_account() {
        let (sealer, requests) = crate::sealing::testing::counted_sealer().await;
        let mut all = vec![];
        for n in 0..50 {
            let place = format!("webhook {n}");
            all.push(sealer.seal_stored(account(1), &place, "secret").await.unwrap());
        }
        for (n, stored) in all.iter().enumerate() {
            let place = format!("webhook {n}");
            assert_eq!(sealer.open_stored(account(1), &place, stored).await.unwrap(), "secret");
        }
        assert_eq!(requests.load(std::sync::atomic::Ordering::Relaxed), 1);
        // Another process.
        let other = Sealer { keys: std::sync::Arc::default(), ..sealer.clone() };
        for (n, stored) in all.iter().enumerate() {
            let place = format!("webhook {n}");
            assert_eq!(other.open_stored(account(1), &place, stored).await.unwrap(), "secret");
        }
        assert_eq!(requests.load(std::sync::atomic::Ordering::Relaxed), 2);
    }
}
