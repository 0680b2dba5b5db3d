//! Carries out what the plan says: breaks things, and mends them.

use std::time::Duration;

use rand::Rng;

use super::clock::sleep;
use super::cluster::Cluster;
use super::coverage::Reached;
use super::plan::{Fault, Kind};
use super::settings::Drift;
use super::subject::Subject;
use super::trace::Event;

impl<S: Subject> Cluster<S> {
    /// Makes one fault. Returns whether there was anybody whom it could concern.
    pub(super) async fn make(&mut self, fault: &Fault) -> bool {
        let ids = self.ids();
        let one = |of: &[u64]| (!of.is_empty()).then(|| of[fault.pick as usize % of.len()]);
        let up = self.up();
        let (any, running) = (one(&ids).expect("there are nodes"), one(&up));
        // Whoever leads is hit more often than by chance.
        let running = if fault.pick >> 32 & 3 == 0 { self.leader().or(running) } else { running };
        let other =
            one(&ids.iter().copied().filter(|id| *id != any).collect::<Vec<_>>()).expect("there are more");
        let runs = running.map_or_else(|| "nobody".to_owned(), |id| format!("n{id}"));
        let what = format!("{:?} (any: n{any} and n{other}; of those that run: {runs})", fault.kind);
        self.observer.step(Event::Fault { number: fault.number, what });
        match (fault.kind, running) {
            (Kind::Start, _) => {
                let able: Vec<u64> = self.down().into_iter().filter(|id| !self.disk(*id).met_rot()).collect();
                let Some(id) = one(&able) else { return false };
                self.start(id).await;
            }
            (Kind::Isolate, _) => {
                self.observer.count(Reached::Partition);
                self.cut_apart(&[any], true);
            }
            (Kind::CutOneWay, _) => {
                self.observer.count(Reached::LinkCutOneWay);
                self.network.cut(any, other);
            }
            (Kind::Partition { both }, _) => {
                self.observer.count(Reached::Partition);
                let side = self
                    .chance
                    .draw(|rng| ids.iter().copied().filter(|_| rng.random_bool(0.4)).collect::<Vec<_>>());
                self.cut_apart(&side, both);
            }
            (Kind::SlowLink, _) => {
                self.observer.count(Reached::SlowLink);
                let times = self.chance.draw(|rng| rng.random_range(10..100));
                self.network.slow(any, other, times);
            }
            (Kind::Links { lose_one_in }, _) => self.network.heal(lose_one_in),
            (Kind::WipeIdle, _) => return self.wipe_idle(any).await,
            (Kind::Change, _) => self.change(),
            (Kind::Transfer, _) => self.transfer(fault.pick),
            (Kind::Operator, _) => drop(self.repair().await),
            (Kind::RollingRestart, _) => self.rolling_restart().await,
            (_, None) => return false,
            (kind, Some(id)) => return self.hit(kind, id).await,
        }
        true
    }

    /// Something happens to a node that runs.
    async fn hit(&mut self, kind: Kind, id: u64) -> bool {
        match kind {
            Kind::Crash => {
                self.observer.count(Reached::Crash);
                self.crash(id).await;
            }
            Kind::CrashWithin(polls) => {
                self.process(id).into_iter().for_each(|process| process.light_fuse(polls))
            }
            Kind::CrashAndBack => {
                self.observer.count(Reached::Crash);
                self.crash(id).await;
                if !self.disk(id).met_rot() {
                    self.start(id).await;
                }
            }
            Kind::Pause { millis } => {
                self.observer.count(Reached::Pause);
                self.pause(id, Duration::from_millis(millis), false);
            }
            Kind::Suspend { millis } => {
                // A clock that stands still is one that drifts beyond every bound.
                if !matches!(self.settings.drift, Drift::Beyond(_)) {
                    return false;
                }
                self.observer.count(Reached::Suspend);
                self.pause(id, Duration::from_millis(millis), true);
            }
            Kind::Stall { millis } => self.disk(id).stall(Duration::from_millis(millis)),
            Kind::WriteError => self.disk(id).fail_writes(),
            Kind::FullDisk { millis } => self.disk(id).fill(Duration::from_millis(millis)),
            Kind::ReadErrors => self.disk(id).fail_reads(2),
            Kind::Rot => {
                if !self.may_destroy(id) {
                    return false;
                }
                let Some(index) = self.disk(id).rot() else { return false };
                self.observer.note(format!("n{id}: the record of entry {index} rots"));
                self.mark_destroyed(id);
            }
            Kind::Wipe => {
                if self.is_destroyed(id) || !self.may_destroy(id) {
                    return false;
                }
                self.observer.count(Reached::Wipe);
                self.wipe(id).await;
            }
            Kind::Snapshot => self.trigger(id, false),
            Kind::Elect => self.trigger(id, true),
            _ => return false,
        }
        true
    }

    /// Nothing passes from `side` to the other nodes, nor back if `both`.
    pub(super) fn cut_apart(&self, side: &[u64], both: bool) {
        for other in self.ids().into_iter().filter(|id| !side.contains(id)) {
            for one in side {
                self.network.cut(*one, other);
                if both {
                    self.network.cut(other, *one);
                }
            }
        }
    }

    /// A node that no membership in force anywhere names loses its disk.
    async fn wipe_idle(&mut self, id: u64) -> bool {
        let replica = self.replica(id);
        let memberships = self.memberships();
        let named =
            memberships.is_empty() || memberships.iter().any(|stated| stated.membership.knows(&replica));
        let idle = !named && self.is_up(id);
        if idle {
            self.observer.count(Reached::WipeIdle);
            self.wipe(id).await;
        }
        idle
    }

    /// One node after the other is restarted, each when the one before it is back.
    async fn rolling_restart(&mut self) {
        self.observer.count(Reached::RollingRestart);
        for id in self.up() {
            self.crash(id).await;
            sleep(self.chance.micros(10_000, 200_000)).await;
            if !self.disk(id).met_rot() {
                self.start(id).await;
            }
            sleep(self.chance.micros(100_000, 800_000)).await;
        }
    }
}
