//! The groups of checks that are asked about a defect.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{self, Ended};
use super::scratch::Scratch;
use super::twins::IN_FORCE;

/// A group of checks: one column of the table.
#[derive(Debug)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// What it runs, in words.
    pub what: &'static str,
    /// The programs that it runs, one after the other.
    programs: &'static [Program],
    /// The unchanged copy takes seconds. What takes longer than this has hung, which is a way of noticing; where the
    /// check searches, it has only given up, which is none.
    limit: Duration,
    searches: bool,
}

/// What cargo builds, to be run with these arguments.
#[derive(Debug)]
struct Program {
    target: Target,
    arguments: &'static [&'static str],
}

#[derive(Debug)]
enum Target {
    /// The tests beside the code of this package.
    Unit(&'static str),
    /// A file or directory of `tests/`.
    Test(&'static str),
    Bin(&'static str),
}

/// A test that reads the engine's source, and finds the twins in it strange.
const READS_THE_SOURCE: &str = "every_call_that_changes_the_engine";

/// The checks, the fastest first.
pub const CHECKS: &[Check] = &[
    Check {
        name: "engine",
        what: "tests beside the engine's code: stories, lying peers, the seeded adversary, all under its assertions",
        programs: &[unit("openraft-engine", &["--skip", READS_THE_SOURCE])],
        limit: Duration::from_secs(120),
        searches: false,
    },
    Check {
        name: "tables",
        what: "the engine's tables in text files and its slow twins",
        programs: &[test("tables", &[])],
        limit: Duration::from_secs(60),
        searches: false,
    },
    Check {
        name: "replication",
        what: "`line_rate_loop` on virtual time",
        programs: &[unit("openraft-replication", &[]), test("line_rate", &[])],
        limit: Duration::from_secs(60),
        searches: false,
    },
    Check {
        name: "scenarios",
        what: "`tests/scenarios`",
        programs: &[test("scenarios", &["--exact", "every_scenario_says_what_happens"])],
        limit: Duration::from_secs(60),
        searches: false,
    },
    Check {
        name: "walks",
        what: "seeded walks through worlds of engines (`tests/tests/world.rs`)",
        programs: &[test("world", &[])],
        limit: Duration::from_secs(60),
        searches: false,
    },
    Check {
        name: "lanes",
        what: "in which order a core submits what the engine orders (`tests/tests/lanes.rs`)",
        programs: &[test("lanes", &[])],
        limit: Duration::from_secs(60),
        searches: false,
    },
    Check {
        name: "simulate",
        what: "whole clusters on virtual time, `simulate --seeds 0..500 --steps 20000`, until the first violation",
        programs: &[bin(
            "simulate",
            &["--seeds", "0..500", "--steps", "20000", "--no-shrink", "--threads", "1"],
        )],
        limit: Duration::from_secs(3_600),
        searches: false,
    },
    Check {
        name: "search",
        what: "every order of events within the scopes of `explore --scope ci`, all of them at once",
        programs: &[bin("explore", &["--scope", "ci", "--threads", "6"])],
        limit: Duration::from_secs(600),
        searches: true,
    },
];

const fn unit(package: &'static str, arguments: &'static [&'static str]) -> Program {
    Program { target: Target::Unit(package), arguments }
}

const fn test(name: &'static str, arguments: &'static [&'static str]) -> Program {
    Program { target: Target::Test(name), arguments }
}

const fn bin(name: &'static str, arguments: &'static [&'static str]) -> Program {
    Program { target: Target::Bin(name), arguments }
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It noticed nothing.
    Passed {
        /// How long it took.
        seconds: f64,
    },
    /// It failed.
    Noticed {
        /// After how long that showed.
        seconds: f64,
        /// What failed.
        by: String,
    },
    /// It did not end.
    Hung {
        /// After how long it was ended.
        seconds: f64,
    },
    /// It was ended before it had searched everything.
    GaveUp {
        /// After how long.
        seconds: f64,
    },
}

impl Verdict {
    /// Whether the defect was noticed.
    pub fn is_caught(&self) -> bool {
        matches!(self, Verdict::Noticed { .. } | Verdict::Hung { .. })
    }

    /// With its time to a tenth of a second.
    pub(super) fn rounded(mut self) -> Self {
        let (Verdict::Passed { seconds }
        | Verdict::Noticed { seconds, .. }
        | Verdict::Hung { seconds }
        | Verdict::GaveUp { seconds }) = &mut self;
        *seconds = (*seconds * 10.0).round() / 10.0;
        self
    }
}

/// The programs that were built, by kind and name of the target, of which no two are alike.
pub type Executables = BTreeMap<(String, String), Executable>;

/// Where a program is, and the directory in which cargo would run it.
#[derive(Clone, Debug)]
pub struct Executable {
    path: PathBuf,
    directory: PathBuf,
}

/// The packages that checks run programs of. All are named whenever something is built, so that cargo builds what they
/// have in common with the same features, once.
const PACKAGES: &[&str] = &["openraft-engine", "openraft-replication", "openraft-tests"];

/// Cargo builds the programs of a package, with the same features, along with the tests that it has in files of their
/// own. This is one such test.
const BESIDE_THE_PROGRAMS: &str = "scenarios";

/// Builds what `checks` run.
///
/// # Errors
/// What cargo says, if it does not compile.
pub fn build(scratch: &Scratch, checks: &[&Check]) -> Result<Executables, String> {
    let programs = || checks.iter().flat_map(|check| check.programs);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&scratch.workspace).env("CARGO_TARGET_DIR", &scratch.target);
    cargo.args(["test", "--no-run", "--locked", "--message-format=json-render-diagnostics"]);
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    if programs().any(|program| matches!(program.target, Target::Unit(_))) {
        cargo.arg("--lib");
    }
    let tests: BTreeSet<&str> = programs().filter_map(|program| program.target.test()).collect();
    cargo.args(tests.iter().flat_map(|test| ["--test", test]));
    let output = cargo.stdin(Stdio::null()).output().map_err(|error| format!("{cargo:?}: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(executables(&output.stdout))
}

/// Finds the programs in what cargo says of each thing that it built.
fn executables(messages: &[u8]) -> Executables {
    let mut executables = Executables::new();
    for line in messages.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let Some(path) = message["executable"].as_str() else { continue };
        let target = &message["target"];
        let words =
            [&message["manifest_path"], &target["kind"][0], &target["name"]].map(|word| word.as_str());
        let [Some(manifest), Some(kind), Some(name)] = words else { continue };
        let directory = Path::new(manifest).parent().unwrap_or(Path::new(manifest)).to_owned();
        executables.insert((kind.to_owned(), name.to_owned()), Executable { path: path.into(), directory });
    }
    executables
}

impl Check {
    /// Runs it, with the defect of that number in force, and no longer than `search` if it searches. Its programs have
    /// been built.
    ///
    /// # Errors
    /// If a program is missing or cannot be started.
    pub fn run(
        &self,
        executables: &Executables,
        in_force: Option<u32>,
        search: Duration,
    ) -> Result<Verdict, String> {
        let limit = if self.searches { search } else { self.limit };
        let mut before = 0.0;
        for program in self.programs {
            let ended = program.run(executables, in_force, limit)?;
            let seconds = before + ended.after.as_secs_f64();
            match ended {
                Ended { passed: true, .. } => before = seconds,
                Ended { hung, ref output, .. } if self.searches && (hung || out_of_memory(output)) => {
                    return Ok(Verdict::GaveUp { seconds });
                }
                Ended { hung: true, .. } => return Ok(Verdict::Hung { seconds }),
                Ended { output, .. } => {
                    return Ok(Verdict::Noticed { seconds, by: clue(&program.target, &output) });
                }
            }
        }
        Ok(Verdict::Passed { seconds: before })
    }
}

impl Program {
    fn run(
        &self,
        executables: &Executables,
        in_force: Option<u32>,
        limit: Duration,
    ) -> Result<Ended, String> {
        let (kind, name) = match self.target {
            Target::Unit(package) => ("lib", package.replace('-', "_")),
            Target::Test(name) => ("test", name.to_owned()),
            Target::Bin(name) => ("bin", name.to_owned()),
        };
        let key = (kind.to_owned(), name);
        let found = executables.get(&key).ok_or_else(|| format!("cargo has built no {key:?}"))?;
        let mut command = Command::new(&found.path);
        command.args(self.arguments).env("RUST_BACKTRACE", "0").current_dir(&found.directory);
        if let Some(number) = in_force {
            command.env(IN_FORCE, number.to_string());
        }
        let fails = if kind == "bin" { program_failed } else { test_failed };
        process::run(command, limit, fails)
    }
}

impl Target {
    /// Which test in a file of its own must be built for it.
    fn test(&self) -> Option<&'static str> {
        match self {
            Target::Unit(_) => None,
            Target::Test(name) => Some(name),
            Target::Bin(_) => Some(BESIDE_THE_PROGRAMS),
        }
    }
}

fn test_failed(line: &str) -> bool {
    line.starts_with("test ") && line.ends_with(" ... FAILED")
}

/// A panic, or a scope of the search in which something is broken or was not come upon.
fn program_failed(line: &str) -> bool {
    (line.starts_with("thread '") && line.contains(" panicked at "))
        || (line.starts_with("scope=") && (line.contains(" broken=") || line.contains(" missing=")))
}

/// Whether a program wanted more memory than it gets.
fn out_of_memory(output: &str) -> bool {
    output.lines().any(|line| line.starts_with("memory allocation of"))
}

/// What failed, in a few words: the scenarios that say otherwise; of what is one test, or none, what broke; else the
/// test.
fn clue(target: &Target, output: &str) -> String {
    let lines = || output.lines().map(str::trim);
    let scenarios: Vec<&str> =
        lines().filter_map(|line| Some(line.split_once(" does not say what happens")?.0)).collect();
    let test =
        lines().filter(|line| test_failed(line)).find_map(|line| line.split(' ').nth(1)?.rsplit("::").next());
    let scope = lines().find(|line| line.starts_with("scope=") && program_failed(line)).and_then(|line| {
        let name = line.strip_prefix("scope=")?.split(' ').next()?;
        let what = line.find(" broken=").or_else(|| line.find(" missing="))?;
        Some(format!("{name}:{}", &line[what..]))
    });
    let broken = lines().find_map(|line| {
        line.split_once("BROKEN: ").map(|(_, what)| what).or(line.starts_with("broken by ").then_some(line))
    });
    let panic = lines().skip_while(|line| !line.contains(" panicked at ")).nth(1);
    let said = match target {
        _ if !scenarios.is_empty() => Some(scenarios.join(" ")),
        Target::Bin(_) | Target::Test("scenarios" | "world") => {
            scope.or(broken.or(panic).or(test).map(str::to_owned))
        }
        _ => test.or(broken).or(panic).map(str::to_owned),
    };
    shortened(said.as_deref().unwrap_or(if out_of_memory(output) {
        "it wants all memory"
    } else {
        "it ended with an error"
    }))
}

/// The longest that is said of one failure, in characters.
const CLUE_MAX: usize = 160;

fn shortened(words: &str) -> String {
    match words.char_indices().nth(CLUE_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}
