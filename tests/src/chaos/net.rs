//! Where the processes live: a network namespace for each, joined by a bridge in one more, in which links can be cut;
//! or loopback, where namespaces cannot be made.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use super::shell;

/// The port of every node that has an address of its own.
const PORT: u16 = 7100;

/// All names of namespaces begin with this and the number of the process that made them.
const PREFIX: &str = "raftchaos";

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A node, by its id.
    Node(u64),
    /// The clients: the load, and the administrator's commands.
    Clients,
}

/// Where nodes and clients run.
#[derive(Debug)]
pub enum Network {
    /// In namespaces, which go when it is dropped.
    Namespaces(Namespaces),
    /// On loopback; links cannot be cut.
    Loopback {
        /// The address of each node, the first is node 1.
        addresses: Vec<String>,
    },
}

impl Network {
    /// Namespaces for `nodes` nodes and the clients.
    ///
    /// # Errors
    /// What is missing; nothing is left behind.
    pub fn namespaces(nodes: u64) -> Result<Self, String> {
        sweep();
        let namespaces = Namespaces { base: format!("{PREFIX}{}", std::process::id()), nodes };
        namespaces.make()?;
        Ok(Self::Namespaces(namespaces))
    }

    /// Addresses on loopback for `nodes` nodes, free at this moment.
    ///
    /// # Errors
    /// If there are no free ports.
    pub fn loopback(nodes: u64) -> Result<Self, String> {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        // Hosts of this run's own, so that no outgoing connection takes the port of a node that is down for a moment.
        let own = Ipv4Addr::new(127, 1 + high % 250, low, 1);
        let bind = || TcpListener::bind((own, 0)).or_else(|_| TcpListener::bind("127.0.0.1:0"));
        // All are held until all are chosen: a port given back may be given out again at once.
        let held: Result<Vec<TcpListener>, _> = (0..nodes).map(|_| bind()).collect();
        let held = held.map_err(|e| format!("no free port on loopback: {e}"))?;
        let addresses = held.iter().map(|listener| listener.local_addr().map(|address| address.to_string()));
        let addresses: Result<_, _> = addresses.collect();
        Ok(Self::Loopback { addresses: addresses.map_err(|e| format!("a port has no number: {e}"))? })
    }

    /// Where node `id` listens.
    pub fn address(&self, id: u64) -> String {
        match self {
            Self::Namespaces(_) => format!("{}:{PORT}", ip(Place::Node(id))),
            Self::Loopback { addresses } => addresses[(id - 1) as usize].clone(),
        }
    }

    /// A command that runs `program` at `place`; the process is the program's own.
    pub(super) fn command(&self, place: Place, program: &str) -> Command {
        match self {
            Self::Namespaces(namespaces) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &namespaces.name(place), program]);
                command
            }
            Self::Loopback { .. } => Command::new(program),
        }
    }

    /// Whether links can be cut.
    pub fn can_cut(&self) -> bool {
        matches!(self, Self::Namespaces(_))
    }

    /// From now on nothing that one of `from` sends reaches `to`. Cuts add up: each is mended once.
    pub(super) fn cut(&self, from: &[Place], to: Place) -> Result<(), String> {
        self.filter("-A", from, to)
    }

    /// Undoes one [`Network::cut`] with the same ends.
    pub(super) fn mend(&self, from: &[Place], to: Place) -> Result<(), String> {
        self.filter("-D", from, to)
    }

    fn filter(&self, what: &str, from: &[Place], to: Place) -> Result<(), String> {
        let Self::Namespaces(namespaces) = self else {
            return Err("links on loopback cannot be cut".to_owned());
        };
        let from: Vec<String> = from.iter().map(|place| ip(*place)).collect();
        if from.is_empty() {
            return Ok(());
        }
        let (name, from) = (namespaces.name(to), from.join(","));
        shell::run(&format!("ip netns exec {name} iptables -w 10 {what} INPUT -s {from} -j DROP")).map(drop)
    }
}

fn ip(place: Place) -> String {
    match place {
        Place::Node(id) => format!("10.213.7.{id}"),
        Place::Clients => "10.213.7.200".to_owned(),
    }
}

/// The namespaces of one run.
#[derive(Debug)]
pub struct Namespaces {
    base: String,
    nodes: u64,
}

impl Namespaces {
    fn name(&self, place: Place) -> String {
        match place {
            Place::Node(id) => format!("{}-n{id}", self.base),
            Place::Clients => format!("{}-c", self.base),
        }
    }

    fn bridge(&self) -> String {
        format!("{}-b", self.base)
    }

    fn places(&self) -> Vec<Place> {
        (1..=self.nodes).map(Place::Node).chain([Place::Clients]).collect()
    }

    fn make(&self) -> Result<(), String> {
        let bridge = self.bridge();
        shell::run(&format!("ip netns add {bridge}"))?;
        shell::run(&format!("ip -n {bridge} link add br0 type bridge"))?;
        shell::run(&format!("ip -n {bridge} link set br0 up"))?;
        for (port, place) in self.places().into_iter().enumerate() {
            let (name, address) = (self.name(place), ip(place));
            shell::run(&format!("ip netns add {name}"))?;
            let pair = format!("ip link add p{port} netns {bridge} type veth peer name eth0 netns {name}");
            shell::run(&pair)?;
            shell::run(&format!("ip -n {bridge} link set p{port} master br0 up"))?;
            shell::run(&format!("ip -n {name} addr add {address}/24 dev eth0"))?;
            shell::run(&format!("ip -n {name} link set eth0 up"))?;
            shell::run(&format!("ip -n {name} link set lo up"))?;
            // Whether links can be cut here is found out now, not at the first cut.
            shell::run(&format!("ip netns exec {name} iptables -w 10 -L INPUT -n"))?;
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let names = self.places().into_iter().map(|place| self.name(place)).chain([self.bridge()]);
        for name in names {
            let _ = shell::run(&format!("ip netns del {name}")); // Making them may have stopped half way.
        }
    }
}

/// Removes what runs that were killed left behind.
fn sweep() {
    let Ok(list) = shell::run("ip netns list") else { return };
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(maker) = maker.and_then(|maker| maker.parse::<u32>().ok()) else { continue };
        if !std::path::Path::new(&format!("/proc/{maker}")).exists() {
            let _ = shell::run(&format!("ip netns del {name}")); // Another run may be sweeping too.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_every_node_has_an_address_and_no_link_can_be_cut() {
        let network = Network::loopback(3).unwrap();
        let addresses: std::collections::BTreeSet<String> = (1..=3).map(|id| network.address(id)).collect();
        assert_eq!(addresses.len(), 3);
        assert!(!network.can_cut());
        assert!(network.cut(&[Place::Node(1)], Place::Node(2)).is_err());
        let command = network.command(Place::Node(1), "raft-kv");
        assert_eq!(command.get_program(), "raft-kv");
    }

    #[test]
    fn the_name_of_a_namespace_says_who_made_it() {
        let namespaces = Namespaces { base: format!("{PREFIX}17"), nodes: 2 };
        assert_eq!(namespaces.name(Place::Node(2)), "raftchaos17-n2");
        assert_eq!(namespaces.places(), [Place::Node(1), Place::Node(2), Place::Clients]);
    }
}
