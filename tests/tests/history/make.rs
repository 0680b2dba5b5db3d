//! Operations in few words.

use openraft_tests::history::{Op, Operation, Outcome};

/// The key of all operations that are made here.
pub(crate) const KEY: &str = "k";

fn made(client: u64, op: Op, called: u64, returned: u64) -> Operation {
    Operation {
        client,
        op,
        key: KEY.to_owned(),
        value: None,
        expect: None,
        call_ns: called,
        return_ns: Some(returned),
        outcome: Outcome::Ok,
        read: None,
    }
}

/// A value, or the absence of the key.
fn named(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

pub(crate) fn put(client: u64, value: &str, called: u64, returned: u64) -> Operation {
    Operation { value: named(value), ..made(client, Op::Put, called, returned) }
}

/// An empty `read`: the key is absent.
pub(crate) fn get(client: u64, read: &str, called: u64, returned: u64) -> Operation {
    Operation { read: named(read), ..made(client, Op::Get, called, returned) }
}

/// An empty `expect`: that the key is absent.
pub(crate) fn cas(client: u64, expect: &str, value: &str, called: u64, returned: u64) -> Operation {
    Operation { expect: named(expect), value: named(value), ..made(client, Op::Cas, called, returned) }
}

pub(crate) fn delete(client: u64, called: u64, returned: u64) -> Operation {
    made(client, Op::Delete, called, returned)
}

/// No answer came.
pub(crate) fn unknown(operation: Operation) -> Operation {
    Operation { outcome: Outcome::Unknown, return_ns: None, ..operation }
}

/// It certainly never takes effect.
pub(crate) fn failed(operation: Operation) -> Operation {
    Operation { outcome: Outcome::Fail, ..operation }
}

/// A cas that found something else than it expected.
pub(crate) fn found(read: &str, operation: Operation) -> Operation {
    Operation { read: named(read), ..failed(operation) }
}
