//! What the builder was told, looked over before anything is opened: lists and addresses that cannot work are refused in
//! words that say what to change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use openraft_engine::BasicNode;

use crate::StartError;

/// Whether the caller runs on tokio.
///
/// # Panics
/// With tokio's own words, if that has no timers; without sockets the first of those panics alike.
///
/// # Errors
/// If it does not.
pub(crate) fn runtime() -> Result<(), StartError> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => {
            // Here, and not in a task whose panic the caller would never see.
            drop(tokio::time::sleep(Duration::ZERO));
            Ok(())
        }
        Err(_) => refused(
            "a node must be started within a tokio runtime: write #[tokio::main] above main, or call start() inside \
             tokio::runtime::Runtime::block_on; the runtime must live as long as the node"
                .to_owned(),
        ),
    }
}

/// The list given to `cluster()`, if it can be one: at least as every node of it must read it.
///
/// # Errors
/// If an id or an address occurs twice, node `me` is missing, or an address is none that the others can connect to.
pub(crate) fn list(me: u64, given: Vec<(u64, BasicNode)>) -> Result<BTreeMap<u64, BasicNode>, StartError> {
    let mut list = BTreeMap::new();
    let mut owners = BTreeMap::new();
    for (id, node) in given {
        reachable(&format!("node {id} in the list given to cluster()"), &node.addr)?;
        if let Some(other) = owners.insert(node.addr.clone(), id).filter(|other| *other != id) {
            return refused(format!(
                "nodes {other} and {id} have one address, {}, in the list given to cluster(): give every node its own",
                node.addr
            ));
        }
        let address = node.addr.clone();
        if let Some(before) = list.insert(id, node) {
            return refused(format!(
                "node {id} is in the list given to cluster() twice, at {} and at {address}: give every node an id of its \
                 own",
                before.addr
            ));
        }
    }
    if !list.is_empty() && !list.contains_key(&me) {
        return refused(format!(
            "node {me} is not in the list given to cluster(): give every node the same complete list, itself included; or \
             let a node that comes later join() the cluster instead"
        ));
    }
    Ok(list)
}

/// The members given to `join()`, of which none may be the node itself, which the others find at `own`.
///
/// # Errors
/// If they include it, or one is no address.
pub(crate) fn members(own: &str, members: &[BasicNode]) -> Result<(), StartError> {
    for member in members {
        reachable("a member given to join()", &member.addr)?;
        if member.addr == own {
            return refused(format!(
                "join() names {own}, which is this node itself: name nodes that are members of the cluster already; to \
                 form a new cluster, use cluster()"
            ));
        }
    }
    Ok(())
}

/// Whether `address`, that of `whom`, is one to which others can connect.
///
/// # Errors
/// If it is not.
pub(crate) fn reachable(whom: &str, address: &str) -> Result<(), StartError> {
    let (host, port) = parts(whom, address)?;
    if port == 0 {
        return refused(format!(
            "the address of {whom} is {address}, and nobody can connect to port 0: give the port that it listens on"
        ));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return refused(format!(
            "the address of {whom} is {address}, and nobody can connect to {host}: give the address at which the others \
             find the node, to cluster() or, where it joins, to advertise(); {address} may be given to listen()"
        ));
    }
    Ok(())
}

/// Whether `address` has the form of one to listen on; port 0 stands for any that is free.
///
/// # Errors
/// If it has not.
pub(crate) fn listens(address: &str) -> Result<(), StartError> {
    parts("listen()", address).map(drop)
}

/// Host and port.
fn parts<'a>(whom: &str, address: &'a str) -> Result<(&'a str, u16), StartError> {
    let parted = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parted {
        Some((host, port))
            if !host.is_empty()
                && !host.contains(['/', ' ', '@'])
                && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']'))) =>
        {
            Ok((host, port))
        }
        _ => refused(format!(
            "the address of {whom} is {address:?}, which is not of the form host:port: write for example \
             10.0.0.1:7000, db1.example.org:7000 or [::1]:7000, without http:// and without a path"
        )),
    }
}

fn refused<T>(words: String) -> Result<T, StartError> {
    Err(StartError::Incomplete(words))
}
