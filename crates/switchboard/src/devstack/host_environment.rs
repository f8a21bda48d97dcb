//! The variables of the environment in which the command was started, read once.

use std::collections::BTreeMap;
use std::ffi::OsString;

use switchboard_model::catalogue::{self, Connection};
use switchboard_runtime::Vars;

/// The number of an account at a carrier of the user's.
const CARRIER_NUMBER: &str = "TWILIO_PHONE_NUMBER";

/// The variables that are used.
pub(crate) struct HostEnvironment {
    /// `PATH`, for the children.
    pub(crate) path: OsString,
    /// `HOME`, for the children.
    pub(crate) home: OsString,
    /// `RUST_LOG`: the log filter of functions and workers.
    pub(crate) log_filter: String,
    /// The keys of real vendors, by their names in the deployment's provider keys.
    provider_keys: BTreeMap<&'static str, String>,
    /// `SWITCHBOARD_STORAGE_URL`: where functions and workers reach the table and the bucket, if not at the emulator. A
    /// test of outages puts a gate there.
    pub(crate) storage_url: Option<String>,
    /// Base URLs of vendors, by the variable that holds one.
    provider_urls: BTreeMap<&'static str, String>,
    /// The number to call from (E.164), with a carrier of the user's.
    pub(crate) carrier_number: Option<String>,
}

impl HostEnvironment {
    /// Reads them; an empty variable counts as missing.
    pub(crate) fn read(vars: &Vars) -> Self {
        let or = |name, default: &str| vars.get(name).unwrap_or_else(|| default.to_owned()).into();
        let connections = catalogue::connections();
        let keys = connections.iter().flat_map(|connection| connection.keys.iter().copied());
        let variables = connections.iter().map(|connection| connection.url_variable);
        let url = |name| Some(vars.get(name)?.trim().trim_end_matches('/').to_owned());
        Self {
            path: or("PATH", "/usr/local/bin:/usr/bin:/bin"),
            home: or("HOME", "/"),
            log_filter: vars.get("RUST_LOG").unwrap_or_else(|| "info".to_owned()),
            provider_keys: keys.filter_map(|name| Some((name, vars.get(&key_variable(name))?))).collect(),
            provider_urls: variables.filter_map(|name| Some((name, url(name)?))).collect(),
            carrier_number: vars.get(CARRIER_NUMBER),
            storage_url: vars.get("SWITCHBOARD_STORAGE_URL"),
        }
    }

    /// The keys of a vendor; none unless all of them are set.
    pub(crate) fn keys_of(&self, connection: &Connection) -> Option<Vec<(&'static str, String)>> {
        let key = |name: &&'static str| Some((*name, self.provider_keys.get(*name)?.clone()));
        connection.keys.iter().map(key).collect()
    }

    /// The base URL of a vendor, if one is set.
    pub(crate) fn url_of(&self, connection: &Connection) -> Option<&str> {
        self.provider_urls.get(connection.url_variable).map(String::as_str)
    }

    /// Forgets the keys and base URLs, so that only the sandbox is used.
    pub(crate) fn drop_providers(&mut self) {
        self.provider_keys.clear();
        self.provider_urls.clear();
        self.carrier_number = None;
    }
}

/// The variable with a key of a real vendor: the key's name in capitals.
pub(crate) fn key_variable(key: &str) -> String {
    key.to_uppercase()
}
