//! Files of variables, as examples and as pages show them.

use std::collections::BTreeMap;

/// The variables of `NAME=value` lines; an empty value becomes a sample.
pub(super) fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| filled(name, value)).collect()
}

/// A variable as its user would fill it in.
pub(super) fn filled(name: &str, value: &str) -> (String, String) {
    let value = if value.is_empty() || value.contains(['…', '$']) { sample(name) } else { value };
    (name.to_owned(), value.to_owned())
}

fn sample(name: &str) -> &'static str {
    match name {
        "PATCHBAY_MASTER_KEY" => "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "PATCHBAY_SIGNING_KEY" => "00000000000000000000000000000000",
        "DATABASE_URL" => "postgres://patchbay:sample@db:5432/patchbay",
        _ => "sample",
    }
}

/// The lines of a page's blocks of code.
pub(super) fn code(page: &str) -> Vec<&str> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.flat_map(|block| block.lines().skip(1)).map(str::trim).collect()
}
