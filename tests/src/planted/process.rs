//! Runs a program with limits of time and memory, and sees from its output when and by what it failed.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "real programs take real time")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// No program gets more memory than this, in KiB: a defect may well ask for all there is.
const MEMORY_KIB: u64 = 8 << 20;

/// For so long a program that has failed already may go on, to say why.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What became of a program.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Whether it ended by itself and said that all is well.
    pub passed: bool,
    /// Whether it had to be ended, without having said that anything is wrong.
    pub hung: bool,
    /// How long it took; of a failure, until it showed.
    pub after: Duration,
    /// What it printed.
    pub output: String,
}

/// Runs `command`, for `limit` at most.
///
/// `fails` says of a line whether it tells of a failure.
///
/// # Errors
/// If the program cannot be started.
pub fn run(command: Command, limit: Duration, fails: impl Fn(&str) -> bool) -> Result<Ended, String> {
    let words = format!("{command:?}");
    let begin = Instant::now();
    let mut child = limited(command).spawn().map_err(|error| format!("{words}: {error}"))?;
    let (sender, lines) = mpsc::channel();
    read_lines(child.stdout.take().expect("it is piped"), sender.clone());
    read_lines(child.stderr.take().expect("it is piped"), sender);
    let mut output = String::new();
    let mut failed = None;
    let mut end = begin + limit;
    let ended_itself = loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if failed.is_none() && fails(&line) {
                    failed = Some(begin.elapsed());
                    end = Instant::now() + LAST_WORDS;
                }
                output.push_str(&line);
                output.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    let success = settle(&mut child, ended_itself).map_err(|error| format!("{words}: {error}"))?;
    Ok(Ended {
        passed: success && failed.is_none(),
        hung: !ended_itself && failed.is_none(),
        after: failed.unwrap_or_else(|| begin.elapsed()),
        output,
    })
}

/// Waits for the program, which is ended first if it has not ended itself. Returns whether it succeeded.
fn settle(child: &mut Child, ended_itself: bool) -> std::io::Result<bool> {
    if !ended_itself {
        child.kill()?;
    }
    Ok(child.wait()?.success() && ended_itself)
}

/// The same program under the limit of memory, which the shell sets and then becomes the program.
fn limited(command: Command) -> Command {
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\""));
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        limited.current_dir(directory);
    }
    limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    limited
}

/// Hands on the lines of a pipe until it is closed.
fn read_lines(pipe: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Ended {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        run(command, limit, |line| line.contains("FAILED")).expect("there is a shell")
    }

    #[test]
    fn what_a_program_comes_to_is_told() {
        let minute = Duration::from_secs(60);
        assert!(shell("echo fine", minute).passed);
        assert!(!shell("exit 3", minute).passed);
        let failed = shell("echo a ... FAILED; echo why >&2", minute);
        assert!(!failed.passed && !failed.hung && failed.output.contains("why"), "{failed:?}");
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let hung = shell("exec sleep 600", Duration::from_millis(200));
        assert!(hung.hung && !hung.passed, "{hung:?}");
    }
}
