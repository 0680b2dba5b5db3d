//! `Shell`: the reader's terminal. One `sh` for a page, so that `cd` and variables last from command to command, as they
//! do for whoever pastes them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::terminal::end_group;

/// What a command came to.
pub(super) struct Outcome {
    pub(super) status: String,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Outcome {
    pub(super) fn success(&self) -> bool {
        self.status == "0"
    }
}

/// The reader's terminal. Its processes are in a group of their own, which ends with it.
pub(super) struct Shell {
    child: Child,
    group: u32,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Where the commands and what they print are kept.
    papers: PathBuf,
    directory: PathBuf,
}

impl Drop for Shell {
    fn drop(&mut self) {
        end_group(&mut self.child, self.group);
    }
}

/// What surrounds a reader's programs.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// Where programs keep what is temporary.
    pub(super) temp: PathBuf,
    /// Variables that the walk sets.
    pub(super) variables: Vec<(String, OsString)>,
}

impl Surroundings {
    /// `sh` as a reader has it, in `directory`: without what the walk's own surroundings say to programs.
    pub(super) fn sh(&self, directory: &Path) -> Command {
        let mut command = Command::new("sh");
        command.current_dir(directory).process_group(0).kill_on_drop(true);
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        command.env("TMPDIR", &self.temp).envs(self.variables.iter().cloned());
        command
    }
}

impl Shell {
    /// Opens it in `directory`; `papers` is a directory that it may use.
    pub(super) fn open(directory: &Path, papers: &Path, around: &Surroundings) -> io::Result<Self> {
        let mut command = around.sh(directory);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(group), Some(input), Some(answers)) = (child.id(), child.stdin.take(), child.stdout.take())
        else {
            return Err(io::Error::other("sh ended at once"));
        };
        Ok(Self {
            child,
            group,
            input,
            answers: BufReader::new(answers),
            papers: papers.to_owned(),
            directory: directory.to_owned(),
        })
    }

    /// Where the reader is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a command, within a time: an error is the shell's own end, or too long a time.
    pub(super) async fn run(&mut self, command: &str, within: Duration) -> io::Result<Outcome> {
        let [script, out, err] = ["command", "stdout", "stderr"].map(|name| self.papers.join(name));
        std::fs::write(&script, format!("{command}\n"))?;
        let [script_name, out_name, err_name] = [&script, &out, &err].map(|path| path.display().to_string());
        let order = format!(
            ". '{script_name}' </dev/null >'{out_name}' 2>'{err_name}'; printf '%s %s\\n' \"$?\" \"$PWD\"\n"
        );
        self.input.write_all(order.as_bytes()).await?;
        let mut answer = String::new();
        let read = tokio::time::timeout(within, self.answers.read_line(&mut answer)).await;
        let printed =
            |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let (stdout, stderr) = (printed(&out), printed(&err));
        match read {
            Err(_) => Err(io::Error::other(format!("no end after {within:?}; so far:\n{stdout}{stderr}"))),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => match answer.trim_end().split_once(' ') {
                None => Err(io::Error::other(format!("the end of the shell; before:\n{stdout}{stderr}"))),
                Some((status, directory)) => {
                    self.directory = PathBuf::from(directory);
                    Ok(Outcome { status: status.to_owned(), stdout, stderr })
                }
            },
        }
    }
}
