//! The judgement: whether what clients saw is linearizable, whether everything acknowledged is there on every node, and
//! whether any node says that something happened which must not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::clock_ns;
use super::cluster::Cluster;
use super::load::VALUE_BYTES;
use crate::history::{self, Op, Operation, Outcome};

/// The clients of each history get numbers of their own: this far apart. Final reads come after them all.
const CLIENTS_APART: u64 = 1_000_000;

/// Reads the histories of several loads into one. They share no keys.
///
/// # Errors
/// If one cannot be read.
pub fn read_histories(paths: &[PathBuf]) -> Result<Vec<Operation>, String> {
    let mut all = Vec::new();
    for (index, path) in (0..).zip(paths) {
        let failed = |e: &dyn std::fmt::Display| format!("{} cannot be read: {e}", path.display());
        let file = std::fs::File::open(path).map_err(|e| failed(&e))?;
        let operations = history::read_lines(BufReader::new(file)).map_err(|e| failed(&e))?;
        all.extend(operations.into_iter().map(|mut operation| {
            operation.client += index * CLIENTS_APART;
            operation
        }));
    }
    Ok(all)
}

/// Reads all keys of `operations` on node `id`, as one read each. The node has caught up with all that was acknowledged
/// before.
///
/// # Errors
/// If it does not give them.
pub fn final_reads(
    cluster: &Cluster,
    id: u64,
    operations: &[Operation],
    dir: &Path,
) -> Result<Vec<Operation>, String> {
    let call_ns = clock_ns();
    let export = cluster.export(id, &dir.join(format!("export-{id}.txt")))?;
    let return_ns = Some(clock_ns());
    let held: BTreeMap<&str, &str> = export.lines().filter_map(|line| line.split_once('\t')).collect();
    let keys: BTreeSet<&str> = operations.iter().map(|operation| operation.key.as_str()).collect();
    Ok(keys
        .into_iter()
        .map(|key| Operation {
            client: 1_000 * CLIENTS_APART + id,
            op: Op::Get,
            key: key.to_owned(),
            value: None,
            expect: None,
            call_ns,
            return_ns,
            outcome: Outcome::Ok,
            read: held.get(key).map(|value| value_name(value)),
        })
        .collect())
}

/// The name of a value of [`VALUE_BYTES`], or all of it where it is cut or damaged.
fn value_name(value: &str) -> String {
    let name = value.trim_end_matches('.');
    if value.len() == VALUE_BYTES && !name.contains('.') { name.to_owned() } else { value.to_owned() }
}

/// Acknowledged writes that are certainly gone: what a final read found was overwritten, for certain, by a write that
/// was acknowledged, or no value was found though one was written. Each in words. This asks less than linearizability
/// does, and in another way.
pub fn lost_writes(operations: &[Operation], finals: &[Operation]) -> Vec<String> {
    let is_write = |operation: &&Operation| matches!(operation.op, Op::Put | Op::Cas);
    // For each value, when its write was certainly over; for each key, the acknowledged write that began last.
    let mut over: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut latest: BTreeMap<&str, &Operation> = BTreeMap::new();
    for write in operations.iter().filter(is_write) {
        if let (Outcome::Ok, Some(return_ns), Some(value)) = (write.outcome, write.return_ns, &write.value) {
            over.insert((&write.key, value), return_ns);
            let slot = latest.entry(&write.key).or_insert(write);
            if slot.call_ns < write.call_ns {
                *slot = write;
            }
        }
    }
    let mut lost = Vec::new();
    for read in finals {
        let Some(write) = latest.get(read.key.as_str()) else { continue };
        let gone = match &read.read {
            None => true,
            Some(value) => over.get(&(&read.key, value)).is_some_and(|over| *over < write.call_ns),
        };
        if gone {
            lost.push(format!(
                "key {}: {:?} was acknowledged and is not there; node {} has {:?}",
                read.key,
                write.value.as_deref().unwrap_or_default(),
                read.client % CLIENTS_APART,
                read.read
            ));
        }
    }
    lost
}

/// How a joiner says that it was refused, perhaps by a member with an outdated view: the run tells of it, and starts it
/// again until it is a member.
const REFUSED: &str = "the node cannot become a member of its cluster";

/// What the log of a node tells that must not happen. One that was without room may say so.
pub fn log_defects(log: &str, was_full: bool) -> Vec<String> {
    let panicked = |line: &&str| line.contains(" panicked at ");
    let expected =
        |line: &str| line.contains(REFUSED) || was_full && line.contains("No space left on device");
    let error = |line: &&str| line.contains(" ERROR ") && !expected(line);
    log.lines().filter(|line| panicked(line) || error(line)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(op: Op, value: Option<&str>, call_ns: u64, return_ns: Option<u64>) -> Operation {
        Operation {
            client: 1,
            op,
            key: "k".to_owned(),
            value: value.map(str::to_owned),
            expect: None,
            call_ns,
            return_ns,
            outcome: if return_ns.is_some() { Outcome::Ok } else { Outcome::Unknown },
            read: None,
        }
    }

    fn found(value: Option<&str>) -> Vec<Operation> {
        let read = operation(Op::Get, None, 100, Some(101));
        vec![Operation { read: value.map(str::to_owned), ..read }]
    }

    #[test]
    fn a_write_is_lost_if_what_is_there_was_certainly_overwritten_by_it() {
        let writes = [
            operation(Op::Put, Some("a"), 1, Some(2)),
            operation(Op::Put, Some("b"), 3, Some(6)),
            operation(Op::Cas, Some("c"), 5, Some(7)),
            operation(Op::Put, Some("d"), 1, None),
        ];
        // Concurrent with the last acknowledged one, or of unknown outcome: may be what came last.
        for there in ["b", "c", "d"] {
            assert_eq!(lost_writes(&writes, &found(Some(there))), [""; 0], "{there}");
        }
        assert_eq!(lost_writes(&writes, &found(Some("a"))).len(), 1);
        assert_eq!(lost_writes(&writes, &found(None)).len(), 1);
        assert_eq!(lost_writes(&writes[3..], &found(None)), [""; 0]);
    }

    #[test]
    fn the_log_of_a_node_that_was_full_may_say_so_and_nothing_else() {
        let log = "t  INFO m: leads\nt ERROR m: No space left on device (os error 28)\nt ERROR m: other\n\
                   thread 'x' panicked at src/a.rs:1:1:\n";
        assert_eq!(log_defects(log, true).len(), 2);
        assert_eq!(log_defects(log, false).len(), 3);
    }

    #[test]
    fn a_value_that_was_cut_is_not_taken_for_a_whole_one() {
        let whole = format!("c3-17{}", ".".repeat(VALUE_BYTES - 5));
        assert_eq!(value_name(&whole), "c3-17");
        assert_eq!(value_name(&whole[..50]), whole[..50]);
    }
}
