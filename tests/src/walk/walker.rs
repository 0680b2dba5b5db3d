//! `Walker`: takes the steps of a page, as its reader would, and keeps the time apart that goes into compiling.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Failure;
use super::expect::{any_lines, lines_match};
use super::page::{Act, Command, Shown, Step};
use super::shell::{Outcome, Shell, Surroundings};
use super::terminal::Terminal;

/// How long a command may take, or something that is to appear in a terminal.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long compiling may take.
const COMPILING: Duration = Duration::from_secs(40 * 60);

/// Walks pages in a directory of its own and a clone in it.
pub struct Walker {
    /// Holds all that the walk makes.
    ground: PathBuf,
    /// Where each page begins: the root of the clone.
    clone: PathBuf,
    /// The `Cargo.toml` that the guide tells its reader to write, for programs that another page shows whole.
    manifest: Option<String>,
    /// A `Cargo.lock` to lay beside a new package, so that it is compiled from the versions that are proved.
    lock: Option<PathBuf>,
    /// Variables set for all that runs.
    variables: Vec<(String, OsString)>,
    /// What was spent on compiling.
    compiling: Duration,
    begun: Instant,
    shells: u32,
}

/// What was done, for the summary.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands that were run, of which some go on running.
    pub commands: usize,
    /// Files and programs.
    pub files: usize,
    /// Lines that came as they were shown.
    pub shown: usize,
}

/// A page while it is walked: its reader's terminals.
struct Reader<'a> {
    page: &'a str,
    around: Surroundings,
    shell: Shell,
    terminals: BTreeMap<String, Terminal>,
    /// The command last given to each terminal.
    running: BTreeMap<String, Command>,
}

impl Walker {
    /// A walk on `ground`, an empty directory, with the clone at `clone`. `manifest`: what [`Step::Program`] is compiled
    /// by, and `lock` the versions.
    pub fn new(ground: &Path, clone: &Path, manifest: Option<String>, lock: Option<PathBuf>) -> Self {
        let (ground, clone) = (ground.to_owned(), clone.to_owned());
        let (variables, compiling, begun) = (Vec::new(), Duration::ZERO, Instant::now());
        Self { ground, clone, manifest, lock, variables, compiling, begun, shells: 0 }
    }

    /// Sets a variable for all that runs.
    pub fn with_variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Time spent on compiling, and on everything else.
    pub fn times(&self) -> (Duration, Duration) {
        (self.compiling, self.begun.elapsed().saturating_sub(self.compiling))
    }

    /// Takes all steps of a page. Whatever runs in its terminals ends with it, also where it fails.
    ///
    /// # Errors
    /// The first step that does not come out as the page says.
    pub async fn walk(&mut self, page: &str, steps: &[Step]) -> Result<Tally, Failure> {
        free_ports(page, steps)?;
        self.shells += 1;
        let papers = self.ground.join(format!("page-{}", self.shells));
        let temp = papers.join("temporary");
        let around = Surroundings { temp: temp.clone(), variables: self.variables.clone() };
        let opened = std::fs::create_dir_all(&temp).and_then(|()| Shell::open(&self.clone, &papers, &around));
        let shell = opened
            .map_err(|error| Failure::at(page, 1, "opening a terminal", "a shell", &error.to_string()))?;
        let mut reader = Reader { page, around, shell, terminals: BTreeMap::new(), running: BTreeMap::new() };
        let mut tally = Tally::default();
        for step in steps {
            self.step(&mut reader, step, &mut tally).await?;
        }
        Ok(tally)
    }

    async fn step(&mut self, reader: &mut Reader<'_>, step: &Step, tally: &mut Tally) -> Result<(), Failure> {
        match step {
            Step::Run { commands, shown } => {
                tally.commands += commands.len();
                tally.shown += shown.as_ref().map_or(0, |shown| shown.lines.len());
                self.run(reader, commands, shown.as_ref()).await
            }
            Step::Start { terminal, commands } => {
                tally.commands += commands.len();
                self.start(reader, terminal, commands).await
            }
            Step::Talk { terminal, shown } => {
                tally.shown += shown.lines.len();
                reader.talk(terminal, shown).await
            }
            Step::File { line, path, text } => {
                tally.files += 1;
                self.file(reader, *line, path, text)
            }
            Step::Program { line, text, shown } => {
                tally.files += 1;
                tally.shown += shown.lines.len();
                self.program(reader, *line, text, shown).await
            }
            Step::Act { line, act, terminal } => reader.act(*line, *act, terminal).await,
            Step::NotRun { command, reason } => {
                tell(reader.page, command.line, &format!("{} (not run here: {reason})", command.text));
                Ok(())
            }
        }
    }

    async fn run(
        &mut self,
        reader: &mut Reader<'_>,
        commands: &[Command],
        shown: Option<&Shown>,
    ) -> Result<(), Failure> {
        let mut printed = String::new();
        for command in commands {
            if let Some(build) = build_of(&command.text) {
                self.compile(reader, command, &build).await?;
            }
            tell(reader.page, command.line, &command.text);
            let outcome = reader.shell.run(&command.text, PATIENCE).await;
            let outcome = outcome.map_err(|error| reader.failed(command, "its end", &error.to_string()))?;
            reader.succeeded(command, &outcome)?;
            printed += &outcome.stdout;
            if !printed.is_empty() && !printed.ends_with('\n') {
                printed.push('\n');
            }
        }
        let Some(last) = commands.last() else { return Ok(()) };
        match shown {
            Some(shown) => reader.compare(last, shown, &printed),
            None if printed.is_empty() => Ok(()),
            None => Err(reader.failed(last, "no output, as the page shows none", &printed)),
        }
    }

    /// Compiles what a command is going to run, so that its time is not taken for the command's.
    async fn compile(
        &mut self,
        reader: &mut Reader<'_>,
        command: &Command,
        build: &str,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let outcome = reader.shell.run(build, COMPILING).await;
        let took = begun.elapsed();
        self.compiling += took;
        tell(reader.page, command.line, &format!("{build} ({:.0} s of compiling)", took.as_secs_f64()));
        let outcome = outcome.map_err(|error| reader.failed(command, "its end", &error.to_string()))?;
        reader.succeeded(&Command { text: build.to_owned(), ..command.clone() }, &outcome)
    }

    async fn start(
        &mut self,
        reader: &mut Reader<'_>,
        terminal: &str,
        commands: &[Command],
    ) -> Result<(), Failure> {
        let Some(last) = commands.last() else { return Ok(()) };
        if reader.terminals.contains_key(terminal) {
            return Err(reader.failed(
                last,
                &format!("a free terminal {terminal:?}"),
                "one in which a program runs",
            ));
        }
        // A new terminal begins where the reader is, and goes its own ways: a shell within the shell.
        let mut before = String::new();
        for command in commands {
            if let Some(build) = build_of(&command.text) {
                let build = if before.is_empty() { build } else { format!("({before}{build})") };
                self.compile(reader, command, &build).await?;
            }
            before += &format!("{}\n", command.text);
        }
        tell(reader.page, last.line, &format!("{} (in the terminal {terminal})", last.text));
        let started = Terminal::start(&before, reader.shell.directory(), &reader.around);
        let started =
            started.map_err(|error| reader.failed(last, "a running program", &error.to_string()))?;
        reader.terminals.insert(terminal.to_owned(), started);
        reader.running.insert(terminal.to_owned(), last.clone());
        Ok(())
    }

    fn file(&self, reader: &Reader<'_>, line: usize, path: &str, text: &str) -> Result<(), Failure> {
        tell(reader.page, line, &format!("{path} is written"));
        let path = reader.shell.directory().join(path);
        let directory = path.parent().unwrap_or(&path);
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&path, text))
            .and_then(|()| self.lay_lock_beside(&path));
        written.map_err(|error| {
            Failure::at(
                reader.page,
                line,
                &format!("writing {}", path.display()),
                "a file",
                &error.to_string(),
            )
        })
    }

    fn lay_lock_beside(&self, manifest: &Path) -> std::io::Result<()> {
        match &self.lock {
            Some(lock) if manifest.ends_with("Cargo.toml") => {
                std::fs::copy(lock, manifest.with_file_name("Cargo.lock")).map(drop)
            }
            _ => Ok(()),
        }
    }

    async fn program(
        &mut self,
        reader: &mut Reader<'_>,
        line: usize,
        text: &str,
        shown: &Shown,
    ) -> Result<(), Failure> {
        let command =
            Command { line, text: "cargo run, with this as src/main.rs of a new package".to_owned() };
        let Some(manifest) = &self.manifest else {
            return Err(reader.failed(&command, "a Cargo.toml in the guide", "none"));
        };
        let package = self.ground.join(format!("program-{line}"));
        let temp = package.join("temporary");
        let (sources, cargo) = (package.join("src"), package.join("Cargo.toml"));
        let made = std::fs::create_dir_all(&sources)
            .and_then(|()| std::fs::create_dir_all(&temp))
            .and_then(|()| std::fs::write(&cargo, manifest))
            .and_then(|()| self.lay_lock_beside(&cargo))
            .and_then(|()| std::fs::write(sources.join("main.rs"), text));
        made.map_err(|error| reader.failed(&command, "a package", &error.to_string()))?;
        let in_package = format!("cd '{}'", package.display());
        self.compile(reader, &command, &format!("({in_package}; cargo build)")).await?;
        tell(reader.page, line, &command.text);
        let run = format!("({in_package}; TMPDIR='{}' cargo run)", temp.display());
        let outcome = reader.shell.run(&run, PATIENCE).await;
        let outcome = outcome.map_err(|error| reader.failed(&command, "its end", &error.to_string()))?;
        reader.succeeded(&command, &outcome)?;
        reader.compare(&command, shown, &outcome.stdout)
    }
}

impl Reader<'_> {
    fn failed(&self, command: &Command, expected: &str, came: &str) -> Failure {
        Failure::at(self.page, command.line, &command.text, expected, came)
    }

    fn succeeded(&self, command: &Command, outcome: &Outcome) -> Result<(), Failure> {
        let Outcome { status, stdout, stderr } = outcome;
        if outcome.success() {
            return Ok(());
        }
        Err(self.failed(command, "exit code 0", &format!("exit code {status}\n{stdout}{stderr}")))
    }

    fn compare(&self, command: &Command, shown: &Shown, printed: &str) -> Result<(), Failure> {
        let expected: Vec<&str> = shown.lines.iter().map(|(_, line)| line.as_str()).collect();
        let came: Vec<&str> = printed.lines().collect();
        if lines_match(&expected, &came) {
            return Ok(());
        }
        Err(Failure::at(self.page, shown.line, &command.text, &expected.join("\n"), printed))
    }

    fn terminal(&mut self, line: usize, name: &str) -> Result<&mut Terminal, Failure> {
        let page = self.page;
        let found = self.terminals.get_mut(name);
        found.ok_or_else(|| {
            Failure::at(page, line, name, "a terminal of this name", "none in which a program runs")
        })
    }

    async fn talk(&mut self, name: &str, shown: &Shown) -> Result<(), Failure> {
        let page = self.page;
        let command = self.running.get(name).map(|command| command.text.clone()).unwrap_or_default();
        let mut after_any = false;
        for (line, text) in &shown.lines {
            let terminal = self.terminal(*line, name)?;
            let failed = |expected: &str, came: &str| {
                Failure::at(page, *line, &format!("{command} (in the terminal {name})"), expected, came)
            };
            if let Some(typed) = text.strip_prefix("> ") {
                tell(page, *line, &format!("{typed} (typed in the terminal {name})"));
                let done = terminal.type_line(typed).await;
                done.map_err(|error| {
                    failed("a program that reads", &format!("{error}\n{}", terminal.printed()))
                })?;
            } else if any_lines(text) {
                after_any = true;
                continue;
            } else if !text.trim().is_empty() {
                let appeared = terminal.await_line(text, after_any, PATIENCE).await;
                appeared.map_err(|came| failed(text, &came))?;
            }
            after_any = false;
        }
        Ok(())
    }

    async fn act(&mut self, line: usize, act: Act, name: &str) -> Result<(), Failure> {
        let page = self.page;
        self.terminal(line, name)?;
        let (Some(mut terminal), command) = (self.terminals.remove(name), self.running.remove(name)) else {
            return Ok(());
        };
        let command = command.map(|command| command.text).unwrap_or_default();
        tell(page, line, &format!("{act:?} in the terminal {name}"));
        match act {
            Act::Interrupt => terminal.signal("INT"),
            Act::Kill => terminal.signal("KILL"),
            Act::Close => terminal.close(),
            Act::Await => {}
        }
        let doing = format!("{act:?} of {command} (in the terminal {name})");
        let failed = |came: &str| Failure::at(page, line, &doing, "the program's end", came);
        let status = terminal.ended(PATIENCE).await;
        let status = status.map_err(|came| failed(&format!("{came}\n{}", terminal.printed())))?;
        match act {
            // The shell around the program is ended by them as well.
            Act::Interrupt | Act::Kill => Ok(()),
            Act::Close | Act::Await if status.success() => Ok(()),
            Act::Close | Act::Await => Err(failed(&format!("{status}\n{}", terminal.printed()))),
        }
    }
}

/// What compiles what the command runs, where it is a `cargo run`.
fn build_of(command: &str) -> Option<String> {
    let arguments = command.trim_start().strip_prefix("cargo run")?;
    let arguments = arguments
        .split_once(" --")
        .filter(|(_, rest)| rest.starts_with([' ', '\n']))
        .map_or(arguments, |(before, _)| before);
    Some(format!("cargo build{}", arguments.trim_end()))
}

/// Checks that nobody listens on the addresses that a page names, so that no other program answers in place of its own.
fn free_ports(page: &str, steps: &[Step]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    let mut check = |line: usize, text: &str| {
        for rest in text.split("127.0.0.1:").skip(1) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let Ok(port) = digits.parse::<u16>() else { continue };
            if !seen.insert(port) {
                continue;
            }
            TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
                let came = format!("{error}: stop what listens there on this machine, then walk again");
                Failure::at(
                    page,
                    line,
                    &format!("looking at port {port}, which the page uses"),
                    "a free port",
                    &came,
                )
            })?;
        }
        Ok(())
    };
    for step in steps {
        match step {
            Step::Run { commands, .. } | Step::Start { commands, .. } => {
                commands.iter().try_for_each(|command| check(command.line, &command.text))?;
            }
            Step::File { line, text, .. } | Step::Program { line, text, .. } => check(*line, text)?,
            Step::Talk { .. } | Step::Act { .. } | Step::NotRun { .. } => {}
        }
    }
    Ok(())
}

fn tell(page: &str, line: usize, what: &str) {
    println!("{page}:{line}: {}", what.replace('\n', " "));
}
