//! The shape of the house, kept true: where files lie, what may depend on what, what may be named how.

use std::process::Command;

use crate::house;

/// Crates that no socket, clock or runtime may reach.
const SANS_IO: [&str; 4] = ["core", "codec", "legs", "sim"];

/// The line by which a crate denies itself what `clippy.toml` bans.
const DENY_LINE: &str = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]";

/// Longest file, tests aside.
const LINES_MAX: usize = 450;

#[test]
fn every_path_that_the_architecture_names_exists() {
    let page = house::text("gateway/ARCHITECTURE.md");
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|quoted| is_path(quoted)).collect();
    assert!(named.len() > 20, "the page names only {} paths: has its form changed?", named.len());
    let missing: Vec<_> = named.iter().filter(|path| !house::root().join(path).exists()).collect();
    assert!(missing.is_empty(), "gateway/ARCHITECTURE.md names what is not there: {missing:?}");
}

fn is_path(quoted: &str) -> bool {
    let tops = ["gateway/", "tests/", "fixtures/", "config/", "deploy/", "plugins/", ".ci/", ".config/"];
    tops.iter().any(|top| quoted.starts_with(top)) && !quoted.contains([' ', '*', '{'])
}

#[test]
fn a_ticked_promise_names_tests_that_exist() {
    let code: String = house::files("rs").iter().map(|path| house::text(path)).collect();
    let page = house::text("gateway/docs/promises.md");
    let ticked = page.lines().filter(|line| line.starts_with("- [x] "));
    let keepers = ticked.filter_map(|line| line.rsplit_once(" — ").map(|(_, keepers)| keepers));
    let named: Vec<_> = keepers.flat_map(|keepers| keepers.split('`').skip(1).step_by(2)).collect();
    let is_test = |name: &&&str| {
        name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let missing: Vec<_> =
        named.iter().filter(is_test).filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(!named.is_empty(), "no ticked promise names anything: has the page's form changed?");
    assert!(missing.is_empty(), "gateway/docs/promises.md is kept by tests that do not exist: {missing:?}");
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut broken = Vec::new();
    for page in house::files("md") {
        let folder = house::root().join(&page).parent().expect("a file lies in a folder").to_path_buf();
        let text = house::text(&page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let is_local = !target.contains("://") && !path.is_empty();
            if is_local && !folder.join(path).exists() {
                broken.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_sans_io_crate_reaches_no_runtime_and_no_socket() {
    for name in SANS_IO {
        let tree = dependencies_of(&format!("patchbay-{name}"));
        for banned in
            ["tokio", "mio", "socket2", "hyper", "axum", "tungstenite", "async-io", "getrandom", "rand"]
        {
            let found = tree.iter().find(|dependency| *dependency == banned);
            assert_eq!(found, None, "patchbay-{name} must not depend on {banned}");
        }
    }
}

/// Names of everything that ends up in a build of `package`.
fn dependencies_of(package: &str) -> Vec<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", package])
        .current_dir(house::root())
        .output()
        .expect("cargo, which runs this test, can be run");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).expect("cargo prints UTF-8");
    let names: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.iter().any(|name| name == package), "cargo tree did not speak of {package}: {text}");
    names
}

#[test]
fn a_sans_io_crate_denies_what_clippy_toml_bans() {
    for name in SANS_IO {
        let path = format!("gateway/{name}/src/lib.rs");
        let denies = house::text(&path).lines().any(|line| line == DENY_LINE);
        assert!(denies, "{path} has lost its line: {DENY_LINE}");
    }
}

#[test]
fn dependencies_point_inwards() {
    let forbidden = [
        ("core", ["codec", "legs", "sim", "hooks", "store"].as_slice()),
        ("codec", &["legs", "sim", "hooks", "store"]),
        ("legs", &["codec", "sim", "hooks", "store"]),
        ("sim", &["hooks", "store"]),
    ];
    for (name, others) in forbidden {
        let tree = dependencies_of(&format!("patchbay-{name}"));
        assert!(
            !tree.iter().any(|dependency| dependency == "patchbay"),
            "patchbay-{name} points at the server"
        );
        for other in others {
            let named = tree.iter().any(|dependency| *dependency == format!("patchbay-{other}"));
            assert!(!named, "patchbay-{name} must not know patchbay-{other}");
        }
    }
}

#[test]
fn no_file_has_a_second_noun_inside() {
    let long: Vec<_> = house::files("rs")
        .into_iter()
        .filter(|path| !is_test_code(path))
        .map(|path| (lines_before_tests(&house::text(&path)), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "past {LINES_MAX} lines without its tests: find the second noun. {long:?}");
}

fn is_test_code(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Lines up to the module of tests at the end of a file.
fn lines_before_tests(source: &str) -> usize {
    let lines: Vec<_> = source.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with('{'));
    tests.unwrap_or(lines.len())
}

#[test]
fn nothing_has_a_name_that_says_nothing() {
    let mut found = Vec::new();
    for path in house::files("rs") {
        let stem = path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or_default();
        if let Some(word) = banned_word(stem, &path) {
            found.push(format!("{path}: file name with '{word}'"));
        }
        for (number, line) in house::text(&path).lines().enumerate() {
            let declared = declared_name(line);
            if let Some(word) = declared.and_then(|name| banned_word(name, &path)) {
                found.push(format!("{path}:{}: '{word}' in {line:?}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The name that a line declares: a function, a type or a module.
fn declared_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub") || ["async", "const", "unsafe", "crate)", "in"].contains(word)
    });
    let keyword = words.next()?;
    let declares = ["fn", "struct", "enum", "trait", "type", "mod"].contains(&keyword);
    let name = words.next()?.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    declares.then_some(name)
}

/// The word in `name` that the glossary bans (DESIGN §3). A vendor's own word may be quoted where its wire is spoken.
fn banned_word(name: &str, path: &str) -> Option<&'static str> {
    const BANNED: [&str; 11] = [
        "session", "handler", "manager", "helper", "helpers", "util", "utils", "info", "process", "common",
        "data",
    ];
    let speaks_a_vendors_wire =
        ["gateway/legs/", "gateway/sim/", "tests/"].iter().any(|p| path.starts_with(p));
    let words = words_of(name);
    // A function of a test is a sentence, and a sentence may hold any word.
    let is_sentence = words.len() > 4;
    let says_nothing = |word: &&str| words.iter().any(|w| w == *word) && !is_sentence;
    BANNED
        .into_iter()
        .filter(|word| *word != "session" || !speaks_a_vendors_wire)
        .find(says_nothing)
        .or_else(|| ["types", "common"].into_iter().find(|word| name == *word))
}

/// The words of a snake-case or camel-case name, in lower case.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().expect("one was there from the start").extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn nothing_is_left_half_done() {
    let leftovers =
        ["TODO", "FIXME", "todo!(", "unimplemented!(", "#[allow(", "#[ignore", "unbounded_channel"];
    let mut found = Vec::new();
    for path in house::files("rs").iter().filter(|path| *path != "tests/all/architecture.rs") {
        for (number, line) in house::text(path).lines().enumerate() {
            if leftovers.iter().any(|leftover| line.contains(leftover)) {
                found.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_top_level_holds_what_the_design_says() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "clippy.toml",
        "config",
        "deny.toml",
        "deploy",
        "fixtures",
        "gateway",
        "plugins",
        "rustfmt.toml",
        "target",
        "tests",
    ];
    let top = std::fs::read_dir(house::root()).expect("the top can be read");
    let names = top.map(|entry| entry.expect("the top can be read").file_name().into_string().unwrap());
    let strangers: Vec<_> = names.filter(|n| !n.starts_with('.') && !allowed.contains(&n.as_str())).collect();
    assert!(strangers.is_empty(), "not in DESIGN §2: {strangers:?}");
}
