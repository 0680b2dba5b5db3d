//! This crate's decoders as plain functions, for property tests and fuzzing: see `openraft_adapters::fuzzing`.

use std::collections::BTreeMap;

use axum::http::Uri;
use openraft_adapters::RaftTypeConfig;
use openraft_adapters::codec;
use openraft_adapters::fuzzing::{Cut, Decoder, SERDE_BASE_BYTES, Types};
use openraft_engine::{BasicNode, ClusterId, MembershipChange, NewNode, StoreId};
use serde::{Deserialize, Serialize};

use crate::forward::Address;
use crate::order::{Order, Outcome};
use crate::{App, LogId, admin};

/// The decoders of this crate.
pub const DECODERS: &[Decoder] = &[ORDERS, ADMIN_QUERIES, STATE];

const ORDERS: Decoder = Decoder {
    name: "orders",
    decode: order,
    seeds: order_seeds,
    guarded: false,
    cut: Cut::Refused,
    memory_base: SERDE_BASE_BYTES,
    memory_per_byte: 150,
};

type AnOrder = Order<<Types as RaftTypeConfig>::D>;

/// A byte that says which, and the body of an order between nodes, or of its answer.
fn order(input: &[u8]) -> Result<Vec<u8>, String> {
    let (&which, body) = input.split_first().ok_or("no body")?;
    let again = match which {
        0 => {
            let (address, order) = Address::split(body)?;
            let order = codec::decode_value::<AnOrder>(order)?;
            [codec::encode_value(&address), codec::encode_value(&order)].concat()
        }
        1 => codec::encode_value(&codec::decode_value::<Outcome>(body)?),
        _ => return Err("no such body".to_owned()),
    };
    Ok([&[which], &again[..]].concat())
}

fn order_seeds() -> Vec<Vec<u8>> {
    let address = Address { to: 3, cluster_id: ClusterId(u128::MAX), within_ms: u64::MAX };
    let order =
        |order: &AnOrder| [&[0], &codec::encode_value(&address)[..], &codec::encode_value(order)].concat();
    let outcome = |outcome: &Outcome| [&[1], &codec::encode_value(outcome)[..]].concat();
    let new = NewNode { store_id: StoreId(1 << 70), node: BasicNode::new("10.0.0.4:7000"), promote: true };
    vec![
        order(&Order::Write(("key".to_owned(), vec![1; 50], Some(1)))),
        order(&Order::removal(300)),
        order(&Order::Change(MembershipChange::AddLearners(BTreeMap::from([(4, new)])))),
        order(&Order::Transfer(Some(2))),
        outcome(&Outcome::Done(vec![3; 20])),
        outcome(&Outcome::Unknown("no answer came".to_owned())),
    ]
}

const ADMIN_QUERIES: Decoder = Decoder {
    name: "admin_queries",
    decode: admin_query,
    seeds: || {
        let seeds = [
            addition(&NewNode { store_id: StoreId(0), node: BasicNode::new("[::1]:7000"), promote: true }),
            addition(&NewNode {
                store_id: StoreId(u128::MAX),
                node: BasicNode::new("ä.b:1"),
                promote: false,
            }),
            transfer(None),
            transfer(Some(u64::MAX)),
        ];
        seeds.map(String::into_bytes).to_vec()
    },
    guarded: false,
    cut: Cut::Anything,
    memory_base: 16 * 1024,
    memory_per_byte: 40,
};

/// A letter that says which, and the query string of an admin route.
fn admin_query(input: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(input).map_err(|error| error.to_string())?;
    let (which, query) = text.split_at_checked(1).ok_or("no query")?;
    let uri: Uri = format!("/{query}").parse().map_err(|error| format!("{error}"))?;
    let again = match which {
        "a" => admin::new_node(&uri).map(|new| addition(&new)),
        "t" => admin::transfer_target(&uri).map(transfer),
        _ => return Err("no such query".to_owned()),
    };
    again.map(String::into_bytes).map_err(|error| error.message)
}

fn addition(new: &NewNode<BasicNode>) -> String {
    let address: String = new.node.addr.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("a?address={address}&store_id={:x}&learner={}", new.store_id.0, !new.promote)
}

fn transfer(to: Option<u64>) -> String {
    to.map_or("t".to_owned(), |to| format!("t?to={to}"))
}

const STATE: Decoder = Decoder {
    name: "state",
    decode: |input| {
        let state = Notes::restore(&mut &*input).map_err(|error| error.to_string())?;
        let mut again = Vec::new();
        state.snapshot(&mut again).map_err(|error| error.to_string())?;
        Ok(again)
    },
    seeds: || {
        let of = |notes: u64| {
            let mut state = Notes::default();
            for note in 0..notes {
                state.apply(LogId::new(1, 1, note), &(note, format!("note {note}")));
            }
            codec::encode_value(&state)
        };
        vec![of(0), of(1), of(130)]
    },
    guarded: false,
    cut: Cut::Refused,
    memory_base: SERDE_BASE_BYTES,
    memory_per_byte: 150,
};

/// An application that leaves its snapshots to serde.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Notes(BTreeMap<u64, String>);

impl App for Notes {
    type Command = (u64, String);
    type Reply = ();
    type Query = ();
    type Answer = ();

    fn apply(&mut self, _: LogId<u64>, (number, note): &(u64, String)) {
        self.0.insert(*number, note.clone());
    }

    fn query(&self, (): ()) {}
}
