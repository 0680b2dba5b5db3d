//! Plants known defects one at a time into a copy of the workspace and prints which checks notice them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use openraft_tests::planted::check::{self, CHECKS, Check, Executables, Verdict};
use openraft_tests::planted::defect::{self, Defect, Kind};
use openraft_tests::planted::report::{PAGE, Results, cell};
use openraft_tests::planted::scratch::Scratch;
use openraft_tests::planted::twins::{Woven, weave};

/// Plants known defects one at a time and prints which checks notice them.
#[derive(Parser)]
struct Arguments {
    /// Prints the defects and the checks, and plants nothing.
    #[arg(long)]
    list: bool,
    /// Only the defects with these names.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these checks.
    #[arg(long, value_delimiter = ',')]
    checks: Vec<String>,
    /// Asks no more checks about a defect once one has noticed it.
    #[arg(long, conflicts_with = "write")]
    first: bool,
    /// Does not run again what is kept of an earlier run, for a defect that is still the same.
    #[arg(long)]
    resume: bool,
    /// Keeps what comes of it in tests/planted/results.json, and writes docs/planted-defects.md of all that is kept.
    #[arg(long)]
    write: bool,
    /// Seconds after which a search is given up, which counts as not noticed.
    #[arg(long, default_value_t = 600)]
    search_seconds: u64,
    /// Plants nothing, and writes docs/planted-defects.md of all that is kept.
    #[arg(long)]
    page: bool,
    /// Where the copy is kept, and what is built of it; `target/planted` if not given.
    #[arg(long)]
    scratch: Option<PathBuf>,
}

/// One run of the command.
struct Run<'a> {
    root: &'a Path,
    kinds: &'a [Kind],
    checks: Vec<&'static Check>,
    first: bool,
    resume: bool,
    write: bool,
    search: Duration,
    woven: Woven,
    scratch: Scratch,
    built: Executables,
    results: Results,
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match plant(&root, &Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(survivors) => {
            println!("{survivors} of the defects are noticed by none of the checks asked");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("planted: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many defects nothing noticed.
fn plant(root: &Path, arguments: &Arguments) -> Result<usize, String> {
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    let kinds = defect::load(&root)?;
    let mut wanted = wanted_defects(&kinds, &arguments.only)?;
    let checks = wanted_checks(&arguments.checks)?;
    if arguments.list {
        list(&kinds);
        return Ok(0);
    }
    if arguments.page {
        write_page(&root, &Results::open(&root)?, &kinds)?;
        return Ok(0);
    }
    // All of them, whichever are wanted: so nothing is built anew when others are.
    let woven = weave(&root, kinds.iter().flat_map(|kind| &kind.defects))?;
    let directory = arguments.scratch.clone().unwrap_or_else(|| root.join("target/planted"));
    let scratch = Scratch::copy(&root, &woven.files, &directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    let built = check::build(&scratch, &checks)
        .map_err(|error| format!("with the twins of all defects, it does not compile:\n{error}"))?;
    let results = Results::open(&root)?;
    let Arguments { first, resume, write, .. } = *arguments;
    let search = Duration::from_secs(arguments.search_seconds);
    let mut run = Run {
        root: &root,
        kinds: &kinds,
        checks,
        first,
        resume,
        write,
        search,
        woven,
        scratch,
        built,
        results,
    };
    run.unchanged()?;
    // Those that are built alone come last: they leave other programs behind.
    wanted.sort_by_key(|defect| !run.woven.numbers.contains_key(&defect.name));
    let mut survivors = 0;
    for (number, defect) in wanted.iter().enumerate() {
        println!("{}/{} {}", number + 1, wanted.len(), defect.name);
        survivors += usize::from(!run.with(defect)?);
    }
    if write {
        write_page(run.root, &run.results, &kinds)?;
    }
    Ok(survivors)
}

fn write_page(root: &Path, results: &Results, kinds: &[Kind]) -> Result<(), String> {
    let page = root.join(PAGE);
    std::fs::write(&page, results.page(kinds)).map_err(|error| format!("{}: {error}", page.display()))
}

impl Run<'_> {
    /// Runs the checks over the copy as it is: what fails there says nothing of any defect.
    fn unchanged(&mut self) -> Result<(), String> {
        println!("nothing planted");
        for verdict in self.ask(None)? {
            if verdict.is_caught() {
                return Err(format!("with nothing planted: {verdict:?}"));
            }
        }
        Ok(())
    }

    /// Plants a defect and runs the checks. Returns whether it was noticed.
    fn with(&mut self, defect: &Defect) -> Result<bool, String> {
        let verdicts = if self.woven.numbers.contains_key(&defect.name) {
            self.ask(Some(defect))?
        } else {
            let scratch = self.scratch.clone();
            scratch.with(defect, || self.ask_alone(defect))??
        };
        let caught = verdicts.iter().any(Verdict::is_caught);
        if !caught {
            println!("    SURVIVES: {}", defect.why);
        }
        Ok(caught)
    }

    /// The defect stands in the files: builds them, and runs the checks.
    fn ask_alone(&mut self, defect: &Defect) -> Result<Vec<Verdict>, String> {
        let known = |check: &&Check| self.results.get(Some(defect), check.name).is_some();
        if self.resume && self.checks.iter().all(known) {
            return self.ask(Some(defect));
        }
        self.built = check::build(&self.scratch, &self.checks).map_err(|error| {
            let name = &defect.name;
            format!(
                "with {name} planted, it does not compile, which is no defect of the kind meant:\n{error}"
            )
        })?;
        self.ask(Some(defect))
    }

    /// Runs the checks that are to be asked.
    fn ask(&mut self, defect: Option<&Defect>) -> Result<Vec<Verdict>, String> {
        let in_force = defect.and_then(|defect| self.woven.numbers.get(&defect.name).copied());
        let mut verdicts: Vec<Verdict> = Vec::new();
        for check in self.checks.clone() {
            if self.first && verdicts.iter().any(Verdict::is_caught) {
                break;
            }
            let known = self.results.get(defect, check.name).filter(|_| self.resume).cloned();
            let verdict = match known {
                Some(known) => known,
                None => check.run(&self.built, in_force, self.search)?,
            };
            println!("    {:<12} {}", check.name, told(&verdict));
            self.results.put(defect, check.name, verdict.clone());
            verdicts.push(verdict);
        }
        if self.write {
            self.results.keep(self.root, self.kinds)?;
        }
        Ok(verdicts)
    }
}

fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed { seconds } => format!("{:>8}  passes in {seconds:.1}", cell(verdict)),
        Verdict::Noticed { by, .. } => format!("{:>8}  {by}", cell(verdict)),
        Verdict::Hung { .. } | Verdict::GaveUp { .. } => format!("{:>8}", cell(verdict)),
    }
}

fn wanted_defects<'a>(kinds: &'a [Kind], only: &[String]) -> Result<Vec<&'a Defect>, String> {
    let all = || kinds.iter().flat_map(|kind| &kind.defects);
    if let Some(unknown) = only.iter().find(|name| all().all(|defect| defect.name != **name)) {
        return Err(format!("there is no defect {unknown}; --list names them"));
    }
    Ok(all().filter(|defect| only.is_empty() || only.contains(&defect.name)).collect())
}

fn wanted_checks(only: &[String]) -> Result<Vec<&'static Check>, String> {
    if let Some(unknown) = only.iter().find(|name| CHECKS.iter().all(|check| check.name != **name)) {
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        return Err(format!("there is no check {unknown}; there are {}", names.join(", ")));
    }
    Ok(CHECKS.iter().filter(|check| only.is_empty() || only.iter().any(|name| name == check.name)).collect())
}

fn list(kinds: &[Kind]) {
    for kind in kinds {
        println!("{}", kind.title);
        for defect in &kind.defects {
            println!("    {}\n        {}", defect.name, defect.why);
        }
    }
    println!("Checks");
    for check in CHECKS {
        println!("    {:<12} {}", check.name, check.what);
    }
}
