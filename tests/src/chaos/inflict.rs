//! Carries faults out on a cluster of processes, each on a thread of its own, never more at once than the protocol
//! survives.
//!
//! A fault *claims* the nodes that it disturbs until they are voters that serve again. All claims together leave a
//! majority of the members alone, but for the faults that stand alone and destroy nothing.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::clock_ns;
use super::cluster::{Cluster, lock};
use super::fault::{Draw, Kind};
use super::load;
use super::net::Place;

/// How long a node may take to serve again after a fault before that is told; it is a defect only at the end.
const RETURN_PATIENCE: Duration = Duration::from_secs(60);

/// How often a change of the members is ordered again while its outcome is not known.
const CHANGE_ATTEMPTS: u32 = 8;

/// The members never become fewer.
const MIN_MEMBERS: usize = 3;

/// A fault that was carried out.
#[derive(Clone, Debug)]
pub struct Inflicted {
    /// What it was.
    pub kind: Kind,
    /// Whom it met, in words.
    pub what: String,
    /// When it began, on the clock of the histories.
    pub begin_ns: u64,
    /// When those whom it met served again.
    pub end_ns: u64,
}

/// Carries out faults until it is told to stop.
pub struct Inflictor<'a> {
    cluster: &'a Cluster,
    stopping: &'a AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The nodes that a fault claims now.
    claimed: BTreeSet<u64>,
    /// Whether the members are being changed.
    changing: bool,
    /// How many faults go on.
    running: usize,
    done: Vec<Inflicted>,
    notes: Vec<String>,
}

/// What a drawn fault needs, seen when it begins.
struct Plan {
    kind: Kind,
    /// What it disturbs.
    nodes: Vec<u64>,
    /// The order in which it takes those that it may need besides.
    others: Vec<u64>,
    what: String,
}

impl<'a> Inflictor<'a> {
    /// Nothing happens yet. `stopping` ends what goes on early, healed.
    pub fn new(cluster: &'a Cluster, stopping: &'a AtomicBool) -> Self {
        Self { cluster, stopping, state: Mutex::default() }
    }

    /// Draws faults of `kinds` from `seed` until `until`, and heals all of them.
    pub fn run(&self, seed: u64, kinds: &[(Kind, u32)], until: Instant) {
        let mut rng = SmallRng::seed_from_u64(seed);
        std::thread::scope(|scope| {
            loop {
                let draw = Draw::next(&mut rng, kinds);
                self.sleep_until(Instant::now() + Duration::from_millis(draw.pause_ms), until);
                if !draw.beside || draw.kind.is_alone() {
                    self.wait_for_calm(until);
                }
                if self.is_over(until) {
                    break;
                }
                let Some(plan) = self.plan(&draw) else { continue };
                let alone = plan.kind.is_alone();
                scope.spawn(move || self.carry_out(&draw, &plan, until));
                if alone {
                    // Nothing else begins beside it.
                    self.wait_for_calm(until);
                }
            }
        });
    }

    /// What was done, in order of its beginning, and what was seen that is worth telling.
    pub fn into_done(self) -> (Vec<Inflicted>, Vec<String>) {
        let state = self.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut done = state.done;
        done.sort_by_key(|fault| fault.begin_ns);
        (done, state.notes)
    }

    fn is_over(&self, until: Instant) -> bool {
        Instant::now() >= until || self.stopping.load(Ordering::Relaxed)
    }

    fn sleep_until(&self, wake: Instant, until: Instant) {
        while Instant::now() < wake && !self.is_over(until) {
            std::thread::sleep(Duration::from_millis(20));
            // A process that ended without a reason is noticed while it is known what went on.
            if lock(&self.state).running == 0 {
                self.cluster.check_running();
            }
        }
    }

    fn wait_for_calm(&self, until: Instant) {
        while lock(&self.state).running > 0 && !self.is_over(until) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whom the fault meets, and claims them; `None` if it cannot be now.
    fn plan(&self, draw: &Draw) -> Option<Plan> {
        let leader = self.cluster.leader();
        let members: Vec<u64> = self.cluster.members().into_iter().collect();
        let strangers: Vec<u64> = self.cluster.ids().into_iter().filter(|id| !members.contains(id)).collect();
        let order = draw.order(&members, leader);
        // With as many members as may be, or as few, a change goes the other way.
        let kind = match draw.kind {
            Kind::Join if strangers.is_empty() => Kind::Remove,
            Kind::Remove if members.len() <= MIN_MEMBERS => Kind::Join,
            kind => kind,
        };
        let mut state = lock(&self.state);
        let free: Vec<u64> = order.iter().copied().filter(|id| !state.claimed.contains(id)).collect();
        let first = *free.first()?;
        let nodes = match kind {
            Kind::KillAll | Kind::RollingRestart => order.clone(),
            Kind::Split if draw.variant => order[..order.len() / 2].to_vec(),
            Kind::Split => order[..(order.len() - 1) / 2].to_vec(),
            // Whoever is not there disturbs nobody.
            Kind::Join => vec![strangers[draw.choices[0] % strangers.len()]],
            Kind::Transfer => Vec::new(),
            Kind::DiskFull => vec![*free.iter().find(|id| self.cluster.can_fill(**id))?],
            _ => vec![first],
        };
        let disturbed: BTreeSet<u64> = state.claimed.iter().chain(&nodes).copied().collect();
        let disturbed = disturbed.iter().filter(|id| members.contains(id)).count();
        // Whoever joins or leaves changes what a majority is: one less may be disturbed beside it.
        let changing = usize::from(state.changing || kind.changes_members());
        let survives = disturbed + changing <= (members.len() - 1) / 2 || (disturbed <= 1 && !state.changing);
        if !kind.is_alone() && !survives || kind.changes_members() && state.changing {
            return None;
        }
        state.claimed.extend(&nodes);
        state.changing |= kind.changes_members();
        state.running += 1;
        let others: Vec<u64> = order.into_iter().filter(|id| !nodes.contains(id)).collect();
        let names = nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let leads = if nodes.iter().any(|id| Some(*id) == leader) { ", the leader among them" } else { "" };
        let what = match kind {
            Kind::Transfer => "leadership".to_owned(),
            Kind::CutLink => format!("nodes {names} and {}{leads}", others.first()?),
            _ if nodes.len() == 1 => {
                format!("node {names}{}", if leads.is_empty() { "" } else { ", the leader" })
            }
            _ => format!("nodes {names}{leads}"),
        };
        Some(Plan { kind, nodes, others, what })
    }

    fn carry_out(&self, draw: &Draw, plan: &Plan, until: Instant) {
        let begin_ns = clock_ns();
        let remark = self.inflict(draw, plan, until);
        let result = remark.and_then(|remark| self.await_return(plan).map(|()| remark));
        let end_ns = clock_ns();
        let mut state = lock(&self.state);
        state.claimed.retain(|id| !plan.nodes.contains(id));
        state.changing &= !plan.kind.changes_members();
        state.running -= 1;
        let what = match result {
            Ok(remark) => format!("{}{remark}", plan.what),
            Err(reason) => {
                state.notes.push(format!("{} of {}: {reason}", plan.kind, plan.what));
                plan.what.clone()
            }
        };
        state.done.push(Inflicted { kind: plan.kind, what, begin_ns, end_ns });
    }

    /// Those who are members still serve again.
    fn await_return(&self, plan: &Plan) -> Result<(), String> {
        let members = self.cluster.members();
        let given_up = || self.stopping.load(Ordering::Relaxed);
        for id in plan.nodes.iter().filter(|id| members.contains(id)) {
            self.cluster.wait_ready(*id, RETURN_PATIENCE, &given_up)?;
        }
        Ok(())
    }

    /// Returns what else is to be said of it.
    fn inflict(&self, draw: &Draw, plan: &Plan, until: Instant) -> Result<&'static str, String> {
        let cluster = self.cluster;
        let dwell = || self.sleep_until(Instant::now() + Duration::from_millis(draw.length_ms), until);
        match plan.kind {
            Kind::Kill | Kind::KillAll => {
                plan.nodes.iter().for_each(|id| cluster.kill(*id));
                dwell();
                plan.nodes.iter().try_for_each(|id| cluster.start(*id))?;
                Ok("")
            }
            Kind::Pause => {
                plan.nodes.iter().for_each(|id| cluster.pause(*id));
                dwell();
                plan.nodes.iter().for_each(|id| cluster.go_on(*id));
                Ok("")
            }
            Kind::CutNode | Kind::CutOneWay | Kind::CutLink | Kind::Split => {
                self.cut(draw, plan, &dwell).map(|()| "")
            }
            Kind::DiskFull => {
                plan.nodes.iter().for_each(|id| cluster.fill_disk(*id));
                // The load alone fits for long into what the store has taken already.
                load::burst(cluster)?;
                dwell();
                // One that has not met the full disk in a write goes on as if nothing had been.
                let ended = plan.nodes.iter().any(|id| !cluster.runs(*id));
                plan.nodes.iter().for_each(|id| cluster.free_disk(*id));
                Ok(if ended { "; it ended of it" } else { "; it ran on" })
            }
            Kind::Join => {
                self.join(draw, plan.nodes[0]).map(|()| if draw.variant { ", killed on the way" } else { "" })
            }
            Kind::Remove => self.remove(draw, plan.nodes[0]).map(|()| ""),
            Kind::Transfer => self.transfer(draw, plan).map(|()| ""),
            Kind::RollingRestart => {
                for id in plan.nodes.iter().take_while(|_| !self.is_over(until)) {
                    cluster.stop(*id);
                    cluster.start(*id)?;
                    cluster.wait_ready(*id, RETURN_PATIENCE, &|| self.stopping.load(Ordering::Relaxed))?;
                }
                Ok("")
            }
        }
    }

    /// Cuts links, waits and mends them.
    fn cut(&self, draw: &Draw, plan: &Plan, dwell: &dyn Fn()) -> Result<(), String> {
        let network = self.cluster.network();
        // Those who are no members are cut too: they may be joining.
        let outside = self.cluster.ids().into_iter().filter(|id| !plan.nodes.contains(id));
        let outside: Vec<Place> = outside.map(Place::Node).collect();
        let inside: Vec<Place> = plan.nodes.iter().map(|id| Place::Node(*id)).collect();
        let first = inside[0];
        let mut cuts: Vec<(Vec<Place>, Place)> = Vec::new();
        let both_ways = |cuts: &mut Vec<(Vec<Place>, Place)>, one: &[Place], other: &[Place]| {
            cuts.extend(one.iter().map(|to| (other.to_vec(), *to)));
            cuts.extend(other.iter().map(|to| (one.to_vec(), *to)));
        };
        match plan.kind {
            Kind::CutNode if draw.variant => {
                both_ways(&mut cuts, &inside, &[&outside[..], &[Place::Clients]].concat())
            }
            Kind::CutNode | Kind::Split => both_ways(&mut cuts, &inside, &outside),
            Kind::CutOneWay if draw.variant => cuts.push((outside, first)),
            Kind::CutOneWay => cuts.extend(outside.iter().map(|to| (inside.clone(), *to))),
            _ => {
                let other = Place::Node(*plan.others.first().ok_or("there is no other node")?);
                cuts.push((vec![other], first));
                if draw.variant {
                    cuts.push((vec![first], other));
                }
            }
        }
        let mut made = Vec::new();
        let mut result = Ok(());
        for (from, to) in &cuts {
            result = network.cut(from, *to);
            if result.is_err() {
                break;
            }
            made.push((from, *to));
        }
        if result.is_ok() {
            dwell();
        }
        for (from, to) in made {
            if let Err(error) = network.mend(from, to) {
                self.cluster.defect(format!("a link stays cut: {error}"));
            }
        }
        result
    }

    /// A node that is no member joins; in one of two ways it is killed on the way.
    fn join(&self, draw: &Draw, id: u64) -> Result<(), String> {
        let cluster = self.cluster;
        cluster.kill(id);
        cluster.wipe(id);
        cluster.start(id)?;
        if draw.variant {
            std::thread::sleep(Duration::from_millis(draw.length_ms.min(2_000)));
            cluster.kill(id);
            cluster.start(id)?;
        }
        // From here on it counts: it may have been admitted even if it is not ready in time.
        cluster.set_member(id, true);
        Ok(())
    }

    /// A member is removed; once that is certain it loses its directory.
    fn remove(&self, draw: &Draw, id: u64) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..CHANGE_ATTEMPTS {
            match self.cluster.order(&["member", "remove"], &[&id.to_string()]) {
                Ok(_) => {
                    self.cluster.set_member(id, false);
                    // It may learn of it, or not.
                    let wait = if draw.variant { 0 } else { draw.length_ms.min(2_000) };
                    std::thread::sleep(Duration::from_millis(wait));
                    self.cluster.kill(id);
                    self.cluster.wipe(id);
                    return Ok(());
                }
                Err(error) => last = error,
            }
            if self.stopping.load(Ordering::Relaxed) {
                break;
            }
        }
        Err(format!("it could not be removed: {last}"))
    }

    fn transfer(&self, draw: &Draw, plan: &Plan) -> Result<(), String> {
        let to = plan.others.last().map(u64::to_string).unwrap_or_default();
        let arguments: &[&str] = if draw.variant { &["--to", &to] } else { &[] };
        // It may be refused, as while another fault goes on: that is an answer too.
        self.cluster.order(&["transfer-leader"], arguments).map(drop)
    }
}
