//! Finds circles among the modules of a crate, by reading its sources as text.
//!
//! A module is a file; a folder is a module with children. An import is a path that starts with `crate`,
//! `self` or `super`, in a `use` or inline. It counts between the two **siblings** that lie above its ends:
//! in `playback/clause.rs`, `crate::turn::transcript::Words` makes `playback` depend on `turn`. A parent and
//! its child may name each other, since the child is a part of the parent. Tests do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A module, by the names of its ancestors and its own, from the crate's root (which is empty).
type Module = Vec<String>;

/// The imports between sibling modules, by their parent.
type Imports = BTreeMap<Module, BTreeMap<String, BTreeSet<String>>>;

/// Every circle among the modules below `source`, as `parent: a -> b -> a`. A circle is named once.
pub(crate) fn circles(source: &Path) -> Vec<String> {
    let mut files = BTreeMap::new();
    read(source, &vec![], &mut files);
    let known: BTreeSet<&Module> = files.keys().collect();
    let mut imports = Imports::new();
    for (module, text) in &files {
        for path in paths(text, module) {
            let target = (0..=path.len()).rev().map(|length| path[..length].to_vec());
            let Some(target) = target.into_iter().find(|target| known.contains(target)) else { continue };
            let shared = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if let (Some(from), Some(to)) = (module.get(shared), target.get(shared)) {
                let siblings = imports.entry(module[..shared].to_vec()).or_default();
                siblings.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    let found = imports.iter().flat_map(|(parent, siblings)| {
        let name = if parent.is_empty() { "the root".to_owned() } else { parent.join("::") };
        siblings.keys().filter_map(move |start| Some(format!("{name}: {}", circle(siblings, start)?)))
    });
    found.collect()
}

/// The shortest way from `start` back to it, if `start` is the first by name on that circle.
fn circle(siblings: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<String> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = vec![];
        for way in ways {
            for next in siblings.get(way.last()?).into_iter().flatten() {
                if next == start {
                    let is_first = way.iter().all(|name| start <= name.as_str());
                    return is_first.then(|| format!("{} -> {start}", way.join(" -> ")));
                }
                if seen.insert(next.clone()) {
                    longer.push(way.iter().cloned().chain([next.clone()]).collect());
                }
            }
        }
        ways = longer;
    }
    None
}

/// Reads the sources of `folder`, the module `parent`.
fn read(folder: &Path, parent: &Module, files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_test = name.starts_with("test")
            || name.ends_with("_test")
            || name.ends_with("_tests")
            || name.ends_with("_properties");
        if is_test || name == "bin" {
            continue;
        }
        let mut module = parent.clone();
        if !["lib", "main", "mod"].contains(&name.as_str()) {
            module.push(name);
        }
        if path.is_dir() {
            read(&path, &module, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = without_comments_and_tests(&fs::read_to_string(&path).unwrap());
            files.entry(module).or_default().push_str(&text);
        }
    }
}

fn without_comments_and_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let line = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    code.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The paths that `text`, the source of `module`, names inside its crate; from the root.
fn paths(text: &str, module: &Module) -> Vec<Module> {
    let mut found = vec![];
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(root) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || "_:$".contains(before)) {
                continue;
            }
            let mut rest = &text[at..];
            let mut base = module.clone();
            if let Some(path) = rest.strip_prefix("crate::") {
                base.clear();
                rest = path;
            } else {
                rest = rest.strip_prefix("self::").unwrap_or(rest);
                while let Some(path) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = path;
                }
            }
            expand(rest, &base, &mut found);
        }
    }
    found
}

/// Adds every path that `rest`, such as `a::{b, c::D}`, stands for below `base`. Returns what follows it.
fn expand<'t>(rest: &'t str, base: &Module, found: &mut Vec<Module>) -> &'t str {
    let mut path = base.clone();
    let mut rest = rest.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            rest = group.trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                let behind = expand(rest, &path, found).trim_start();
                let behind = behind.find([',', '}']).map_or("", |end| &behind[end..]);
                rest = behind.strip_prefix(',').unwrap_or(behind).trim_start();
            }
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        let end = rest.find(|character: char| !(character.is_alphanumeric() || character == '_'));
        let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
        if !name.is_empty() && name != "self" {
            path.push(name.to_owned());
        }
        match behind.strip_prefix("::") {
            Some(deeper) if !name.is_empty() => rest = deeper.trim_start(),
            _ => {
                found.push(path);
                return behind;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        circles(folder.path())
    }

    #[test]
    fn a_circle_of_siblings_is_found_once() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use super::{c::{self, C}, d};"),
            ("c.rs", "fn f() { crate::a::g() }"),
            ("d.rs", ""),
        ];
        assert_eq!(found(&files), ["the root: a -> b -> c -> a"]);
    }

    #[test]
    fn a_folder_is_one_module_and_its_files_are_siblings() {
        let files = [
            ("a/mod.rs", "pub use self::x::X; use crate::b::B;"),
            ("a/x.rs", "use super::A; use super::y::Y;"),
            ("a/y.rs", "use super::x::{X, Z};"),
            ("b.rs", "use crate::{c, e::{F, G}};"),
            ("e.rs", "use crate::a::x::X;"),
        ];
        assert_eq!(found(&files), ["the root: a -> b -> e -> a", "a: x -> y -> x"]);
    }

    #[test]
    fn parents_comments_and_tests_make_no_circle() {
        let files = [
            ("a/mod.rs", "use self::x::X;"),
            ("a/x.rs", "use super::A; // use crate::b::B"),
            ("b.rs", "use crate::a::A;\n#[cfg(test)]\nmod tests { use crate::c::C; }"),
            ("c.rs", "use crate::b::B;"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }
}
