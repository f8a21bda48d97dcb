//! `cargo run`, the build of the functions it does, and the tests share every dependency.
//!
//! Cargo builds a dependency once per set of features, and which set it has depends on the packages
//! that are built together. So the sets are kept equal, by naming features in the workspace's manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Sets of features by package; more than one if build scripts need another.
type Features = BTreeMap<String, BTreeSet<String>>;

fn features(selection: &[&str]) -> Features {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "--format", "{p}|{f}"])
        .args(selection)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut features = Features::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line = line.trim_end_matches(" (*)").trim_end_matches(" (proc-macro)");
        // Ours are named with their path; they are quick to build.
        if let Some((package, set)) = line.split_once('|')
            && !package.contains(" (/")
        {
            features.entry(package.to_owned()).or_default().insert(set.to_owned());
        }
    }
    features
}

#[test]
fn every_dependency_has_the_same_features_in_every_build() {
    let run = features(&["--package", "switchboard", "--edges", "normal,build"]);
    let lambdas = ["api", "carrier-callbacks", "dialer", "relay", "webhook-delivery", "sweeper", "media"]
        .map(|name| ["--package".to_owned(), format!("switchboard-{name}")])
        .concat();
    let lambdas: Vec<&str> = lambdas.iter().map(String::as_str).collect();
    let functions = features(&[&["--package", "switchboard", "--edges", "normal,build"], &*lambdas].concat());
    let tests = features(&["--workspace", "--edges", "normal,build,dev"]);
    let mut different = Vec::new();
    for (smaller, larger) in [(&run, &functions), (&functions, &tests)] {
        for (package, sets) in smaller {
            let others = &larger[package];
            if sets != others {
                different.push(format!("{package}: {sets:?} in one build, {others:?} in another"));
            }
        }
    }
    assert!(different.is_empty(), "name the missing features in Cargo.toml:\n{}", different.join("\n"));
}
