//! Other people's opinion of `deploy/`: systemd-analyze and hadolint, both installed by `tests/setup.sh test`.

use std::path::Path;
use std::process::Command;

use super::{unit, with};
use crate::house;

/// Tenths of systemd's exposure level, from 0 to 100; reference/reliability.md §4.3 asks for at most 2.0.
const EXPOSURE_MAX: &str = "20";

/// Runs a program; what it says when it is not content.
fn complaint(program: &Path, arguments: &[&str], file: &Path) -> Option<String> {
    let run = Command::new(program).args(arguments).arg(file).output();
    let output = run.unwrap_or_else(|e| panic!("{}: {e}: run `bash tests/setup.sh test`", program.display()));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    // systemd-analyze warns of a setting that it does not know, and is content all the same.
    let content = output.status.success() && !said.contains("Unknown");
    (!content).then_some(said)
}

fn verified(text: &str, arguments: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("patchbay.service");
    // The program need not be installed where the tests run.
    std::fs::write(&file, with(text, "ExecStart=/usr/local/bin/patchbay", "ExecStart=/bin/true")).unwrap();
    complaint(Path::new("systemd-analyze"), arguments, &file)
}

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let text = house::text(unit::FILE);
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let security = ["security", "--offline=true", "--no-pager", threshold.as_str()];
    assert_eq!(verified(&text, &["verify"]), None);
    assert_eq!(verified(&text, &security), None);
    assert!(
        verified(&with(&text, "KillMode=mixed", "KilMode=mixed"), &["verify"]).is_some(),
        "a slip is found"
    );
    let soft = with(&with(&text, "DynamicUser=yes", "DynamicUser=no"), "PrivateUsers=yes", "PrivateUsers=no");
    let soft = with(&soft, "CapabilityBoundingSet=\n", "");
    assert!(verified(&soft, &security).is_some(), "a service that is root is found");
}

#[test]
fn hadolint_has_nothing_to_say() {
    let hadolint = house::root().join("tests/interop/.venv/bin/hadolint");
    assert!(hadolint.exists(), "{} is missing: run `bash tests/setup.sh test`", hadolint.display());
    let dockerfile = house::root().join("deploy/Dockerfile");
    assert_eq!(complaint(&hadolint, &[], &dockerfile), None);
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("Dockerfile");
    std::fs::write(&wrong, with(&house::text("deploy/Dockerfile"), "rust:1.95-slim-bookworm", "rust"))
        .unwrap();
    assert!(complaint(&hadolint, &[], &wrong).is_some(), "an image without a version is found");
}
