//! Who may talk to whom: the server's verdict on a hello, and the client's on the answer. Pure.

use openraft_adapters::Identity;
use openraft_engine::{NodeId, Replica};

use crate::frame::{Frame, Kind};
use crate::wire::{self, Hello, HelloReply, PayloadError, WIRE_VERSION};

/// Why a peer is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In words for the operator of the node that asked.
    pub(crate) reason: String,
    /// Whether asking again soon is pointless.
    pub(crate) lasting: bool,
}

/// The server's verdict: the peer that may go on, or why not. `running` says whether the node serves peers yet.
///
/// # Errors
/// The refusal to be answered.
pub(crate) fn judge_hello<NID: NodeId>(
    me: &Identity<NID>,
    running: bool,
    frame: &Frame,
) -> Result<Replica<NID>, Refusal> {
    let lasting = |reason: String| Err(Refusal { reason, lasting: true });
    let for_now = |reason: &str| Err(Refusal { reason: reason.to_owned(), lasting: false });
    if frame.kind != Kind::Hello {
        return lasting(format!("the first frame is {:?}, not a hello", frame.kind));
    }
    let (version, rest) = match wire::split_version(frame) {
        Ok(split) => split,
        Err(error) => return lasting(error.to_string()),
    };
    if version != WIRE_VERSION {
        return lasting(wire::other_version(version));
    }
    let hello: Hello<NID> = match wire::from_versioned(frame.kind, rest) {
        Ok(hello) => hello,
        Err(error) => return lasting(error.to_string()),
    };
    if hello.cluster_name != me.cluster_name {
        return lasting(format!(
            "it belongs to the cluster {:?}, and you to {:?}: give every node of a cluster the same name",
            me.cluster_name, hello.cluster_name
        ));
    }
    if hello.to != me.replica.node_id {
        return lasting(format!(
            "it is node {}, not node {}: the address you have belongs to another node",
            me.replica.node_id, hello.to
        ));
    }
    if hello.from.node_id == me.replica.node_id {
        return lasting(if hello.from.store_id == me.replica.store_id {
            format!("node {} was connected to by itself, or by a copy of its directory", hello.from.node_id)
        } else {
            format!(
                "two nodes with one id: both of us say that we are node {}; give each its own",
                hello.from.node_id
            )
        });
    }
    match (me.cluster_id, hello.cluster_id) {
        (None, _) => for_now("it is not in a cluster yet"),
        (_, None) => for_now("you are not in a cluster yet"),
        (Some(mine), Some(theirs)) if mine != theirs => lasting(format!(
            "it is in the cluster {mine}, and you in {theirs}: two clusters of one name, formed with different lists"
        )),
        _ if !running => for_now("it is starting"),
        _ => Ok(hello.from),
    }
}

/// What the client makes of the answer to its hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer<NID> {
    Accepted(Replica<NID>),
    Refused(Refusal),
}

/// The client's verdict on the answer of the node that should be `target`.
///
/// # Errors
/// If the answer cannot be understood.
pub(crate) fn judge_reply<NID: NodeId>(target: NID, frame: &Frame) -> Result<Answer<NID>, PayloadError> {
    let lasting = |reason: String| Ok(Answer::Refused(Refusal { reason, lasting: true }));
    if frame.kind != Kind::HelloReply {
        return lasting(format!("it answered the hello with a frame of kind {:?}", frame.kind));
    }
    let (version, rest) = wire::split_version(frame)?;
    match wire::from_versioned(frame.kind, rest)? {
        HelloReply::Refused { reason, lasting } => Ok(Answer::Refused(Refusal { reason, lasting })),
        HelloReply::Accepted { .. } if version != WIRE_VERSION => lasting(format!(
            "it answered in version {version} of the wire format, we speak {WIRE_VERSION}: run programs with one \
                 version of this library on all nodes"
        )),
        HelloReply::Accepted { from } if from.node_id != target => lasting(format!(
            "node {} answered where node {target} should: check the addresses in the list of nodes",
            from.node_id
        )),
        HelloReply::Accepted { from } => Ok(Answer::Accepted(from)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft_engine::{ClusterId, StoreId};
    use serde::Serialize;

    use super::*;
    use crate::frame::FrameDecoder;

    fn replica(node_id: u64, store: u128) -> Replica<u64> {
        Replica { node_id, store_id: StoreId(store) }
    }

    fn me() -> Identity<u64> {
        Identity { replica: replica(2, 22), cluster_name: "shop".to_owned(), cluster_id: Some(ClusterId(5)) }
    }

    fn hello() -> Hello<u64> {
        Hello { cluster_name: "shop".to_owned(), cluster_id: Some(ClusterId(5)), from: replica(1, 11), to: 2 }
    }

    fn frame<T: Serialize>(kind: Kind, version: u16, value: &T) -> Frame {
        let mut bytes: Bytes = wire::to_versioned_frame(kind, version, value);
        FrameDecoder::new(10_000).decode(&mut bytes).unwrap().unwrap()
    }

    #[test]
    fn a_peer_of_the_same_cluster_is_accepted() {
        let frame = frame(Kind::Hello, WIRE_VERSION, &hello());
        assert_eq!(judge_hello(&me(), true, &frame), Ok(replica(1, 11)));
    }

    #[test]
    fn every_mistake_is_refused_with_its_own_reason() {
        let changed = |change: fn(&mut Hello<u64>)| {
            let mut hello = hello();
            change(&mut hello);
            hello
        };
        let table = [
            (changed(|h| h.cluster_name = "bank".to_owned()), "belongs to the cluster \"shop\"", true),
            (changed(|h| h.cluster_id = Some(ClusterId(6))), "two clusters of one name", true),
            (changed(|h| h.cluster_id = None), "you are not in a cluster yet", false),
            (changed(|h| h.to = 3), "it is node 2, not node 3", true),
            (changed(|h| h.from = replica(2, 99)), "two nodes with one id", true),
            (changed(|h| h.from = replica(2, 22)), "by itself", true),
        ];
        for (hello, words, lasting) in table {
            let refusal = judge_hello(&me(), true, &frame(Kind::Hello, WIRE_VERSION, &hello)).unwrap_err();
            assert!(refusal.reason.contains(words), "{refusal:?} should say {words:?}");
            assert_eq!(refusal.lasting, lasting, "{refusal:?}");
        }
    }

    #[test]
    fn a_node_that_is_not_formed_or_not_started_asks_for_patience() {
        let frame = frame(Kind::Hello, WIRE_VERSION, &hello());
        let unformed = Identity { cluster_id: None, ..me() };
        assert!(!judge_hello(&unformed, true, &frame).unwrap_err().lasting);
        assert!(!judge_hello(&me(), false, &frame).unwrap_err().lasting);
    }

    #[test]
    fn another_wire_version_is_refused_before_the_hello_is_read() {
        let frame = frame(Kind::Hello, WIRE_VERSION + 1, &"whatever a later version may say");
        let refusal = judge_hello(&me(), true, &frame).unwrap_err();
        let (mine, theirs) = (WIRE_VERSION, WIRE_VERSION + 1);
        let words = format!("version {mine} of the wire format, and you version {theirs}");
        assert!(refusal.reason.contains(&words), "{refusal:?}");
    }

    #[test]
    fn the_client_takes_no_answer_from_another_node() {
        let accepted = |from| frame(Kind::HelloReply, WIRE_VERSION, &HelloReply::Accepted { from });
        assert_eq!(judge_reply(2, &accepted(replica(2, 22))), Ok(Answer::Accepted(replica(2, 22))));
        let Ok(Answer::Refused(refusal)) = judge_reply(2u64, &accepted(replica(3, 33))) else { panic!() };
        assert!(refusal.reason.contains("node 3 answered where node 2 should"), "{refusal:?}");
    }

    #[test]
    fn a_refusal_by_another_version_is_still_understood() {
        let reply = HelloReply::<u64>::Refused { reason: "too old".to_owned(), lasting: true };
        let frame = frame(Kind::HelloReply, WIRE_VERSION + 1, &reply);
        let expected = Refusal { reason: "too old".to_owned(), lasting: true };
        assert_eq!(judge_reply(2, &frame), Ok(Answer::Refused(expected)));
    }
}
