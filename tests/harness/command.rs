//! The `switchboard` command, built once.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Variables that `cargo test` sets for the program it runs, and build scripts watch: with them, dependencies would
/// be built again, and once more by the next cargo without them.
const SET_BY_CARGO: [&str; 8] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// The root of the checkout.
///
/// # Panics
/// Never: this package is a folder of it.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// The command with `arguments`, ready to be started from the root of the checkout.
///
/// # Panics
/// It does not build.
pub fn switchboard(arguments: &[&str]) -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "switchboard"]).current_dir(workspace());
        for name in SET_BY_CARGO {
            build.env_remove(name);
        }
        let build = build.status();
        assert!(build.is_ok_and(|status| status.success()), "switchboard builds");
        // This is target/debug/deps/promises-...; the command is two levels up.
        let tests = std::env::current_exe().expect("a process knows its program");
        tests.ancestors().nth(2).expect("tests are built into target/debug/deps").join("switchboard")
    });
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace());
    command
}
