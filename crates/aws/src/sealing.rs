//! Customers' secrets, sealed: what lies in the table can be read with the deployment's KMS key only.
//!
//! Each secret has a data key of its own, which KMS makes and gives twice, in plain and encrypted. The plain
//! one seals the secret here (AES-256-GCM) and is forgotten; the encrypted one is kept beside the secret.
//! KMS decrypts it only for the same [`Context`], so a sealed text that is moved to another account or
//! another resource cannot be opened there.

#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::fmt;

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

/// Whose secret it is, and the id of what it belongs to.
pub type Context<'a> = (AccountId, &'a str);

/// Seals and opens with one KMS key. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    client: Client,
    key_id: String,
}

impl Sealer {
    /// With the KMS key `key_id`, an id or an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, key_id: String) -> Self {
        Self { client: Client::new(config), key_id }
    }

    /// Seals a secret.
    pub async fn seal(&self, context: Context<'_>, plaintext: &Secret) -> Result<Sealed, ServiceError> {
        let (account, resource) = context;
        let asked = self
            .client
            .generate_data_key()
            .key_id(&self.key_id)
            .key_spec(DataKeySpec::Aes256)
            .encryption_context(ACCOUNT, account.to_string())
            .encryption_context(RESOURCE, resource)
            .send();
        let made = Box::pin(asked).await.map_err(|error| ServiceError::of("GenerateDataKey", &error))?;
        let (Some(plain), Some(encrypted)) = (made.plaintext, made.ciphertext_blob) else {
            return Err(refused("GenerateDataKey: no key"));
        };
        // The key seals this one text only, so no nonce comes twice.
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

    /// Opens what was sealed in the same context. [`ServiceError::Refused`] if it was not, or was changed.
    pub async fn open(&self, context: Context<'_>, sealed: &Sealed) -> Result<Secret, ServiceError> {
        let (account, resource) = context;
        let (encrypted, nonce, mut text) =
            (decoded(&sealed.key)?, decoded(&sealed.nonce)?, decoded(&sealed.text)?);
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| unreadable())?;
        let asked = self
            .client
            .decrypt()
            .key_id(&self.key_id)
            .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
            .ciphertext_blob(Blob::new(encrypted))
            .encryption_context(ACCOUNT, account.to_string())
            .encryption_context(RESOURCE, resource)
            .send();
        let made = Box::pin(asked).await.map_err(|error| ServiceError::of("Decrypt", &error))?;
        let plain = made.plaintext.ok_or_else(|| refused("Decrypt: no key"))?;
        let opened =
            data_key(&plain)?.open_in_place(nonce, Aad::empty(), &mut text).map_err(|_| unreadable())?;
        let opened = str::from_utf8(opened).map_err(|_| unreadable())?;
        Ok(Secret::new(opened))
    }
}

/// The names of the context's parts; they are also seen in KMS's own logs.
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
    refused("what was sealed cannot be opened")
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
    async fn what_is_sealed_opens_in_its_context_and_in_no_other() {
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
    async fn what_was_changed_since_does_not_open() {
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
    async fn the_same_secret_is_sealed_differently_each_time_and_never_stored_or_shown_in_plain() {
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
    async fn a_service_that_cannot_be_reached_may_be_asked_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let service = Sealer::new(&crate::table::testing::config(&url).await, "key".into());
        let error = service.seal((account(1), "crd_1"), &Secret::new(PLAIN)).await.unwrap_err();
        assert!(matches!(error, ServiceError::Unavailable(_)), "{error}");
    }
}
