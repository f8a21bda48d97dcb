//! The direction of dependencies, between packages and between the modules of a package; and `template.yaml`.
//!
//! Packages: `MAY_DEPEND_ON` lists, for each crate, the crates of ours it may name. Modules: no two sibling
//! modules of a crate import each other, directly or through others ([`modules`]). Both tests read manifests
//! and sources as text, so they need no build of the system and run in the fast tier.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cost;
mod dashboard;
mod documents;
mod modules;
mod template;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use harness::workspace;
use serde_json::Value;

const FUNCTIONS: [&str; 7] =
    ["api", "carrier_callbacks", "dialer", "media", "relay", "sweeper", "webhook_delivery"];

/// Each crate below `crates/` and those of ours that it may depend on.
const MAY_DEPEND_ON: [(&str, &[&str]); 12] = [
    ("filters", &[]),
    ("quality", &[]),
    ("model", &["filters", "quality"]),
    ("dialogue", &["model"]),
    ("contract", &["filters", "model"]),
    ("providers", &["contract", "model"]),
    ("runtime", &["model"]),
    ("aws", &["model", "runtime"]),
    ("calls", &["aws", "contract", "dialogue", "filters", "model", "providers", "runtime"]),
    ("sandbox", &[]),
    // Named only by `[dev-dependencies]`.
    ("testkit", &[]),
    ("switchboard", &["aws", "contract", "dialogue", "filters", "model", "quality", "runtime", "sandbox"]),
];

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

/// The package of a folder below `crates/` or `functions/`.
fn package(folder: &str) -> String {
    match folder {
        "switchboard" => folder.to_owned(),
        folder => format!("switchboard-{}", folder.replace('_', "-")),
    }
}

#[test]
fn every_package_depends_only_on_what_lies_inward() {
    let mut dependencies = dependencies();
    dependencies.remove("switchboard-acceptance");
    for (folder, allowed) in MAY_DEPEND_ON {
        let found = dependencies.remove(&package(folder)).unwrap();
        let allowed = allowed.iter().map(|folder| package(folder)).collect();
        assert!(found.is_subset(&allowed), "{folder} may not depend on {:?}", found.difference(&allowed));
    }
    let inward: BTreeSet<_> =
        ["aws", "calls", "contract", "dialogue", "filters", "model", "providers", "quality", "runtime"]
            .map(package)
            .into();
    for folder in FUNCTIONS {
        let found = dependencies.remove(&package(folder)).unwrap();
        assert!(found.is_subset(&inward), "{folder} may not depend on {:?}", found.difference(&inward));
    }
    assert_eq!(dependencies.into_keys().collect::<Vec<_>>(), Vec::<String>::new(), "packages without a rule");
}

#[test]
fn only_the_adapter_names_aws() {
    let crates = MAY_DEPEND_ON.iter().map(|(folder, _)| folder).filter(|folder| **folder != "aws");
    for package in
        crates.map(|name| format!("crates/{name}")).chain(FUNCTIONS.map(|name| format!("functions/{name}")))
    {
        let manifest = std::fs::read_to_string(workspace().join(&package).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("aws-sdk") && !manifest.contains("aws-config"), "{package}");
    }
}

#[test]
fn no_sibling_modules_import_each_other_in_a_circle() {
    let packages = MAY_DEPEND_ON
        .iter()
        .map(|(folder, _)| format!("crates/{folder}"))
        .chain(FUNCTIONS.map(|folder| format!("functions/{folder}")));
    let circles: Vec<String> = packages
        .flat_map(|package| {
            let source = workspace().join(&package).join("src");
            modules::circles(&source).into_iter().map(move |circle| format!("{package}: {circle}"))
        })
        .collect();
    assert!(circles.is_empty(), "modules import each other in circles:\n{}", circles.join("\n"));
}

#[test]
fn links_and_paths_of_the_documents_exist() {
    let broken: Vec<String> = documents::documents(workspace())
        .iter()
        .flat_map(|document| {
            let text = std::fs::read_to_string(document).unwrap();
            let broken = documents::broken(workspace(), document.parent().unwrap(), &text);
            broken.into_iter().map(|path| format!("{}: {path}", document.display())).collect::<Vec<_>>()
        })
        .collect();
    assert!(broken.is_empty(), "documents name what is not there:\n{}", broken.join("\n"));
}

/// The number of acceptance checks.
const CHECKS: usize = 30;

#[test]
fn every_acceptance_check_names_tests_that_exist() {
    let table = std::fs::read_to_string(workspace().join("docs/acceptance.md")).unwrap();
    let checks = documents::checks(&table);
    let numbers: Vec<usize> = checks.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=CHECKS).collect::<Vec<_>>());
    let folders = ["crates", "functions", "tests"].map(|folder| workspace().join(folder));
    let known = documents::tests_below(&folders.each_ref().map(std::path::PathBuf::as_path));
    for (number, tests) in checks {
        let missing: Vec<_> = tests.iter().filter(|test| !known.contains(*test)).collect();
        assert!(
            !tests.is_empty() && missing.is_empty(),
            "check {number} names no test, or these: {missing:?}"
        );
    }
}

#[test]
fn the_failure_modes_name_tests_that_exist() {
    let text = std::fs::read_to_string(workspace().join("docs/operations.md")).unwrap();
    assert_eq!(documents::unknown_tests(workspace(), &text, "## Failure modes"), [""; 0]);
}

#[test]
fn the_template_grants_no_wildcard_and_loses_no_message() {
    let template = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let resources = template::resources(&template).len();
    assert!(resources > 50, "{resources} resources were read");
    assert_eq!(template::wildcards(&template), [""; 0]);
    assert_eq!(template::unsafe_queues(&template), [""; 0]);
    assert_eq!(template::losable(&template), [""; 0]);
    assert_eq!(template::deleters(&template), ["ApiRole", "SweeperRole"]);
}

#[test]
fn the_documented_costs_follow_from_the_template() {
    let read = |path: &str| std::fs::read_to_string(workspace().join(path)).unwrap();
    let (template, document) = (read("template.yaml"), read("docs/cost.md"));
    for table in cost::tables(&template) {
        assert!(document.contains(&table), "docs/cost.md lacks:\n{table}");
    }
    let idle = format!("{} USD a month", cost::idle_rounded(&template));
    for path in ["README.md", "docs/deploy.md"] {
        assert!(read(path).contains(&idle), "{path} lacks \"{idle}\"");
    }
}

#[test]
fn the_dashboard_shows_metrics_that_are_written() {
    let template = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let shown = dashboard::metrics(&template);
    assert!(shown.len() >= 8, "{shown:?}");
    let mut files = vec![];
    documents::source_files(&workspace().join("functions"), &mut files);
    let sources: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let missing: Vec<_> = shown.iter().filter(|name| !sources.contains(&format!("\"{name}\""))).collect();
    assert!(missing.is_empty(), "no code writes {missing:?}");
}

#[test]
fn the_template_watches_every_part_and_cuts_no_call_off() {
    let template = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    assert_eq!(template::unwatched(&template), [""; 0]);
    assert_eq!(template::unsafe_workers(&template), [""; 0]);
}
