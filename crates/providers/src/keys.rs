//! The deployment's own keys, as its secret store holds them. The catalogue names them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use switchboard_model::catalogue::{self, Connection};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{Providers, Secret, unusable::Unusable};

/// Minimum time between two reads of the stored keys.
const REREAD_INTERVAL: Duration = Duration::from_mins(1);
/// Maximum time of such a read: callbacks and hang-ups wait for it.
const REREAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The keys of every vendor, by the name in the catalogue. Required ones are here; others may be missing: a deployment
/// without them starts, and a call that needs one records a provider fault.
#[derive(Clone)]
pub struct Keys {
    stored: Arc<StoredKeys>,
    /// Keys that replace stored ones in this clone only; none: the key is removed.
    own: BTreeMap<&'static str, Option<Secret>>,
}

type KeysByName = BTreeMap<&'static str, Secret>;

/// Reads the stored keys; `None` if they cannot be read now, or not used.
type Source = Box<dyn Fn() -> BoxFuture<'static, Option<Keys>> + Send + Sync>;

/// The deployment's keys as they were last read. All clones share them.
struct StoredKeys {
    latest: RwLock<KeysByName>,
    source: Option<Source>,
    /// Grows when a read brings other keys.
    version: AtomicU64,
    /// The time of the last read after the first.
    reread_at: Mutex<Option<Instant>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latest = self.stored.latest.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(latest.keys()).finish()
    }
}

/// The stored keys cannot be used. Names the keys and never shows them.
#[derive(Debug, thiserror::Error)]
pub enum BadKeys {
    /// Not a JSON object.
    #[error("the stored provider keys are not a JSON object")]
    NotAnObject,
    /// These keys are required and missing, or hold characters that no HTTP header can carry.
    #[error("these provider keys are missing or unusable: {}", .0.join(", "))]
    Unusable(Vec<&'static str>),
}

impl Keys {
    /// Reads a JSON object with a member per key. Space around a key (a pasted line end) is dropped; an empty key counts
    /// as missing.
    ///
    /// # Errors
    /// See [`BadKeys`].
    pub fn parse(json: &str) -> Result<Self, BadKeys> {
        // The parser's own message could quote a key.
        let stored: Map<String, Value> = serde_json::from_str(json).map_err(|_| BadKeys::NotAnObject)?;
        let (mut keys, mut bad) = (BTreeMap::new(), Vec::new());
        for connection in catalogue::connections() {
            for name in connection.keys.iter().copied() {
                match read(&stored, name) {
                    Ok(Some(key)) => drop(keys.insert(name, key)),
                    Ok(None) if connection.is_required => bad.push(name),
                    Ok(None) => {}
                    Err(Malformed) => bad.push(name),
                }
            }
        }
        if !bad.is_empty() {
            return Err(BadKeys::Unusable(bad));
        }
        let latest = RwLock::new(keys);
        let stored =
            StoredKeys { latest, source: None, version: AtomicU64::new(0), reread_at: Mutex::new(None) };
        Ok(Self { stored: Arc::new(stored), own: BTreeMap::new() })
    }

    /// The same keys, which [`Keys::reread`] reads from `source` again.
    #[must_use]
    pub fn with_source(
        self,
        source: impl Fn() -> BoxFuture<'static, Option<Self>> + Send + Sync + 'static,
    ) -> Self {
        let latest = self.stored.latest.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (source, reread_at): (Option<Source>, _) = (Some(Box::new(source)), Mutex::new(None));
        let latest = RwLock::new(latest);
        let stored = StoredKeys { latest, source, version: AtomicU64::new(0), reread_at };
        Self { stored: Arc::new(stored), own: self.own }
    }

    /// Reads the stored keys again, at most once a minute: for a carrier that does not accept a key, or a signature that no
    /// key explains. All clones have the new keys. Keys that cannot be read or used change nothing.
    pub async fn reread(&self) {
        let StoredKeys { latest, source: Some(source), version, reread_at } = &*self.stored else { return };
        // A caller that waits here uses what the other has read.
        let mut reread_at = reread_at.lock().await;
        if reread_at.is_some_and(|at| at.elapsed() < REREAD_INTERVAL) {
            return;
        }
        *reread_at = Some(Instant::now());
        let Ok(Some(keys)) = timeout(REREAD_TIMEOUT, source()).await else { return };
        let new = keys.stored.latest.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut latest = latest.write().unwrap_or_else(PoisonError::into_inner);
        if *latest != new {
            *latest = new;
            version.fetch_add(1, Ordering::Release);
        }
    }

    /// The version of the stored keys: it changes when [`Keys::reread`] reads others.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.stored.version.load(Ordering::Acquire)
    }

    /// The key with this name; none if the deployment does not have it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Secret> {
        match self.own.get(name) {
            Some(own) => own.clone(),
            None => self.stored.latest.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned(),
        }
    }

    /// A key of a connection that is required.
    ///
    /// # Panics
    /// The catalogue does not say that the key is required.
    #[must_use]
    pub fn required(&self, name: &str) -> Secret {
        self.get(name).expect("a deployment without its required keys does not start")
    }

    /// Replaces or adds the first key of a connection.
    pub fn set(&mut self, connection: &Connection, key: Secret) {
        if let Some(name) = connection.keys.first() {
            self.own.insert(name, Some(key));
        }
    }

    /// Replaces or adds the second key of a connection: the id of the user whose key the first one is.
    pub fn set_user_id(&mut self, connection: &Connection, user_id: &str) {
        if let [_, name] = connection.keys {
            self.own.insert(name, Some(Secret::new(user_id)));
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, name: &'static str) {
        self.own.insert(name, None);
    }
}

impl Providers {
    /// Whether the deployment has all keys of a vendor, and a server that takes them.
    #[must_use]
    pub fn has_keys(&self, connection: &Connection) -> bool {
        self.has_server(connection) && connection.keys.iter().all(|name| self.keys.get(name).is_some())
    }

    /// Whether there is a server of the vendor's, or of another that speaks its protocol.
    pub(crate) fn has_server(&self, connection: &Connection) -> bool {
        let url = self.endpoints.of(connection.provider).as_str().trim_end_matches('/');
        !connection.has_ended() || url != connection.default_url
    }

    /// The key of a vendor that has one key.
    pub(crate) fn key(&self, vendor: &'static str) -> Result<Secret, Unusable> {
        let name = catalogue::connection(vendor).and_then(|connection| connection.keys.first().copied());
        let Some(name) = name else { return Err(Unusable::no_adapter(vendor)) };
        self.keys.get(name).ok_or_else(|| Unusable::missing_key(vendor, name))
    }
}

/// The value is no key.
struct Malformed;

fn read(stored: &Map<String, Value>, name: &str) -> Result<Option<Secret>, Malformed> {
    let text = match stored.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim(),
        Some(_) => return Err(Malformed),
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Malformed);
    }
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The catalogue's names of the keys that are required, or that are not.
    fn names(are_required: bool) -> Vec<&'static str> {
        let connections = catalogue::connections().into_iter();
        let these = connections.filter(|connection| connection.is_required == are_required);
        these.flat_map(|connection| connection.keys.iter().copied()).collect()
    }

    /// A secret in which every required key is `required`, and every other one is `optional`.
    fn stored(required: &Value, optional: &Value) -> String {
        let required = names(true).into_iter().map(|name| (name.to_owned(), required.clone()));
        let optional = names(false).into_iter().map(|name| (name.to_owned(), optional.clone()));
        Value::Object(required.chain(optional).collect()).to_string()
    }

    #[test]
    fn stored_keys_are_read_and_trimmed() {
        let keys = Keys::parse(&stored(&"AC1".into(), &"sk-1\n".into())).unwrap();
        assert!(names(false).into_iter().all(|name| keys.get(name).unwrap().reveal() == "sk-1"));
        assert!(names(true).into_iter().all(|name| keys.required(name).reveal() == "AC1"));
        assert!(!format!("{keys:?}").contains("sk-1"));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_read_again_once_a_minute_and_all_clones_have_them() {
        let json = |token: &str| format!(r#"{{"twilio_account_sid":"AC1","twilio_auth_token":"{token}"}}"#);
        let secret = Arc::new(std::sync::Mutex::new((Some(json("new")), 0)));
        let source = secret.clone();
        let keys = Keys::parse(&json("old")).unwrap().with_source(move || {
            let mut secret = source.lock().unwrap();
            secret.1 += 1;
            let keys = secret.0.as_deref().and_then(|json| Keys::parse(json).ok());
            Box::pin(async move { keys })
        });
        let mut customers = keys.clone();
        customers.set(catalogue::connection("openai").unwrap(), Secret::new("own"));
        let clone = keys.clone();
        tokio::join!(keys.reread(), clone.reread(), clone.reread());
        assert_eq!(secret.lock().unwrap().1, 1, "those that wait use what one has read");
        for keys in [&keys, &clone, &customers] {
            assert_eq!(keys.required("twilio_auth_token").reveal(), "new");
        }
        assert_eq!(customers.get("openai_api_key").unwrap().reveal(), "own");

        for unusable in [None, Some("{}".to_owned()), Some(json("newer"))] {
            secret.lock().unwrap().0 = unusable.clone();
            tokio::time::advance(Duration::from_secs(59)).await;
            keys.reread().await;
            assert_eq!(keys.required("twilio_auth_token").reveal(), "new", "too soon");
            tokio::time::advance(Duration::from_secs(1)).await;
            keys.reread().await;
            let expected = if unusable == Some(json("newer")) { "newer" } else { "new" };
            assert_eq!(keys.required("twilio_auth_token").reveal(), expected);
        }
    }

    #[test]
    fn providers_without_a_key_are_allowed() {
        for missing in ["".into(), Value::Null] {
            let keys = Keys::parse(&stored(&"AC1".into(), &missing)).unwrap();
            assert!(names(false).into_iter().all(|name| keys.get(name).is_none()));
        }
    }

    #[test]
    fn every_unusable_key_is_named_and_none_is_shown() {
        let error = Keys::parse(&stored(&"two words".into(), &7.into())).unwrap_err().to_string();
        assert!(names(true).into_iter().chain(names(false)).all(|name| error.contains(name)), "{error}");
        assert!(!error.contains("two words"), "{error}");
        let error = Keys::parse("{}").unwrap_err().to_string();
        let required = names(true).join(", ");
        assert_eq!(error, format!("these provider keys are missing or unusable: {required}"));
        assert!(matches!(Keys::parse("[]"), Err(BadKeys::NotAnObject)));
    }
}
