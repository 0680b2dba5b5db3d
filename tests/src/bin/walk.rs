//! Walks README and guide from a fresh clone of this checkout: runs every command and program on them and compares what
//! comes out. A failure names page, line and command.

// Real processes keep real time.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use openraft_tests::walk::page::{Step, steps};
use openraft_tests::walk::pages;
use openraft_tests::walk::walker::Walker;
use tokio::signal::unix::{SignalKind, signal};

/// What the walk may take besides compiling: a newcomer's patience, not the machine's.
const BUDGET: Duration = Duration::from_secs(180);
/// The page whose package a whole program on another page is put into.
const GUIDE: &str = "docs/getting-started.md";

/// Walks README and guide from a fresh clone of the checkout that it is started in.
#[derive(Parser)]
struct Arguments {
    /// Only these pages.
    pages: Vec<String>,
    /// Leave what was made, to look at it.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // All that runs ends when the walk is dropped: also when it is interrupted.
    let outcome = tokio::select! {
        biased;
        () = told_to_end() => Err("interrupted".into()),
        outcome = walk(&arguments) => outcome,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("walk: FAILED\n{error}");
            ExitCode::FAILURE
        }
    }
}

async fn told_to_end() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn walk(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let checkout = PathBuf::from(git(Path::new("."), &["rev-parse", "--show-toplevel"])?);
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => std::path::absolute(target)?,
        None => checkout.join("target"),
    };
    let begun = Instant::now();
    let ground = Ground::new(&target, arguments.keep)?;
    let clone = ground.path.join("openraft");
    git(&checkout, &["clone", "--quiet", &checkout.display().to_string(), &clone.display().to_string()])?;
    println!("walk: a fresh clone in {} after {:.1} s", clone.display(), begun.elapsed().as_secs_f64());
    let changed = git(&checkout, &["status", "--porcelain", "--untracked-files=no"])?;
    if !changed.is_empty() {
        println!("walk: NOT in the clone, because not committed:\n{changed}");
    }
    pages::check_all_listed(&clone)?;
    pages::check_prose(&clone)?;
    let guide = steps(GUIDE, &pages::read(&clone, GUIDE)?)?;
    let manifest = guide.iter().find_map(|step| match step {
        Step::File { path, text, .. } if path.ends_with("Cargo.toml") => Some(text.clone()),
        _ => None,
    });
    // The clone's own crates are compiled anew; what they depend on is shared with the checkout.
    let mut walker = Walker::new(&ground.path, &clone, manifest, Some(clone.join("Cargo.lock")))
        .with_variable("CARGO_TARGET_DIR", &target);
    for page in pages::WALKED {
        if !arguments.pages.is_empty() && !arguments.pages.iter().any(|wanted| wanted == page) {
            continue;
        }
        let tally = walker.walk(page, &steps(page, &pages::read(&clone, page)?)?).await?;
        println!(
            "walk: {page}: {} commands, {} files, {} lines as shown",
            tally.commands, tally.files, tally.shown
        );
    }
    let (compiling, rest) = walker.times();
    println!(
        "walk: all as the pages say; {:.0} s of compiling, {:.0} s without, of which {} s are allowed{}",
        compiling.as_secs_f64(),
        rest.as_secs_f64(),
        BUDGET.as_secs(),
        if rest > BUDGET { ": TOO LONG for a newcomer" } else { "" }
    );
    Ok(())
}

/// A directory that lasts as long as the walk. Its name is the same each time, so that compiling leaves no more behind in
/// the target directory than it did the time before.
struct Ground {
    path: PathBuf,
    keep: bool,
}

impl Ground {
    fn new(target: &Path, keep: bool) -> Result<Self, Box<dyn Error>> {
        let name: String = target.display().to_string().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let path = std::env::temp_dir().join(format!("walk{name}"));
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{} cannot be emptied: {error}", path.display()).into());
            }
            _ => std::fs::create_dir_all(&path)?,
        }
        Ok(Self { path, keep })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.keep {
            println!("walk: kept {}", self.path.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.path); // What is left lies in the directory for temporary files.
        }
    }
}

fn git(directory: &Path, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new("git").args(arguments).current_dir(directory).output();
    let output = output.map_err(|error| format!("git cannot be run: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("git {}: {words}", arguments.join(" ")).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
