//! `SledStore`: opening a directory as the store of one node, and what hangs on it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft_adapters::engine::{Replica, StoreId};
use openraft_adapters::{Identity, RaftLogStorage, RaftTypeConfig, StorageError};

use crate::error::OpenError;
use crate::format;
use crate::identity::IdentityState;
use crate::log::SledLog;
use crate::marker::{LOCK_FILE, Marker, sync_dir};
use crate::metrics::SledMetrics;
use crate::shared::{Limits, Shared, locked};
use crate::snapshot::{self, Registry, SledSnapshots};
use crate::writer::Writer;

/// How long an opening waits for an earlier handle of this process to let go: tries, and the pause between them.
const WIND_UP_TRIES: u32 = 100;
const WIND_UP_PAUSE: Duration = Duration::from_millis(10);

/// How a directory is opened.
#[derive(Clone, Debug)]
pub struct SledOptions<NID> {
    /// The node that runs on it; recorded at creation, and compared at every later opening.
    pub node_id: NID,
    /// The cluster's human name; recorded and compared likewise. At most 1 KiB.
    pub cluster_name: String,
    /// The most memory that sled's cache of pages takes, in bytes. 64 MiB unless said otherwise.
    pub cache_capacity_bytes: u64,
    /// The size of sled's segments in bytes: a power of two from 1 MiB to 16 MiB; 8 MiB unless said otherwise. It takes
    /// effect at creation; a directory keeps the size that it was created with. No value is ever larger than a 128th of
    /// it; larger entries are cut over several.
    pub segment_size_bytes: usize,
    /// Whether a directory that is missing is created, with its parents. True unless said otherwise.
    pub create_if_missing: bool,
}

impl<NID> SledOptions<NID> {
    /// The defaults, for this node of this cluster.
    pub fn new(node_id: NID, cluster_name: impl Into<String>) -> Self {
        Self {
            node_id,
            cluster_name: cluster_name.into(),
            cache_capacity_bytes: 64 << 20,
            segment_size_bytes: 8 << 20,
            create_if_missing: true,
        }
    }
}

/// The store of one node: one directory, one sled database, any number of groups.
///
/// It stays open until this value and every log, reader, snapshot and source that came from it is gone; then the writer
/// finishes what is queued and the directory is free again.
pub struct SledStore<C: RaftTypeConfig> {
    pub(crate) handle: Arc<Handle<C>>,
    pub(crate) identity: IdentityState<C>,
    snapshots: Registry<C>,
}

/// Keeps the writer running for as long as anyone may submit.
pub(crate) struct Handle<C: RaftTypeConfig> {
    pub(crate) shared: Arc<Shared<C>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<C: RaftTypeConfig> Drop for Handle<C> {
    fn drop(&mut self) {
        self.shared.queue.close();
        let thread = locked(&self.thread).take();
        // A completion may have held the last handle, and then this is the writer itself.
        if let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!(dir = %self.shared.dir.display(), "the writer of the store panicked");
        }
    }
}

impl<C: RaftTypeConfig> SledStore<C> {
    /// Opens `dir`, creating it if it is absent or empty. A directory that is created draws a random store id, which is
    /// durable on return, as is everything that the directory is found to hold.
    ///
    /// Blocks: on the disk, and for about a second while an earlier handle of this process winds up.
    ///
    /// # Errors
    /// An [`OpenError`] that names the directory, what was found and what to do. A directory of another node or cluster,
    /// of a newer format, or that is no store at all is left as it is.
    pub fn open(dir: &Path, options: SledOptions<C::NodeId>) -> Result<Arc<Self>, OpenError> {
        check(&options)?;
        if !dir.exists() {
            if !options.create_if_missing {
                return Err(OpenError::Missing { dir: dir.to_owned() });
            }
            create_dir(dir)?;
        }
        // Whose it is comes first: a directory that is not ours is not even locked.
        check_owner(dir, Marker::read(dir)?, &options)?;
        let lock = lock(dir)?;
        // Read again, now that nobody else can change it.
        let (node, cluster) = names(&options);
        let (store_id, segment_size, complete) = match check_owner(dir, Marker::read(dir)?, &options)? {
            Some(marker) if marker.complete => (parse_store(dir, &marker)?, marker.segment_size, true),
            _ => (draw_store_id(dir)?, options.segment_size_bytes, false),
        };
        let marker =
            Marker { complete: true, node, cluster, store: StoreId(store_id).to_string(), segment_size };
        if complete {
            remove_half_written(dir)?;
        } else {
            Marker { complete: false, ..marker.clone() }.write(dir)?;
            remove_half_created(dir)?;
        }
        let db = open_sled(dir, &options, segment_size)?;
        let barrier = File::open(dir.join("db")).map_err(|e| OpenError::io(dir, "opening sled's file", e))?;
        let shared = Arc::new(Shared::new(dir, db, barrier, lock, Limits::of_segment(segment_size)));

        let replica = Replica { node_id: options.node_id, store_id: StoreId(store_id) };
        let wanted = Identity { replica, cluster_name: options.cluster_name.clone(), cluster_id: None };
        let identity = IdentityState::load(&shared, wanted, complete)?;
        let (registry, stale) = snapshot::load(&shared).map_err(|e| OpenError::damaged(dir, e))?;
        let mut writer = Writer::load(shared.clone()).map_err(|e| OpenError::damaged(dir, e))?;
        writer.finish_open(stale).map_err(|e| OpenError::io(dir, "writing", io::Error::other(e)))?;
        sync_files(dir).map_err(|e| OpenError::io(dir, "syncing it", e))?;
        if !complete {
            marker.write(dir)?;
        }
        let thread = std::thread::Builder::new()
            .name("sled-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|e| OpenError::io(dir, "starting a thread", e))?;
        tracing::info!(
            dir = %dir.display(), id = %options.node_id, store_id = marker.store, created = !complete,
            "store opened"
        );
        let handle = Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) });
        let snapshots = registry.attach(&handle);
        Ok(Arc::new(Self { handle, identity, snapshots }))
    }

    /// The log of `group`. A group is created by its first write. Each group is to be written by one core only.
    pub fn log(&self, group: u64) -> Arc<dyn RaftLogStorage<C>> {
        Arc::new(SledLog::new(self.handle.clone(), group))
    }

    /// The snapshots of `group`.
    pub fn snapshots(&self, group: u64) -> SledSnapshots<C> {
        self.snapshots.group(&self.handle, group)
    }

    /// A note that the application left under `name`.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn get_app(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let shared = &self.handle.shared;
        let key = format::app(name);
        let failed = |cause: String| shared.read_failed(format_args!("the note {name:?}"), cause);
        let value = shared.db().get(&key).map_err(|e| failed(e.to_string()))?;
        value
            .map(|v| format::unseal(&key, &v).map(<[u8]>::to_vec))
            .transpose()
            .map_err(|e| failed(e.to_string()))
    }

    /// Leaves a note under `name`, in place of the one before. Durable on return.
    ///
    /// # Errors
    /// If it could not be made durable, or `name` or `value` is too large: 1 KiB and a 128th of a segment.
    ///
    /// # Cancellation
    /// Dropping the future does not take the note back.
    pub async fn put_app(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        let limit = self.handle.shared.limits.part_bytes;
        if name.len() > 1024 || value.len() > limit {
            return Err(StorageError::message(
                format!("leaving the note {name:?}"),
                format!("it has {} bytes; at most {limit} are possible", value.len()),
            ));
        }
        let key = format::app(name);
        let value = format::seal(&key, &[value]);
        self.handle.shared.queue.write(vec![(key, Some(value))]).await
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.handle.shared.dir
    }

    /// What the writer has done since the store was opened.
    pub fn metrics(&self) -> SledMetrics {
        self.handle.shared.counters.read()
    }

    /// What the directory takes on the disk, in bytes: the lengths of its files.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn bytes_on_disk(&self) -> Result<u64, StorageError> {
        files_len(self.dir()).map_err(|e| StorageError::new(format!("listing {}", self.dir().display()), &e))
    }

    /// Why the store has stopped writing, if it has. Only opening it anew helps.
    pub fn failure(&self) -> Option<StorageError> {
        self.handle.shared.queue.failure()
    }
}

fn check<NID>(options: &SledOptions<NID>) -> Result<(), OpenError> {
    let size = options.segment_size_bytes;
    if !size.is_power_of_two() || !(1 << 20..=1 << 24).contains(&size) {
        let reason =
            format!("the segment size is {size} bytes; it may be a power of two from 1 MiB to 16 MiB");
        return Err(OpenError::Options { reason });
    }
    if options.cluster_name.len() > 1024 {
        return Err(OpenError::Options { reason: "the cluster's name is longer than 1 KiB".to_owned() });
    }
    Ok(())
}

/// Node and cluster as the marker shows them.
fn names<NID: std::fmt::Display>(options: &SledOptions<NID>) -> (String, String) {
    (options.node_id.to_string(), format!("{:?}", options.cluster_name))
}

fn check_owner<NID: std::fmt::Display>(
    dir: &Path,
    marker: Option<Marker>,
    options: &SledOptions<NID>,
) -> Result<Option<Marker>, OpenError> {
    let (node, cluster) = names(options);
    let Some(marker) = marker else { return Ok(None) };
    let dir = dir.to_owned();
    if marker.cluster != cluster {
        return Err(OpenError::OtherCluster { dir, found: marker.cluster, wanted: cluster });
    }
    if marker.node != node {
        return Err(OpenError::OtherNode { dir, found: marker.node, wanted: node });
    }
    Ok(Some(marker))
}

fn parse_store(dir: &Path, marker: &Marker) -> Result<u128, OpenError> {
    u128::from_str_radix(&marker.store, 16)
        .map_err(|_| OpenError::damaged(dir, "its marker holds no store id"))
}

fn draw_store_id(dir: &Path) -> Result<u128, OpenError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| OpenError::io(dir, "drawing a store id", io::Error::other(e)))?;
    Ok(u128::from_le_bytes(bytes))
}

/// Creates `dir`, and makes its entry in its parent durable.
fn create_dir(dir: &Path) -> Result<(), OpenError> {
    let parent =
        dir.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), PathBuf::from);
    fs::create_dir_all(dir).and_then(|()| sync_dir(&parent)).map_err(|e| OpenError::io(dir, "creating it", e))
}

/// Locks the directory for this process, and leaves the process's number in the lock for whoever is refused.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|e| OpenError::io(dir, "opening its lock", e))?;
    let own = std::process::id();
    let mut tries = WIND_UP_TRIES;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(e)) => return Err(OpenError::io(dir, "locking it", e)),
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                // A read that was given up, or a completion that held the last handle, may still wind up.
                if holder != Some(own) || tries == 0 {
                    return Err(OpenError::InUse {
                        dir: dir.to_owned(),
                        process: holder.unwrap_or_default(),
                    });
                }
                tries -= 1;
                std::thread::sleep(WIND_UP_PAUSE);
            }
        }
    }
    file.set_len(0)
        .and_then(|()| file.write_all(format!("{own}\n").as_bytes()))
        .map_err(|e| OpenError::io(dir, "writing its lock", e))?;
    Ok(file)
}

/// sled writes the table of pages that it makes on opening under this name before it renames it, and takes a file left
/// half written by a crash for the newest table.
fn remove_half_written(dir: &Path) -> Result<(), OpenError> {
    remove_files(dir, |name| name.starts_with("snap.") && name.ends_with(".generating"))
}

/// What sled had made of a directory whose creation was cut short: it held nothing that anyone was told of.
fn remove_half_created(dir: &Path) -> Result<(), OpenError> {
    remove_files(dir, |name| name == "db" || name == "conf" || name.starts_with("snap."))
}

fn remove_files(dir: &Path, which: impl Fn(&str) -> bool) -> Result<(), OpenError> {
    let remove = || {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if which(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|e: io::Error| OpenError::io(dir, "clearing leftovers", e))
}

fn open_sled<NID>(
    dir: &Path,
    options: &SledOptions<NID>,
    segment_size: usize,
) -> Result<sled::Db, OpenError> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(options.cache_capacity_bytes)
        .segment_size(segment_size)
        // One writer flushes when it has something to say; a second one in the background would only disturb it.
        .flush_every_ms(None)
        .print_profile_on_drop(false);
    let mut tries = WIND_UP_TRIES;
    loop {
        // We hold the directory's own lock, so that sled's can only be held by threads that still wind up an earlier
        // handle of this very process.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open()));
        match opened {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(sled::Error::Io(e))) if e.to_string().contains("could not acquire lock") => {
                if tries == 0 {
                    return Err(OpenError::InUse { dir: dir.to_owned(), process: std::process::id() });
                }
                tries -= 1;
                std::thread::sleep(WIND_UP_PAUSE);
            }
            Ok(Err(sled::Error::Io(e))) => return Err(OpenError::io(dir, "opening its database", e)),
            Ok(Err(e)) => return Err(OpenError::damaged(dir, e)),
            Err(_) => return Err(OpenError::damaged(dir, "sled panicked while it opened its database")),
        }
    }
}

/// Makes durable what sled creates on opening and does not sync itself: its configuration and the directory's entries.
fn sync_files(dir: &Path) -> io::Result<()> {
    File::open(dir.join("conf"))?.sync_all()?;
    sync_dir(&dir.join("blobs"))?;
    sync_dir(dir)
}

fn files_len(dir: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            // sled removes files of its own at any time.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        total += if meta.is_dir() { files_len(&entry.path())? } else { meta.len() };
    }
    Ok(total)
}

impl<C: RaftTypeConfig> Handle<C> {
    /// A read of sled that may block.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Shared<C>) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let handle = self.clone();
        crate::shared::blocking(move || read(&handle.shared)).await?
    }
}
