//! What the command takes from the environment it was started in, read once in `main`.

use std::ffi::OsString;

use switchboard_runtime::Vars;

/// The few variables that matter.
pub(crate) struct HostEnvironment {
    /// `PATH`, for the children.
    pub(crate) path: OsString,
    /// `HOME`, for the children.
    pub(crate) home: OsString,
    /// `OPENAI_API_KEY`: if there, the real service is used instead of the sandbox's.
    pub(crate) openai_api_key: Option<String>,
    /// `DEEPGRAM_API_KEY`: likewise.
    pub(crate) deepgram_api_key: Option<String>,
}

impl HostEnvironment {
    /// Takes them out of all variables; an empty one counts as missing.
    pub(crate) fn read(vars: &Vars) -> Self {
        let or = |name, default: &str| vars.get(name).unwrap_or_else(|| default.to_owned()).into();
        Self {
            path: or("PATH", "/usr/local/bin:/usr/bin:/bin"),
            home: or("HOME", "/"),
            openai_api_key: vars.get("OPENAI_API_KEY"),
            deepgram_api_key: vars.get("DEEPGRAM_API_KEY"),
        }
    }

    /// No real service is to be used.
    pub(crate) fn drop_provider_keys(&mut self) {
        (self.openai_api_key, self.deepgram_api_key) = (None, None);
    }
}
