//! The variables of the environment in which the command was started, read once.

use std::collections::BTreeMap;
use std::ffi::OsString;

use switchboard_model::catalogue::{self, Connection, Service};
use switchboard_runtime::Vars;

/// The variables that are used.
pub(crate) struct HostEnvironment {
    /// `PATH`, for the children.
    pub(crate) path: OsString,
    /// `HOME`, for the children.
    pub(crate) home: OsString,
    /// The keys of real vendors, by their names in the deployment's provider keys. The carrier's are not read: a real
    /// carrier cannot reach a stack on this machine.
    provider_keys: BTreeMap<&'static str, String>,
    /// `SWITCHBOARD_STORAGE_URL`: where functions and workers reach the table and the bucket, if not at the emulator. A
    /// test of outages puts a gate there.
    pub(crate) storage_url: Option<String>,
}

impl HostEnvironment {
    /// Reads them; an empty variable counts as missing.
    pub(crate) fn read(vars: &Vars) -> Self {
        let or = |name, default: &str| vars.get(name).unwrap_or_else(|| default.to_owned()).into();
        let is_carrier = |provider| catalogue::row(Service::Carrier, provider).is_some();
        let connections = catalogue::connections().into_iter();
        let names = connections
            .filter(|connection| !is_carrier(connection.provider))
            .flat_map(|connection| connection.keys.iter().copied());
        Self {
            path: or("PATH", "/usr/local/bin:/usr/bin:/bin"),
            home: or("HOME", "/"),
            provider_keys: names.filter_map(|name| Some((name, vars.get(&key_variable(name))?))).collect(),
            storage_url: vars.get("SWITCHBOARD_STORAGE_URL"),
        }
    }

    /// The keys of a vendor; if it has all of them, the real vendor replaces the sandbox's.
    pub(crate) fn keys_of(&self, connection: &Connection) -> Option<Vec<(&'static str, String)>> {
        let key = |name: &&'static str| Some((*name, self.provider_keys.get(*name)?.clone()));
        connection.keys.iter().map(key).collect()
    }

    /// Forgets the keys, so that only the sandbox is used.
    pub(crate) fn drop_provider_keys(&mut self) {
        self.provider_keys.clear();
    }
}

/// The variable with a key of a real vendor: the key's name in capitals.
pub(crate) fn key_variable(key: &str) -> String {
    key.to_uppercase()
}
