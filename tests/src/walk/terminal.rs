//! `Terminal`: one of the reader's further terminals, in which a program goes on running while others are used.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::Notify;

use super::expect::line_matches;
use super::shell::Surroundings;

/// How often a group of processes is asked whether it is gone.
const POLL: Duration = Duration::from_millis(20);

/// A line that appeared.
struct Line {
    text: String,
    /// On standard output, where programs say what they were asked for; else it is a log's line, which may stand between.
    answer: bool,
}

#[derive(Default)]
struct Screen {
    lines: Mutex<Vec<Line>>,
    news: Notify,
}

impl Screen {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A terminal with a running program. Its processes are in a group of their own, which ends with it.
pub(super) struct Terminal {
    child: Child,
    group: u32,
    input: Option<ChildStdin>,
    screen: Arc<Screen>,
    /// How many lines the reader has looked at.
    seen: usize,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        end_group(&mut self.child, self.group);
    }
}

impl Terminal {
    /// Opens it in `directory` and gives it commands, each of which must succeed before the next.
    pub(super) fn start(commands: &str, directory: &Path, around: &Surroundings) -> io::Result<Self> {
        let mut command = around.sh(directory);
        command.args(["-e", "-c", commands]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let group = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        let screen = Arc::<Screen>::default();
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(show(stdout, true, screen.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(show(stderr, false, screen.clone()));
        }
        Ok(Self { input: child.stdin.take(), child, group, screen, seen: 0 })
    }

    /// What is on the screen.
    pub(super) fn printed(&self) -> String {
        self.screen.lines().iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// Types a line.
    pub(super) async fn type_line(&mut self, line: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or_else(|| io::Error::other("its input was ended before"))?;
        input.write_all(format!("{line}\n").as_bytes()).await
    }

    /// Waits until the line `shown` appears. `after_any`: other answers may come before it. An error says what came.
    pub(super) async fn await_line(
        &mut self,
        shown: &str,
        after_any: bool,
        within: Duration,
    ) -> Result<(), String> {
        let screen = self.screen.clone();
        let waited = tokio::time::timeout(within, async {
            loop {
                let news = screen.news.notified();
                if let Some(found) = self.look_for(shown, after_any) {
                    return found;
                }
                tokio::select! {
                    biased;
                    () = news => {}
                    status = self.child.wait() => {
                        // What it printed last may still be on its way.
                        tokio::time::sleep(POLL).await;
                        return match (self.look_for(shown, after_any), status) {
                            (Some(found), _) => found,
                            (None, Ok(status)) => Err(format!("the program's end, {status}")),
                            (None, Err(error)) => Err(error.to_string()),
                        };
                    }
                }
            }
        });
        let why = match waited.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(_) => format!("nothing more for {within:?}"),
        };
        let unseen: Vec<String> =
            self.screen.lines().iter().skip(self.seen).map(|line| line.text.clone()).collect();
        Err(format!("{why}; on the screen since what matched last:\n{}", unseen.join("\n")))
    }

    /// `None`: nothing yet that decides it.
    fn look_for(&mut self, shown: &str, after_any: bool) -> Option<Result<(), String>> {
        let lines = self.screen.lines();
        for (index, line) in lines.iter().enumerate().skip(self.seen) {
            if line_matches(shown, &line.text) {
                self.seen = index + 1;
                return Some(Ok(()));
            }
            if line.answer && !after_any {
                return Some(Err("another answer".to_owned()));
            }
        }
        None
    }

    /// Sends its processes a signal, such as `INT`.
    pub(super) fn signal(&self, signal: &str) {
        signal_group(self.group, signal);
    }

    /// Ends its input.
    pub(super) fn close(&mut self) {
        self.input = None;
    }

    /// Waits until all its processes are gone. An error says that they are not.
    pub(super) async fn ended(&mut self, within: Duration) -> Result<ExitStatus, String> {
        let waited = tokio::time::timeout(within, async {
            let status = self.child.wait().await;
            while signal_group(self.group, "0") {
                tokio::time::sleep(POLL).await;
            }
            status
        });
        match waited.await {
            Ok(status) => status.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it still runs after {within:?}")),
        }
    }
}

/// Shows on the screen what a program prints.
async fn show(output: impl AsyncRead + Unpin, answer: bool, screen: Arc<Screen>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    // An error is the output's end as well.
    while output.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        screen.lines().push(Line { text, answer });
        screen.news.notify_waiters();
        line.clear();
    }
}

/// Sends a group of processes a signal, and says whether there was anyone. By a shell, as there is no other safe way.
fn signal_group(group: u32, signal: &str) -> bool {
    let kill = format!("kill -s {signal} -- -{group} 2>/dev/null");
    std::process::Command::new("sh").args(["-c", &kill]).status().is_ok_and(|status| status.success())
}

/// Ends every process of the group that `child` leads, and waits until they are gone, for a moment at most: what cannot be
/// killed is not to hold up whoever wants to say so.
pub(super) fn end_group(child: &mut Child, group: u32) {
    signal_group(group, "KILL");
    for _ in 0..100 {
        // Whoever is not asked for stays in the group. An error says that it is gone.
        let _ = child.try_wait();
        if !signal_group(group, "0") {
            return;
        }
        std::thread::sleep(POLL);
    }
}
