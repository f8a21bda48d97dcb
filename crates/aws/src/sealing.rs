//! Customers' secrets, sealed: without the KMS key of the deployment, what the table holds cannot be decrypted.
//!
//! Envelope encryption: each secret has a data key of its own, which KMS generates in plain and encrypted form. The
//! plain key encrypts the secret here (AES-256-GCM) and is dropped; the encrypted one is stored beside the secret. KMS
//! decrypts it only for the same [`Context`], so a sealed text that is copied to another account or resource cannot be
//! opened there.

pub(crate) mod stored;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::{fmt, sync::Arc};

use aws_config::SdkConfig;
use aws_sdk_kms::{
    Client,
    primitives::Blob,
    types::{DataKeySpec, EncryptionAlgorithmSpec},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use switchboard_model::{
    ids::AccountId,
    secrets::{Sealed, Secret},
};

use crate::failure::{Cause, ServiceError};
use switchboard_runtime as system;

/// The owner of a secret, and the id of the resource that it belongs to.
pub type Context<'a> = (AccountId, &'a str);

/// Seals and opens secrets with one KMS key. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    client: Client,
    key_id: String,
    keys: Arc<stored::DataKeys>,
}

impl Sealer {
    /// Uses the KMS key `key_id`, an id or an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, key_id: String) -> Self {
        Self { client: Client::new(config), key_id, keys: Arc::default() }
    }

    /// Seals a secret.
    pub async fn seal(&self, context: Context<'_>, plaintext: &Secret) -> Result<Sealed, ServiceError> {
        let (plain, encrypted) = self.generate_key(context).await?;
        // The key encrypts only this text, so no nonce is repeated.
        let nonce: [u8; NONCE_LEN] = system::random();
        let mut text = plaintext.reveal().as_bytes().to_vec();
        data_key(&plain)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text)
            .map_err(|_| refused("the secret is too long to be sealed"))?;
        Ok(Sealed {
            key: BASE64_STANDARD.encode(encrypted),
            nonce: BASE64_STANDARD.encode(nonce),
            text: BASE64_STANDARD.encode(text),
        })
    }

    /// Opens a secret that was sealed in the same context. [`ServiceError::Refused`] if the context differs or the
    /// text was changed.
    pub async fn open(&self, context: Context<'_>, sealed: &Sealed) -> Result<Secret, ServiceError> {
        let (encrypted, nonce, mut text) =
            (decoded(&sealed.key)?, decoded(&sealed.nonce)?, decoded(&sealed.text)?);
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| unreadable())?;
        let plain = self.decrypt_key(context, encrypted).await?;
        let opened =
            data_key(&plain)?.open_in_place(nonce, Aad::empty(), &mut text).map_err(|_| unreadable())?;
        let opened = str::from_utf8(opened).map_err(|_| unreadable())?;
        Ok(Secret::new(opened))
    }

    /// A new data key, plain and encrypted.
    async fn generate_key(&self, (account, resource): Context<'_>) -> Result<(Blob, Blob), ServiceError> {
        let request = self
            .client
            .generate_data_key()
            .key_id(&self.key_id)
            .key_spec(DataKeySpec::Aes256)
            .encryption_context(ACCOUNT, account.to_string())
            .encryption_context(RESOURCE, resource)
            .send();
        let made = Box::pin(request).await.map_err(|error| ServiceError::of("GenerateDataKey", &error))?;
        let (Some(plain), Some(encrypted)) = (made.plaintext, made.ciphertext_blob) else {
            return Err(refused("GenerateDataKey: no key"));
        };
        Ok((plain, encrypted))
    }

    async fn decrypt_key(
        &self,
        (account, resource): Context<'_>,
        encrypted: Vec<u8>,
    ) -> Result<Blob, ServiceError> {
        let request = self
            .client
            .decrypt()
            .key_id(&self.key_id)
            .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
            .ciphertext_blob(Blob::new(encrypted))
            .encryption_context(ACCOUNT, account.to_string())
            .encryption_context(RESOURCE, resource)
            .send();
        let made = Box::pin(request).await.map_err(|error| ServiceError::of("Decrypt", &error))?;
        made.plaintext.ok_or_else(|| refused("Decrypt: no key"))
    }
}

/// Names of the encryption context; they appear in the logs of KMS.
const ACCOUNT: &str = "account";
const RESOURCE: &str = "resource";

fn data_key(plain: &Blob) -> Result<LessSafeKey, ServiceError> {
    let key = UnboundKey::new(&AES_256_GCM, plain.as_ref());
    Ok(LessSafeKey::new(key.map_err(|_| refused("the data key is not one of AES-256"))?))
}

fn decoded(text: &str) -> Result<Vec<u8>, ServiceError> {
    BASE64_STANDARD.decode(text).map_err(|_| unreadable())
}

fn unreadable() -> ServiceError {
    refused("the sealed secret cannot be opened")
}

fn refused(why: &str) -> ServiceError {
    ServiceError::Refused(Cause::new(why))
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::time::Timestamp;

    use super::{testing::sealer, *};

    const PLAIN: &str = "sk-of-the-customer";

    fn account(random: u128) -> AccountId {
        AccountId::new(Timestamp::from_millis(0), random)
    }

    #[tokio::test]
    async fn a_sealed_secret_opens_in_its_own_context_only() {
        let service = sealer().await;
        let sealed = service.seal((account(1), "crd_1"), &Secret::new(PLAIN)).await.unwrap();
        let opened = service.open((account(1), "crd_1"), &sealed).await.unwrap();
        assert_eq!(opened.reveal(), PLAIN);
        for context in [(account(2), "crd_1"), (account(1), "crd_2")] {
            let error = service.open(context, &sealed).await.unwrap_err();
            assert!(matches!(error, ServiceError::Refused(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_changed_secret_does_not_open() {
        let service = sealer().await;
        let context = (account(1), "crd_1");
        let sealed = service.seal(context, &Secret::new(PLAIN)).await.unwrap();
        let other = service.seal(context, &Secret::new("another")).await.unwrap();
        let changed = |text: &[u8]| Sealed { text: BASE64_STANDARD.encode(text), ..sealed.clone() };
        let mut text = BASE64_STANDARD.decode(&sealed.text).unwrap();
        *text.last_mut().unwrap() ^= 1;
        for wrong in [
            changed(&text),
            changed(b"short"),
            changed(b""),
            Sealed { text: "not base64".into(), ..sealed.clone() },
            Sealed { nonce: "AAAA".into(), ..sealed.clone() },
            Sealed { nonce: other.nonce.clone(), ..sealed.clone() },
            Sealed { key: other.key.clone(), ..sealed.clone() },
            Sealed { key: "AAAA".into(), ..sealed.clone() },
        ] {
            let error = service.open(context, &wrong).await.unwrap_err();
            assert!(matches!(error, ServiceError::Refused(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn each_seal_differs_and_never_shows_the_plain_text() {
        let service = sealer().await;
        let context = (account(1), "crd_1");
        let sealed = service.seal(context, &Secret::new(PLAIN)).await.unwrap();
        let again = service.seal(context, &Secret::new(PLAIN)).await.unwrap();
        assert!(sealed.key != again.key && sealed.text != again.text);
        assert_eq!(format!("{sealed:?}"), "[redacted]");
        let stored = serde_json::to_string(&sealed).unwrap();
        assert!(!stored.contains(PLAIN) && !stored.contains(&BASE64_STANDARD.encode(PLAIN)));
        assert!(serde_json::from_str::<Sealed>(&stored).unwrap() == sealed);
    }

    #[tokio::test]
    async fn an_unreachable_service_is_a_retryable_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let service = Sealer::new(&crate::table::testing::config(&url).await, "key".into());
        let error = service.seal((account(1), "crd_1"), &Secret::new(PLAIN)).await.unwrap_err();
        assert!(matches!(error, ServiceError::Unavailable(_)), "{error}");
    }
}
