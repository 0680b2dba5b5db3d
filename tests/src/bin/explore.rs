//! Searches the scopes of `openraft_tests::explore` to their ends; prints what came of each. Ends with 1 if anything was
//! found broken, something was not come upon, or a search did not end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use openraft_tests::explore::{Order, Outcome, Scope, Size, run, scopes};

/// Searches every order of events, within stated bounds, of real engines and their flow control.
#[derive(Parser)]
struct Arguments {
    /// How far the scopes reach: `ci` ends within two minutes, `full` within some ten minutes for each scope.
    #[arg(long, value_enum, default_value = "ci")]
    scope: Reach,
    /// Only the scopes of these names.
    #[arg(long)]
    only: Vec<String>,
    /// Say what would be searched, and end.
    #[arg(long)]
    list: bool,
    /// Write the first violation found to this file, as a scenario.
    #[arg(long)]
    save: Option<PathBuf>,
    /// How many scopes are searched at once.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Another budget than the scopes state, `name=times`, as `--list` names it; to find out what a search would cost.
    #[arg(long, value_parser = parse_budget)]
    budget: Vec<(String, u8)>,
    /// Seconds after which a scope's search is given up, and is not complete.
    #[arg(long, default_value_t = 1200)]
    limit: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Reach {
    Ci,
    Full,
}

fn parse_budget(text: &str) -> Result<(String, u8), String> {
    let wrong = || format!("{text:?} is no budget; write for example crashes=2");
    let (name, times) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.to_owned(), times.parse().map_err(|_| wrong())?))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let size = match arguments.scope {
        Reach::Ci => Size::Ci,
        Reach::Full => Size::Full,
    };
    let wanted =
        |scope: &&Scope| arguments.only.is_empty() || arguments.only.iter().any(|name| name == scope.name);
    let chosen = scopes(size).iter().filter(wanted).map(|scope| scope.with(&arguments.budget)).collect();
    let chosen: Vec<Scope> = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if chosen.is_empty() {
        eprintln!("there is no such scope; --list names them");
        return ExitCode::FAILURE;
    }
    if arguments.list {
        for scope in chosen {
            println!("{}: {}; at most {}", scope.name, scope.about, scope.budgets_in_words());
        }
        return ExitCode::SUCCESS;
    }
    // The full scopes would not fit into memory by breadth.
    let order = if size == Size::Ci { Order::Breadth } else { Order::Depth };
    let outcomes = search(&chosen, order, arguments.threads, Duration::from_secs(arguments.limit));
    let violations: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.violation.as_ref()).collect();
    for violation in &violations {
        println!("\n{}\n\n{}", violation.broken, violation.scenario);
    }
    if let (Some(file), Some(violation)) = (&arguments.save, violations.first())
        && let Err(error) = std::fs::write(file, &violation.scenario)
    {
        eprintln!("{}: {error}", file.display());
    }
    let states: usize = outcomes.iter().map(|outcome| outcome.states).sum();
    let depth = outcomes.iter().map(|outcome| outcome.depth).max().unwrap_or_default();
    let complete = outcomes.iter().all(|outcome| outcome.complete);
    println!("states={states} depth={depth} violations={} complete={complete}", violations.len());
    if outcomes.iter().all(Outcome::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Searches the scopes, some at once, and prints a line for each as it ends.
fn search(chosen: &[Scope], order: Order, threads: usize, limit: Duration) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|threads_scope| {
        for _ in 0..threads.clamp(1, chosen.len()) {
            threads_scope.spawn(|| {
                while let Some(scope) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let progress =
                        |states, depth| eprintln!("{}: {states} states, depth {depth} ...", scope.name);
                    let outcome = run(scope, order, limit, progress).expect("the scopes are sound");
                    println!("{outcome}");
                    outcomes.lock().expect("no search panics").push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("no search panics")
}
