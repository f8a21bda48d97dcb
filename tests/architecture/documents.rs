//! Links and paths in the documents lead somewhere.

use std::{fs, path::Path};

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

/// Every document of the project.
pub(crate) fn documents(workspace: &Path) -> Vec<std::path::PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
