//! What a node that takes part in forming waits for, in words for an operator.

use std::collections::BTreeMap;
use std::fmt;

/// How far forming has come, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormationStatus<NID> {
    /// Whether the node belongs to a cluster.
    pub formed: bool,
    /// What is known of each listed peer, the node itself not included. Of no meaning once it is formed.
    pub peers: BTreeMap<NID, PeerFormation>,
}

/// How far forming has come with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerFormation {
    /// The peer has not agreed yet.
    Waiting {
        /// What is missing, and where known what to do.
        reason: String,
    },
    /// The peer has recorded this node and every other one, as this node has.
    Recorded,
}

impl<NID: fmt::Display> fmt::Display for FormationStatus<NID> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.formed {
            return f.write_str("in a cluster");
        }
        f.write_str("forming a cluster")?;
        let mut separator = ": ";
        for (id, peer) in &self.peers {
            match peer {
                PeerFormation::Waiting { reason } => write!(f, "{separator}waiting for node {id}: {reason}")?,
                PeerFormation::Recorded => write!(f, "{separator}node {id} is ready")?,
            }
            separator = "; ";
        }
        Ok(())
    }
}
