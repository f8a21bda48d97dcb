//! Links and paths in the documents lead somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Links of `text`, a document in `folder`, and paths in its code spans that do not exist. Links are relative to
/// the document, paths to the workspace or to the document.
pub(crate) fn broken(workspace: &Path, folder: &Path, text: &str) -> Vec<String> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
    let links = links.map(|link| link.split('#').next().unwrap_or_default());
    let is_local = |link: &&str| !link.is_empty() && !link.contains("://") && !link.contains(' ');
    let links = links.filter(is_local).filter(|link| !folder.join(link).exists());
    // Every second part between backticks is a code span.
    let spans = text.split('`').skip(1).step_by(2);
    let roots = ["crates/", "functions/", "tests/", "docs/", "events/", ".ci/"];
    let is_path = |span: &&str| {
        roots.iter().any(|root| span.starts_with(root)) && !span.contains(['*', ' ', '{', '<', '\n'])
    };
    let exists = |path: &&str| workspace.join(path).exists() || folder.join(path).exists();
    let paths = spans.filter(is_path).filter(|path| !exists(path));
    links.chain(paths).map(str::to_owned).collect()
}

/// The rows of the acceptance checks: the number of each, and the tests that its second column names.
pub(crate) fn checks(text: &str) -> Vec<(usize, Vec<String>)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let number = cells.first()?.split_once(". ")?.0.parse().ok()?;
        let tests = cells.get(1)?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((number, tests))
    };
    text.lines().filter_map(row).collect()
}

/// The names of all test functions below these folders.
pub(crate) fn tests_below(folders: &[&Path]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left: Vec<_> = folders.iter().map(|folder| (*folder).to_owned()).collect();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(tests_of(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// The functions of a file that have the attribute of a test.
fn tests_of(source: &str) -> Vec<String> {
    let mut is_test = false;
    let mut found = vec![];
    for line in source.lines().map(str::trim) {
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some((name, _)) = function.and_then(|rest| rest.split_once(['(', '<'])) {
            if is_test {
                found.push(name.to_owned());
            }
            is_test = false;
        } else {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        }
    }
    found
}

/// Every document of the project.
pub(crate) fn documents(workspace: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![workspace.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The names of tests in a section of a document that no file below `workspace` has as a function.
pub(crate) fn unknown_tests(workspace: &Path, document: &str, section: &str) -> Vec<String> {
    let (_, section) = document.split_once(section).expect("the document has the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let is_test = |name: &&str| {
        name.matches('_').count() >= 2 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let named: BTreeSet<&str> = section.split('`').skip(1).step_by(2).filter(is_test).collect();
    let mut sources = vec![];
    for folder in ["crates", "functions", "tests"] {
        source_files(&workspace.join(folder), &mut sources);
    }
    let sources: Vec<String> = sources.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let exists = |name: &&str| sources.iter().any(|source| source.contains(&format!("fn {name}(")));
    assert!(named.len() > 20, "the section names its tests");
    named.into_iter().filter(|name| !exists(name)).map(str::to_owned).collect()
}

/// Every Rust file below a folder.
pub(crate) fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_and_tests_are_read() {
        let table = "| check | tests | remarks |\n|---|---|---|\n| 1. Once `a`: | `b`, `c` | as `d` |\nno row\n| 2. Not | | |";
        assert_eq!(checks(table), [(1, vec!["b".to_owned(), "c".to_owned()]), (2, vec![])]);
        let source =
            "fn a() {}\n#[test]\n#[x]\nfn b() {}\nfn c() {}\n    #[tokio::test(y)]\n    async fn d() {}";
        assert_eq!(tests_of(source), ["b", "d"]);
    }

    #[test]
    fn links_and_paths_that_lead_nowhere_are_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        fs::write(folder.path().join("docs/a.md"), "").unwrap();
        let text =
            "[a](docs/a.md#x) [b](docs/b.md) <https://x> [c](https://c) `docs/c.md` `docs/a.md` `tests/*`";
        assert_eq!(broken(folder.path(), folder.path(), text), ["docs/b.md", "docs/c.md"]);
    }
}
