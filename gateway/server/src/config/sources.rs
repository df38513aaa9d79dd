//! Where a configuration comes from.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// The texts that a configuration is made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The user's file: its name as given, and its text.
    pub file: Option<(PathBuf, String)>,
    /// The environment over `.env`.
    pub variables: BTreeMap<String, String>,
    /// Further files to watch.
    pub env_files: Vec<PathBuf>,
    /// What is managed at run time.
    pub kept: Kept,
}

/// What the store keeps of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Tenants, each with one text.
    pub tenants: Vec<TenantText>,
    /// What `{ sealed = "NAME" }` stands for, by tenant and name.
    pub sealed: BTreeMap<(String, String), Secret>,
}

/// A tenant as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantText {
    /// Its name.
    pub name: String,
    /// What would stand below `[tenants.NAME]`, as TOML.
    pub text: String,
}

/// Where sources are read from, again at each reload.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The file of the command line or the usual one, `.env` and the environment.
    Files(Option<PathBuf>),
    /// These, which never change.
    Given(Box<Sources>),
}

impl Origin {
    /// Reads them.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn read(&self) -> Result<Sources, SourcesError> {
        match self {
            Self::Files(path) => Sources::read(path.as_deref()),
            Self::Given(sources) => Ok((**sources).clone()),
        }
    }
}

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// The file named on the command line, or one that exists but cannot be read.
    #[error("{}: cannot be read ({reason}); check the path and its permissions", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// `.env` is not `NAME=value` lines.
    #[error("{}:{line}:1: not NAME=value; put quotes around a value with spaces or #", path.display())]
    EnvFile {
        /// Which.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

/// Where a file is looked for when none is named.
const USUAL: [&str; 2] = ["patchbay.toml", "config/patchbay.toml"];

impl Sources {
    /// Reads the file at `path`, or the usual one if it exists; `.env` of the working directory; the environment.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn read(path: Option<&Path>) -> Result<Self, SourcesError> {
        let usual = || USUAL.iter().map(PathBuf::from).find(|path| path.is_file());
        let path = path.map(Path::to_owned).or_else(usual);
        let file = path.map(|path| match std::fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(reason) => Err(SourcesError::File { path, reason }),
        });
        let env_file = PathBuf::from(".env");
        let mut variables = if env_file.is_file() { read_env_file(&env_file)? } else { BTreeMap::new() };
        variables.extend(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        );
        Ok(Self { file: file.transpose()?, variables, env_files: vec![env_file], ..Self::default() })
    }

    /// Sets a variable, as if the environment had it.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }
}

fn read_env_file(path: &Path) -> Result<BTreeMap<String, String>, SourcesError> {
    let text = std::fs::read_to_string(path)
        .map_err(|reason| SourcesError::File { path: path.to_owned(), reason })?;
    let parsed: Result<_, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
    parsed.map_err(|error| SourcesError::EnvFile { path: path.to_owned(), line: line_of(&text, &error) })
}

/// dotenvy tells the line's text, which may be a secret: only its number goes on.
fn line_of(text: &str, error: &dotenvy::Error) -> usize {
    let dotenvy::Error::LineParse(bad, _) = error else { return 1 };
    text.lines()
        .position(|line| line.trim() == bad.trim() || line.contains(bad.as_str()))
        .map_or(1, |at| at + 1)
}
