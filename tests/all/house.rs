//! Where things are in the repository, for tests that read it.

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests crate lies one folder below the top").to_path_buf()
}

/// The text of the file at `path` from the top. Panics, with the path, when it cannot be read.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every file below the top whose name ends with `.extension`, as paths from the top in order, but for what is built or
/// installed.
pub(crate) fn files(extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root(), &mut |path| {
        if path.extension().is_some_and(|e| e == extension) {
            let from_top = path.strip_prefix(root()).expect("the walk began at the top");
            found.push(from_top.to_str().expect("our file names are UTF-8").to_owned());
        }
    });
    found.sort();
    found
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
        let entry = entry.expect("a folder of the repository can be read");
        let name = entry.file_name();
        let is_ours = !["target", "node_modules", "dist"].iter().any(|skipped| name == *skipped)
            && !name.as_encoded_bytes().starts_with(b".");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && is_ours => walk(&entry.path(), visit),
            Ok(kind) if kind.is_file() => visit(&entry.path()),
            _ => {}
        }
    }
}
