//! This program's decoders as plain functions, for property tests and fuzzing: see `openraft_adapters::fuzzing`.

use bytes::Bytes;
use openraft_node::adapters::codec;
use openraft_node::adapters::fuzzing::{Cut, Decoder, SERDE_BASE_BYTES};
use openraft_node::axum::http::Uri;
use openraft_node::{App, Consistency, LogId};

use crate::http;
use crate::store::{Command, Store};

/// The decoders of this crate.
pub const DECODERS: &[Decoder] = &[REQUESTS, STORE];

const REQUESTS: Decoder = Decoder {
    name: "example_requests",
    decode: request,
    seeds: || {
        let seeds = [
            "g/a/key\n",
            "g/key?consistency=stale\n",
            "p/4\nhttp://127.0.0.1:9041",
            "p/18446744073709551615\nhttp://[::1]:1",
        ];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    },
    guarded: false,
    cut: Cut::Anything,
    memory_base: 4096,
    memory_per_byte: 20,
};

/// A letter for the method, path and query, a new line, and the body.
fn request(input: &[u8]) -> Result<Vec<u8>, String> {
    let (&method, rest) = input.split_first().ok_or("no request")?;
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or("no end of the path")?;
    let uri: Uri = Uri::try_from(&rest[..end]).map_err(|error| error.to_string())?;
    let body = &rest[end + 1..];
    // Of a request that is passed on by a proxy there is no more than this either.
    if !uri.path().starts_with('/') {
        return Err("no path".to_owned());
    }
    let again = match method {
        b'g' => {
            let query = match http::consistency_of(&uri).map_err(|failure| failure.1)? {
                Consistency::Stale => "?consistency=stale",
                _ => "",
            };
            format!("g{}{query}\n", uri.path())
        }
        b'p' => {
            let (id, address) = http::announced(&uri, body).map_err(|failure| failure.1)?;
            format!("p/{id}\nhttp://{address}")
        }
        _ => return Err("no such method".to_owned()),
    };
    Ok(again.into_bytes())
}

const STORE: Decoder = Decoder {
    name: "example_store",
    decode: |input| {
        let (&which, body) = input.split_first().ok_or("nothing")?;
        let again = match which {
            0 => codec::encode_value(&Store::restore(&mut &*body).map_err(|error| error.to_string())?),
            1 => codec::encode_value(&codec::decode_value::<Command>(body)?),
            _ => return Err("no such value".to_owned()),
        };
        Ok([&[which], &again[..]].concat())
    },
    seeds: || {
        let (put, announce) = (
            Command::Put { key: "/key".to_owned(), value: Bytes::from_static(b"value") },
            Command::Announce { id: 4, address: "10.0.0.4:1".to_owned() },
        );
        let mut store = Store::default();
        store.apply(LogId::new(1, 1, 1), &put);
        store.apply(LogId::new(1, 1, 2), &announce);
        let seed = |which: u8, value: Vec<u8>| [&[which], &value[..]].concat();
        vec![
            seed(0, codec::encode_value(&store)),
            seed(1, codec::encode_value(&put)),
            seed(1, codec::encode_value(&announce)),
            seed(1, codec::encode_value(&Command::Withdraw { id: 300 })),
        ]
    },
    guarded: false,
    cut: Cut::Refused,
    memory_base: SERDE_BASE_BYTES,
    memory_per_byte: 100,
};
