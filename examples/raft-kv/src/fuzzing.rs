//! This program's decoders as plain functions, for property tests and fuzzing: see `openraft_adapters::fuzzing`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use axum::http::{HeaderMap, StatusCode, Uri};
use bytes::Bytes;
use clap::Parser;
use openraft_node::adapters::codec;
use openraft_node::adapters::fuzzing::{Cut, Decoder, SERDE_BASE_BYTES};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{ReadQuery, WriteQuery, kv};
use crate::cli::{self, Cli};
use crate::client::lines;
use crate::client::verdict::{Repeat, judge};
use crate::cluster_list::{ClusterList, parse_address};
use crate::http::Answer;
use crate::serve;
use crate::snapshot_format::{Chunks, restore};
use crate::state::{Command, KvState, Reply};
use crate::wire::{
    Consistency, ErrorBody, ErrorCode, MembersAnswer, NodeStatus, SnapshotAnswer, TransferAnswer,
    WriteAnswer, key_path, key_path_if,
};

/// The decoders of this crate.
pub const DECODERS: &[Decoder] = &[SNAPSHOT, COMMANDS, REQUESTS, ANSWERS, CLUSTER_LIST, IMPORT, COMMAND_LINE];

const SNAPSHOT: Decoder = Decoder {
    name: "kv_snapshot",
    decode: |input| {
        let state = restore(&mut &*input).map_err(|error| error.to_string())?;
        Ok(Chunks::new(state).flatten().collect())
    },
    seeds: || {
        let of = |keys: u64, bytes: usize| {
            let mut state = KvState::default();
            for index in 1..=keys {
                let value = Bytes::from(vec![index as u8; bytes]);
                state.apply(index, &Command::Put { key: format!("key {index}"), value });
            }
            Chunks::new(state).flatten().collect()
        };
        vec![of(0, 0), of(1, 0), of(3, 5), of(40, 50)]
    },
    guarded: false,
    cut: Cut::Refused,
    // One piece is read at a time, and one written.
    memory_base: 1024 * 1024,
    memory_per_byte: 100,
};

const COMMANDS: Decoder = Decoder {
    name: "kv_commands",
    decode: |input| {
        let (&which, body) = input.split_first().ok_or("no command")?;
        let again = match which {
            0 => codec::encode_value(&codec::decode_value::<Command>(body)?),
            1 => codec::encode_value(&codec::decode_value::<Reply>(body)?),
            _ => return Err("no such value".to_owned()),
        };
        Ok([&[which], &again[..]].concat())
    },
    seeds: || {
        let (key, value) = ("a key".to_owned(), Bytes::from_static(b"a value"));
        let command = |command: &Command| [&[0], &codec::encode_value(command)[..]].concat();
        let reply = |reply: &Reply| [&[1], &codec::encode_value(reply)[..]].concat();
        vec![
            command(&Command::PutIf { key: key.clone(), value, if_version: u64::MAX }),
            command(&Command::Delete { key }),
            reply(&Reply::Done { existed: true }),
            reply(&Reply::OtherVersion { current: 300 }),
        ]
    },
    guarded: false,
    cut: Cut::Refused,
    memory_base: SERDE_BASE_BYTES,
    memory_per_byte: 10,
};

const REQUESTS: Decoder = Decoder {
    name: "kv_requests",
    decode: request,
    seeds: || {
        let reads =
            [Consistency::Linearizable, Consistency::Stale].map(|c| c.on(&key_path("ä key / with signs?")));
        let writes = [None, Some(0), Some(u64::MAX)].map(|version| key_path_if("key", version));
        let seed = |which: char, path: &String| format!("{which}{path}").into_bytes();
        reads.iter().map(|path| seed('r', path)).chain(writes.iter().map(|path| seed('w', path))).collect()
    },
    guarded: false,
    cut: Cut::Anything,
    memory_base: 16 * 1024,
    memory_per_byte: 40,
};

/// A letter that says which, and the path and query string of a read or a write.
fn request(input: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(input).map_err(|error| error.to_string())?;
    let (which, path) = text.split_at_checked(1).ok_or("no path")?;
    let uri: Uri = path.parse().map_err(|error| format!("{error}"))?;
    let words = |error: crate::api::ApiError| error.0.message;
    let key = kv::key_of(&uri).map_err(words)?;
    let again = match which {
        "r" => ReadQuery::of(&uri).map_err(words)?.on(&key_path(&key)),
        "w" => key_path_if(&key, WriteQuery::of(&uri).map_err(words)?.if_version),
        _ => return Err("no such request".to_owned()),
    };
    Ok(format!("{which}{again}").into_bytes())
}

const ANSWERS: Decoder = Decoder {
    name: "kv_answers",
    decode: answer,
    seeds: answer_seeds,
    guarded: false,
    cut: Cut::Refused,
    memory_base: 16 * 1024,
    memory_per_byte: 200,
};

/// A digit that says which, and the JSON body of an answer that a client is given.
fn answer(input: &[u8]) -> Result<Vec<u8>, String> {
    fn json<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<T, String> {
        serde_json::from_slice(body).map_err(|error| error.to_string())
    }
    fn text<T: Serialize>(value: &T) -> Vec<u8> {
        serde_json::to_vec(value).expect("it came from JSON")
    }
    let (&which, body) = input.split_first().ok_or("no answer")?;
    let again = match which {
        b'0' => {
            let status = StatusCode::CONFLICT;
            let given = Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body) };
            let _ = judge(Ok(given), Repeat::WhileVersionStands, Some("an attempt before it"));
            text(&json::<ErrorBody>(body)?)
        }
        b'1' => text(&json::<WriteAnswer>(body)?),
        b'2' => {
            let mut status: NodeStatus = json(body)?;
            // They are passed on and never looked at; not every number of JSON is read as it is written.
            status.details.clear();
            text(&status)
        }
        b'3' => text(&json::<MembersAnswer>(body)?),
        b'4' => text(&json::<SnapshotAnswer>(body)?),
        b'5' => text(&json::<TransferAnswer>(body)?),
        _ => return Err("no such answer".to_owned()),
    };
    Ok([&[which], &again[..]].concat())
}

fn answer_seeds() -> Vec<Vec<u8>> {
    fn of(which: u8, value: &impl Serialize) -> Vec<u8> {
        [&[which], &serde_json::to_vec(value).expect("it is JSON")[..]].concat()
    }
    let message = "the key \"a\" has version 7, not version 6".to_owned();
    let error = ErrorBody {
        code: ErrorCode::VersionMismatch,
        message,
        leader: Some("10.0.0.2:7000".to_owned()),
        version: Some(7),
    };
    let status = NodeStatus {
        id: 3,
        role: "follower".to_owned(),
        leader: Some(1),
        committed_index: Some(u64::MAX),
        members: vec![Default::default(); 2],
        waiting_for: vec!["a leader".to_owned()],
        ..NodeStatus::default()
    };
    let snapshot = SnapshotAnswer {
        node: 3,
        ordered: false,
        message: "nothing was applied since".to_owned(),
        applied_index: Some(5),
        snapshot_index: None,
    };
    vec![
        of(b'0', &error),
        of(b'1', &WriteAnswer { log_index: 9, existed: true }),
        of(b'2', &status),
        of(b'3', &MembersAnswer { log_index: None }),
        of(b'4', &snapshot),
        of(b'5', &TransferAnswer { from: 2 }),
    ]
}

const CLUSTER_LIST: Decoder = Decoder {
    name: "kv_cluster_list",
    decode: |input| {
        let text = std::str::from_utf8(input).map_err(|error| error.to_string())?;
        let list: ClusterList =
            text.parse().map_err(|error: crate::cluster_list::ClusterListError| error.to_string())?;
        for (id, address) in list.iter() {
            assert!(id > 0 && parse_address(address).as_deref() == Ok(address), "{id}={address}");
        }
        Ok(list.to_string().into_bytes())
    },
    seeds: || {
        let lists = [
            "1=a:1",
            "1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103",
            "7=[::1]:65535,18446744073709551615=b:2",
        ];
        lists.map(|list| list.as_bytes().to_vec()).to_vec()
    },
    guarded: false,
    cut: Cut::Anything,
    memory_base: 4096,
    memory_per_byte: 100,
};

const IMPORT: Decoder = Decoder {
    name: "kv_import",
    decode: import,
    seeds: || {
        let pairs: lines::Pairs = [("a", &b"1"[..]), ("b c\t", b"\\ \r\n"), ("\u{e4}", &[0xff, 0, 0xc3])]
            .map(|(key, value)| (key.to_owned(), Bytes::copy_from_slice(value)))
            .into();
        let packages = b"dPackage: apt\nVersion: 2.9~x\n\nPackage: bash\nVersion: 5:1-1\n\n".to_vec();
        vec![written_lines(&pairs), packages]
    },
    guarded: false,
    cut: Cut::Anything,
    memory_base: 16 * 1024,
    memory_per_byte: 200,
};

/// A letter for the form, and the input of an import.
fn import(input: &[u8]) -> Result<Vec<u8>, String> {
    let (&which, text) = input.split_first().ok_or("no input")?;
    match which {
        b'l' => lines::parse_lines(text).map(|pairs| written_lines(&pairs)),
        b'd' => lines::parse_dpkg(text).map(|pairs| {
            let mut out = vec![b'd'];
            for (name, version) in &pairs {
                out.extend([b"Package: ", name.as_bytes(), b"\nVersion: ", &version[..], b"\n\n"].concat());
            }
            out
        }),
        _ => return Err("no such form".to_owned()),
    }
    .map_err(|error| error.to_string())
}

fn written_lines(pairs: &lines::Pairs) -> Vec<u8> {
    let mut out = "l".to_owned();
    pairs.iter().for_each(|(key, value)| lines::write_line(&mut out, key, value));
    out.into_bytes()
}

const COMMAND_LINE: Decoder = Decoder {
    name: "kv_command_line",
    decode: command_line,
    seeds: || {
        let lines = [
            "serve\n--id\n2\n--data\n/var/lib/kv\n--listen\n0.0.0.0:7000\n--cluster\n1=a:1,2=b:2\n--snapshot-every-mb\n9999999999999",
            "serve\n--id\n4\n--data\nd\n--listen\n10.0.0.4:7000\n--join\na:1,b:2\n--advertise\nc:3\n--learner\n--memory-budget-mb\n65536",
            "cas\n--endpoints\na:1,b:2\n--timeout-ms\n5\nkey\n18446744073709551615\nvalue",
            "get\n--consistency\nstale\n--with-version\n-n\nkey",
            "member\nadd\na:1\n--learner",
            "import\n--format\ndpkg\n--in-flight\n4096\n-",
        ];
        lines.map(|line| line.as_bytes().to_vec()).to_vec()
    },
    guarded: false,
    cut: Cut::Anything,
    // The command line that there is, described.
    memory_base: 2 * 1024 * 1024,
    memory_per_byte: 1000,
};

/// Arguments, one a line. What they come to is not written again: they are what is read.
fn command_line(input: &[u8]) -> Result<Vec<u8>, String> {
    let arguments = std::iter::once(&b"raft-kv"[..]).chain(input.split(|byte| *byte == b'\n'));
    let cli =
        Cli::try_parse_from(arguments.map(OsStr::from_bytes)).map_err(|error| error.kind().to_string())?;
    if let cli::Command::Serve(options) = &cli.command {
        options.validate().map_err(|failure| failure.to_string())?;
        serve::config(options).map_err(|failure| failure.to_string())?;
    }
    Ok(input.to_vec())
}
