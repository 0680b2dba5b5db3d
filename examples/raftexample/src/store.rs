//! `Store`: what is replicated: the values, and who may join.

use std::collections::BTreeMap;
use std::io::{self, Read};

use bytes::Bytes;
use openraft_node::adapters::codec;
use openraft_node::{App, LogId};
use serde::{Deserialize, Serialize};

/// The replicated state.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Store {
    values: BTreeMap<String, Bytes>,
    /// The addresses of the nodes that were added by `POST`.
    announced: BTreeMap<u64, String>,
}

/// What changes it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Put {
        key: String,
        value: Bytes,
    },
    /// A node may join with this address.
    Announce {
        id: u64,
        address: String,
    },
    /// It may not, any more.
    Withdraw {
        id: u64,
    },
}

impl App for Store {
    type Command = Command;
    type Reply = ();
    /// A key.
    type Query = String;
    type Answer = Option<Bytes>;

    fn apply(&mut self, _: LogId<u64>, command: &Command) {
        match command {
            Command::Put { key, value } => {
                self.values.insert(key.clone(), value.clone());
            }
            Command::Announce { id, address } => {
                self.announced.insert(*id, address.clone());
            }
            Command::Withdraw { id } => {
                self.announced.remove(id);
            }
        }
    }

    fn query(&self, key: String) -> Option<Bytes> {
        self.values.get(&key).cloned()
    }

    fn restore(input: &mut dyn Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        let store: Self = codec::decode_value(&bytes).map_err(io::Error::other)?;
        tracing::info!(values = store.values.len(), "the state comes from a snapshot");
        Ok(store)
    }
}

impl Store {
    /// Whether the node may join; if not, what is to be done first.
    pub(crate) fn admits(&self, id: u64, address: &str) -> Result<(), String> {
        match self.announced.get(&id) {
            Some(announced) if announced == address => Ok(()),
            Some(announced) => Err(format!(
                "node {id} was announced as http://{announced}, not http://{address}: POST /{id} with the right URL"
            )),
            None => {
                Err(format!("node {id} is not announced yet: POST /{id} with http://{address} as the body"))
            }
        }
    }
}
