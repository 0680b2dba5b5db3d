//! Checks whether histories of operations are linearizable.
//!
//! Ends with 0 if all are, 1 if one is not, 2 if one cannot be read, 3 if it could not be decided of one.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use openraft_tests::history::{check, read_lines};

/// Checks whether histories of operations on a key-value store are linearizable, key by key.
///
/// A file holds one operation a line, as JSON: client, op (put, get, cas, delete), key, value, expect, call_ns, return_ns,
/// outcome (ok, fail, unknown), read. Ends with 0 if all are linearizable, 1 if one is not, 2 if one cannot be read, 3 if it
/// could not be decided of one.
#[derive(Parser)]
#[command(name = "check-history")]
struct Arguments {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// What came of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Linearizable = 0,
    Undecided = 3,
    Unreadable = 2,
    Violated = 1,
}

fn main() -> ExitCode {
    let verdicts: Vec<Verdict> = Arguments::parse().files.iter().map(|file| verdict(file)).collect();
    let order = [Verdict::Violated, Verdict::Unreadable, Verdict::Undecided];
    let worst = order.into_iter().find(|verdict| verdicts.contains(verdict)).unwrap_or(Verdict::Linearizable);
    ExitCode::from(worst as u8)
}

fn verdict(path: &Path) -> Verdict {
    let name = path.display();
    let operations = match File::open(path).map(BufReader::new) {
        Err(error) => {
            eprintln!("{name}: {error}");
            return Verdict::Unreadable;
        }
        Ok(file) => match read_lines(file) {
            Err(error) => {
                eprintln!("{name}: {error}");
                return Verdict::Unreadable;
            }
            Ok(operations) => operations,
        },
    };
    match check(&operations) {
        Err(violation) => {
            println!("{name}: {violation}");
            Verdict::Violated
        }
        Ok(summary) => {
            println!("{name}: {summary}");
            for key in &summary.undecided {
                println!("{name}: undecided: key {key:?}: the search was given up");
            }
            if summary.is_decided() { Verdict::Linearizable } else { Verdict::Undecided }
        }
    }
}
