//! A cluster of real processes is moved, node by node, while a client writes: what was acknowledged stays, and the gap in
//! service of each step is reported.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Cluster, eventually, request, signal, stdout_of};
use crate::joining::becomes;

/// A client that writes all the time.
struct Writer {
    /// Whom it asks, in turn when one fails.
    addresses: Mutex<Vec<String>>,
    /// What was acknowledged, and when.
    acknowledged: Mutex<Vec<(u64, Instant)>>,
    stop: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    fn new(addresses: Vec<String>) -> Self {
        let addresses = Mutex::new(addresses);
        Self { addresses, acknowledged: Mutex::default(), stop: AtomicBool::new(false) }
    }

    fn run(&self) {
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let address = lock(&self.addresses)[0].clone();
            let path = format!("/v1/kv/w-{number:06}");
            match request(&address, "PUT", &path, number.to_string().as_bytes()) {
                Ok(answer) if answer.status == 200 => {
                    lock(&self.acknowledged).push((number, Instant::now()));
                }
                // Of unknown outcome, or not done: the next one has another key.
                _ => {
                    let mut addresses = lock(&self.addresses);
                    if addresses[0] == address {
                        addresses.rotate_left(1);
                    }
                    drop(addresses);
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }

    /// Carries out a step and reports the longest time without an acknowledgement; writes must go on after it.
    fn step(&self, name: &str, step: impl FnOnce()) {
        let begin = Instant::now();
        step();
        let done = Instant::now();
        eventually("writes to be acknowledged after the step", || {
            lock(&self.acknowledged).last().is_some_and(|(_, at)| *at > done).then_some(())
        });
        let acknowledged = lock(&self.acknowledged);
        let times = acknowledged.iter().map(|(_, at)| *at).skip_while(|at| *at < begin);
        let times: Vec<Instant> = std::iter::once(begin).chain(times).collect();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        eprintln!("{name}: {} writes, longest gap {gap:?}", times.len() - 1);
    }

    /// It asks these from now on.
    fn ask(&self, addresses: Vec<String>) {
        *lock(&self.addresses) = addresses;
    }
}

/// The id of the node that leads, as any of `ids` knows.
fn leader(cluster: &Cluster, ids: &[usize]) -> usize {
    eventually("a leader", || {
        ids.iter().find_map(|id| {
            let status = cluster.status(*id)?;
            (status["role"] == "leader").then_some(*id)
        })
    })
}

#[test]
fn a_cluster_is_moved_to_other_nodes_while_a_client_writes_and_nothing_acknowledged_is_lost() {
    let (mut cluster, started) = Cluster::start(&["--snapshot-every", "30", "--snapshot-keep", "5"]);
    let addresses = |cluster: &Cluster, ids: &[usize]| -> Vec<String> {
        ids.iter().map(|id| cluster.address(*id).to_owned()).collect()
    };
    let writer = Writer::new(addresses(&cluster, &[1, 2, 3]));
    let first = started.leader;
    let rest: Vec<usize> = (1..=5).filter(|id| *id != first).collect();
    thread::scope(|scope| {
        scope.spawn(|| writer.run());
        // The scope waits for the writer, also when a check below fails.
        let _stop = Stop(&writer);

        let all = cluster.endpoints();
        writer.step("two nodes join", || {
            cluster.start_joiner(4, first, &[]);
            cluster.start_joiner(5, first, &[]);
            becomes(&cluster, &all, 4, "voter");
            becomes(&cluster, &all, 5, "voter");
        });
        writer.ask(addresses(&cluster, &rest));
        let remaining = addresses(&cluster, &rest).join(",");
        writer.step("the leader is removed", || {
            stdout_of(&cluster.client_of(&remaining, "member remove", &[&first.to_string()]));
            leader(&cluster, &rest);
        });
        let refused = cluster.http(first, "PUT", "/v1/kv/late", b"late").error(503, "not_ready");
        assert!(refused.contains("was removed from its cluster; ask one of"), "{refused}");
        assert_eq!(cluster.status(first).unwrap()["role"], "removed");
        cluster.stop(first);
        writer.step("leadership is transferred to a node that joined", || {
            let to = if leader(&cluster, &rest) == 4 { 5 } else { 4 };
            stdout_of(&cluster.client_of(&remaining, "transfer-leader", &["--to", &to.to_string()]));
            eventually("it to lead", || (cluster.status(to)?["role"] == "leader").then_some(()));
        });
        let leading = leader(&cluster, &rest);
        writer.step("the leader is killed while a member is removed and comes back", || {
            let victim = rest[0];
            assert!(victim <= 3 && leading > 3);
            let (cluster_ref, remaining) = (&cluster, &remaining);
            let removed = thread::scope(|scope| {
                let removal = scope.spawn(move || {
                    let id = victim.to_string();
                    cluster_ref.client_of(remaining, "member remove", &[&id])
                });
                // About when the order arrives; what follows must be right whether it comes before or after.
                thread::sleep(Duration::from_millis(20));
                signal(cluster_ref.pid(leading), "KILL");
                removal.join().unwrap()
            });
            // Done, or not known to be: asked again, it is done.
            assert!(matches!(removed.status.code(), Some(0 | 1 | 3)), "{removed:?}");
            cluster.reap(leading);
            eventually("the removal to be finished", || {
                let again = cluster.client_of(remaining, "member remove", &[&victim.to_string()]);
                again.status.success().then_some(())
            });
            cluster.start_node(leading);
            becomes(&cluster, remaining, leading, "voter");
        });
        let members: Vec<usize> = rest[1..].to_vec();
        writer.ask(addresses(&cluster, &members));
        writer.step("every node is restarted from its snapshot, one after the other", || {
            for id in &members {
                cluster.stop(*id);
                cluster.start_node(*id);
                eventually("the node to be ready", || {
                    let ready = request(cluster.address(*id), "GET", "/readyz", b"").ok()?;
                    (ready.status == 200).then_some(())
                });
            }
        });
    });
    let acknowledged = lock(&writer.acknowledged);
    assert!(acknowledged.len() > 100, "{} writes", acknowledged.len());
    for id in &rest[1..] {
        let export = cluster.export(*id);
        let held: std::collections::BTreeSet<&str> = export.lines().collect();
        for (number, _) in acknowledged.iter() {
            assert!(
                held.contains(format!("w-{number:06}\t{number}").as_str()),
                "node {id} lost write {number}"
            );
        }
    }
    let snapshots = rest[1..].iter().filter(|id| cluster.status(**id).unwrap()["snapshot_index"].is_u64());
    assert_eq!(snapshots.count(), 3, "they restarted without snapshots");
}

/// Tells the writer to stop when it goes.
struct Stop<'a>(&'a Writer);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
