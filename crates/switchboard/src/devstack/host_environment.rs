//! The variables of the environment in which the command was started, read once.

use std::ffi::OsString;

use switchboard_runtime::Vars;

/// The variables that are used.
pub(crate) struct HostEnvironment {
    /// `PATH`, for the children.
    pub(crate) path: OsString,
    /// `HOME`, for the children.
    pub(crate) home: OsString,
    /// `OPENAI_API_KEY`; if set, the real OpenAI replaces the sandbox's.
    pub(crate) openai_api_key: Option<String>,
    /// `DEEPGRAM_API_KEY`; if set, the real Deepgram replaces the sandbox's.
    pub(crate) deepgram_api_key: Option<String>,
}

impl HostEnvironment {
    /// Reads them; an empty variable counts as missing.
    pub(crate) fn read(vars: &Vars) -> Self {
        let or = |name, default: &str| vars.get(name).unwrap_or_else(|| default.to_owned()).into();
        Self {
            path: or("PATH", "/usr/local/bin:/usr/bin:/bin"),
            home: or("HOME", "/"),
            openai_api_key: vars.get("OPENAI_API_KEY"),
            deepgram_api_key: vars.get("DEEPGRAM_API_KEY"),
        }
    }

    /// Forgets the keys, so that only the sandbox is used.
    pub(crate) fn drop_provider_keys(&mut self) {
        (self.openai_api_key, self.deepgram_api_key) = (None, None);
    }
}
