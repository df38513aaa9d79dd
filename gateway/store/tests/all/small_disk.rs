//! A disk that is soon full.

use std::path::Path;
use std::process::Command;

/// 2 MiB of tmpfs, unmounted when dropped.
pub(crate) struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Mounts it; `None` for who is not root.
    pub(crate) fn mount(at: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|out| out.status.success());
        mounted.then_some(Self(at))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0
    }

    /// To 256 MiB.
    pub(crate) fn grow(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,size=256m"]).arg(self.0);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // The database is closed a little later than the test ends.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
