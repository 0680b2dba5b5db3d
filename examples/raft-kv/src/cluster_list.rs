//! The value of `--cluster`: who the nodes are and where they listen.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The listed nodes by id. Never empty, no id and no address twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterList {
    addresses: BTreeMap<u64, String>,
}

/// What is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClusterListError {
    #[error(
        "the list is empty; write one ID=HOST:PORT for each node, as in 1=127.0.0.1:7101,2=127.0.0.1:7102"
    )]
    Empty,
    #[error("`{0}` is not of the form ID=HOST:PORT, as in 1=127.0.0.1:7101")]
    NotAPair(String),
    #[error("`{0}` is not a node id; ids are whole numbers from 1 on")]
    BadId(String),
    #[error("node {id}: {reason}")]
    BadAddress { id: u64, reason: AddressError },
    #[error("node {0} is listed twice; give every node an id of its own")]
    DuplicateId(u64),
    #[error("nodes {first} and {second} have the same address {address}; give every node its own")]
    DuplicateAddress { first: u64, second: u64, address: String },
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("`{0}` has no port; write HOST:PORT, as in 127.0.0.1:7101")]
    NoPort(String),
    #[error("`{0}` has no host; write HOST:PORT, as in 127.0.0.1:7101")]
    NoHost(String),
    #[error("`{0}` does not end in a port number from 1 to 65535")]
    BadPort(String),
}

/// Checks that `text` is `HOST:PORT`. The host is not looked up: a name may begin to resolve later.
pub(crate) fn parse_address(text: &str) -> Result<String, AddressError> {
    let text = text.trim();
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(AddressError::NoPort(text.to_owned()));
    };
    if host.is_empty() {
        return Err(AddressError::NoHost(text.to_owned()));
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    match port.parse::<u16>() {
        // An IPv6 address without brackets ends in what only looks like a port.
        Ok(port) if port > 0 && (bracketed || !host.contains(':')) => Ok(text.to_owned()),
        _ => Err(AddressError::BadPort(text.to_owned())),
    }
}

impl ClusterList {
    /// The address of `id`, if it is listed.
    pub(crate) fn address(&self, id: u64) -> Option<&str> {
        self.addresses.get(&id).map(String::as_str)
    }

    /// The nodes in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &str)> {
        self.addresses.iter().map(|(id, address)| (*id, address.as_str()))
    }
}

impl FromStr for ClusterList {
    type Err = ClusterListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(ClusterListError::Empty);
        }
        let mut addresses: BTreeMap<u64, String> = BTreeMap::new();
        for part in text.split(',') {
            let part = part.trim();
            let (id, address) =
                part.split_once('=').ok_or_else(|| ClusterListError::NotAPair(part.to_owned()))?;
            // The default id names nobody in the log, so no node may carry it.
            let id = match id.trim().parse::<u64>() {
                Ok(id) if id > 0 => id,
                _ => return Err(ClusterListError::BadId(id.to_owned())),
            };
            let address =
                parse_address(address).map_err(|reason| ClusterListError::BadAddress { id, reason })?;
            if let Some((first, _)) = addresses.iter().find(|(_, known)| **known == address)
                && *first != id
            {
                return Err(ClusterListError::DuplicateAddress { first: *first, second: id, address });
            }
            if addresses.insert(id, address).is_some() {
                return Err(ClusterListError::DuplicateId(id));
            }
        }
        Ok(Self { addresses })
    }
}

impl fmt::Display for ClusterList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (id, address)) in self.addresses.iter().enumerate() {
            write!(f, "{}{id}={address}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_any_order_and_written_by_id() {
        let list: ClusterList = " 2=b:2 ,1=[::1]:1".parse().unwrap();
        assert_eq!(list.to_string(), "1=[::1]:1,2=b:2");
        assert_eq!(list.address(2), Some("b:2"));
        assert_eq!(list.address(3), None);
    }

    #[test]
    fn every_malformed_list_says_what_is_wrong_with_it() {
        let cases = [
            ("", "the list is empty"),
            ("1=a:1,", "`` is not of the form"),
            ("a:1,b:2", "`a:1` is not of the form"),
            ("0=a:1", "`0` is not a node id"),
            ("x=a:1", "`x` is not a node id"),
            ("1=a", "node 1: `a` has no port"),
            ("1=:7", "node 1: `:7` has no host"),
            ("1=a:0", "node 1: `a:0` does not end in a port"),
            ("1=a:70000", "does not end in a port"),
            ("1=::1:7", "does not end in a port"),
            ("1=a:1,1=b:1", "node 1 is listed twice"),
            ("1=a:1,2=a:1", "nodes 1 and 2 have the same address a:1"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<ClusterList>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gives {error:?}, not {expected:?}");
        }
    }
}
