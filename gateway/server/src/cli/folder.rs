//! A folder that is gone when it is dropped.

use std::io;
use std::path::{Path, PathBuf};

/// A throw-away folder of this process, for nobody else to read.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one for `purpose`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(purpose: &str) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("patchbay-{purpose}-{}-{}", std::process::id(), crate::id::fresh(""));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
