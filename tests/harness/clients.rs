//! Private Python environments with the official clients, made once for all runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, ensure};

use crate::workspace;

/// A program of the environment with all clients but `PlayHT`'s, such as `python`.
///
/// # Panics
/// The environment cannot be made; its output says why.
pub fn client(name: &str) -> PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| environment("clients", "requirements.txt")).join(name)
}

/// The Python of the environment with `PlayHT`'s client, whose last version needs older packages than the others do.
///
/// # Panics
/// The environment cannot be made; its output says why.
pub fn playht_python() -> PathBuf {
    environment("playht-client", "playht_requirements.txt").join("python")
}

/// The programs of the environment below `.switchboard` with these requirements.
fn environment(directory: &str, requirements: &str) -> PathBuf {
    let directory = workspace().join(".switchboard").join(directory);
    install(&directory, &workspace().join("tests/clients").join(requirements))
        .expect("the clients can be installed")
}

fn install(directory: &Path, requirements: &Path) -> anyhow::Result<PathBuf> {
    let (programs, stamp) = (directory.join("bin"), directory.join("installed.txt"));
    let wanted = fs::read(requirements)?;
    // The stamp is written last, so that an interrupted installation is made again.
    if fs::read(&stamp).ok().as_ref() != Some(&wanted) {
        let _ = fs::remove_dir_all(directory);
        eprintln!("installing the official clients into {}", directory.display());
        run(Command::new("python3").args(["-m", "venv"]).arg(directory))?;
        let options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "-r"];
        run(Command::new(programs.join("python"))
            .args(["-m", "pip", "install"])
            .args(options)
            .arg(requirements))?;
        fs::write(&stamp, wanted)?;
    }
    Ok(programs)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let status = command.status().with_context(|| program.clone())?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}
