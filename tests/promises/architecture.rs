//! Dependencies point inward: `domain` knows nobody, the adapters know `domain`, the functions know
//! those, and nothing deployed knows what is only local.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use harness::workspace;
use serde_json::Value;

const FUNCTIONS: [&str; 7] = ["api", "dialer", "media", "relay", "sweeper", "twilio", "webhooks"];

/// Our packages, each with those of ours that it depends on when it is built (not only tested).
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |package: &Value| package["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let depends = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"] != "dev")
            .map(name)
            .filter(|name| ours.contains(name))
            .collect()
    };
    packages.iter().map(|package| (name(package), depends(package))).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_package_depends_only_on_what_lies_inward() {
    let dependencies = dependencies();
    assert_eq!(dependencies["domain"], set(&[]));
    assert_eq!(dependencies["sandbox"], set(&[]), "it must not share code with the adapters it checks");
    for adapter in ["aws", "vendors"] {
        assert_eq!(dependencies[adapter], set(&["domain"]), "{adapter}");
    }
    for function in FUNCTIONS {
        let allowed = set(&["aws", "domain", "vendors"]);
        assert!(dependencies[function].is_subset(&allowed), "{function}: {:?}", dependencies[function]);
    }
    assert!(dependencies["local"].is_subset(&set(&["aws", "domain", "sandbox"])));
    let named = FUNCTIONS.iter().chain(&["acceptance", "aws", "domain", "local", "sandbox", "vendors"]);
    assert_eq!(
        dependencies.into_keys().collect::<BTreeSet<_>>(),
        named.map(|name| (*name).to_owned()).collect()
    );
}

#[test]
fn only_the_adapter_names_aws() {
    for package in ["domain", "vendors", "sandbox", "local"]
        .map(|name| format!("crates/{name}"))
        .into_iter()
        .chain(FUNCTIONS.map(|name| format!("functions/{name}")))
    {
        let manifest = std::fs::read_to_string(workspace().join(&package).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("aws-sdk") && !manifest.contains("aws-config"), "{package}");
    }
}
