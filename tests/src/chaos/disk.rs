//! A node's disk: a small file system of its own in memory, which can be filled; or a plain directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::shell;

/// The name under which the system lists these file systems, and then the number of the process that made them.
const DEVICE: &str = "raft-chaos-";

/// Its file system, if it has one, is taken away when it is dropped.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    limited: bool,
}

impl Disk {
    /// A file system of `size_mb` MiB at `root`.
    ///
    /// # Errors
    /// If none can be mounted here; nothing is left behind.
    pub fn limited(root: &Path, size_mb: u64) -> Result<Self, String> {
        sweep();
        make(root)?;
        let (device, root_shown) = (format!("{DEVICE}{}", std::process::id()), root.display());
        shell::run(&format!("mount -t tmpfs -o size={size_mb}m,mode=700 {device} {root_shown}"))?;
        Ok(Self { root: root.to_owned(), limited: true })
    }

    /// A directory at `root`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn plain(root: &Path) -> Result<Self, String> {
        make(root)?;
        Ok(Self { root: root.to_owned(), limited: false })
    }

    /// Whether it can be filled.
    pub fn is_limited(&self) -> bool {
        self.limited
    }

    /// Where the node keeps its data.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn filling(&self) -> PathBuf {
        self.root.join("filling")
    }

    /// Leaves no room.
    pub(super) fn fill(&self) -> io::Result<()> {
        assert!(self.limited, "only a disk with a size can be filled");
        let mut file = File::create(self.filling())?;
        // Large pieces first, then what is left.
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0x5a; size];
            loop {
                match file.write(&piece) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub(super) fn free(&self) -> io::Result<()> {
        match fs::remove_file(self.filling()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Loses everything. The node must not run.
    pub(super) fn wipe(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.data()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn make(root: &Path) -> Result<(), String> {
    fs::create_dir_all(root).map_err(|e| format!("{} cannot be made: {e}", root.display()))
}

/// Takes away what runs that were killed left behind.
fn sweep() {
    let Ok(mounts) = fs::read_to_string("/proc/mounts") else { return };
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(root)) = (words.next(), words.next()) else { continue };
        let maker = device.strip_prefix(DEVICE).and_then(|maker| maker.parse::<u32>().ok());
        if maker.is_some_and(|maker| !Path::new(&format!("/proc/{maker}")).exists()) {
            let _ = shell::run(&format!("umount -l {root}")); // Another run may be sweeping too.
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.limited {
            // At once where nobody uses it any more, else as soon as that is so.
            let _ = shell::run(&format!("umount -l {}", self.root.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_disk_is_empty_and_may_be_wiped_again() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::plain(&dir.path().join("disk")).unwrap();
        fs::create_dir_all(disk.data().join("deep")).unwrap();
        disk.wipe().unwrap();
        disk.wipe().unwrap();
        assert!(!disk.data().exists() && !disk.is_limited());
        disk.free().unwrap();
    }

    #[test]
    fn a_full_disk_takes_nothing_until_it_is_freed() {
        let dir = tempfile::tempdir().unwrap();
        // Where none can be mounted, the harness goes without it too.
        let Ok(disk) = Disk::limited(&dir.path().join("disk"), 1) else { return };
        fs::create_dir_all(disk.data()).unwrap();
        let write = || fs::write(disk.data().join("file"), [1; 8192]);
        write().unwrap();
        disk.fill().unwrap();
        let more = fs::write(disk.data().join("more"), [1; 8192]).unwrap_err();
        assert_eq!(more.kind(), io::ErrorKind::StorageFull);
        disk.free().unwrap();
        fs::write(disk.data().join("more"), [1; 8192]).unwrap();
    }
}
