//! What brings a world forward: messages that arrive or are lost, links and disks that are held, and time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Done, Interpreter, number};
use crate::script::select::{Selector, link};

/// Time passes in steps of this length, so that nodes whose clocks move together take turns.
const TIME_STEP: Duration = Duration::from_millis(10);

/// A cluster that is not quiet after so many rounds never will be.
const ROUNDS_MAX: usize = 10_000;

impl Interpreter {
    pub(super) fn deliver(&mut self, selector: &Selector) -> Done {
        let picked = selector.pick(self.world()?.messages());
        if picked.is_empty() {
            return Err("no such message is under way".to_owned());
        }
        for (gone, at) in picked.into_iter().enumerate() {
            self.arrive(at - gone, true);
        }
        Ok(())
    }

    /// Message `at` arrives, or is lost on a link that is cut.
    pub(super) fn arrive(&mut self, at: usize, tell: bool) {
        self.take_notes();
        let envelope = &self.formed().messages()[at];
        let link = (envelope.from, envelope.to);
        let kind = envelope.message.kind();
        if self.cut.contains(&link) {
            let lost = self.formed().lose(at);
            if tell {
                self.printed.push(format!("lost: {lost}"));
            }
            return;
        }
        if tell {
            let line = self.formed().messages()[at].to_string();
            self.printed.push(line);
        }
        *self.arrived.entry((link.0, link.1, kind)).or_default() += 1;
        self.formed().deliver(at);
        self.work();
        self.take_notes();
    }

    pub(super) fn lose(&mut self, selector: &Selector) -> Done {
        let picked = selector.pick(self.world()?.messages());
        if picked.is_empty() {
            return Err("no such message is under way".to_owned());
        }
        for (gone, at) in picked.into_iter().enumerate() {
            let lost = self.formed().lose(at - gone);
            self.printed.push(format!("lost: {lost}"));
        }
        Ok(())
    }

    pub(super) fn repeat(&mut self, selector: &Selector) -> Done {
        let picked = selector.pick(self.world()?.messages());
        if picked.is_empty() {
            return Err("no such message is under way".to_owned());
        }
        for at in picked {
            let repeated = self.formed().repeat(at);
            self.printed.push(format!("twice: {repeated}"));
        }
        Ok(())
    }

    pub(super) fn partition(&mut self, words: &[&str]) -> Done {
        let mut sets: Vec<BTreeSet<u64>> = Vec::new();
        for word in words {
            let inner = word.strip_prefix('{').and_then(|word| word.strip_suffix('}'));
            let inner = inner.ok_or_else(|| format!("{word} is no set: say {{1,2}}"))?;
            sets.push(inner.split(',').map(number).collect::<Result<_, _>>()?);
        }
        let side = |id: &u64| sets.iter().position(|set| set.contains(id));
        let ids = self.ids();
        for from in &ids {
            for to in ids.iter().filter(|to| side(from) != side(to)) {
                self.cut.insert((*from, *to));
            }
        }
        Ok(())
    }

    pub(super) fn links(&mut self, words: &[&str], each: impl Fn(&mut Self, (u64, u64))) -> Done {
        for word in words {
            let link = link(word)?;
            each(self, link);
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, words: &[&str], hold: bool) -> Done {
        let set = |set: &mut BTreeSet<u64>, id: u64| if hold { set.insert(id) } else { set.remove(&id) };
        match words {
            ["disk", id] => _ = set(&mut self.held_disks, number(id)?),
            ["machine", id] => _ = set(&mut self.held_machines, number(id)?),
            links => {
                return self.links(links, |this, link| {
                    _ = if hold { this.held_links.insert(link) } else { this.held_links.remove(&link) }
                });
            }
        }
        Ok(())
    }

    /// The state machines that are not held do all they have to do.
    pub(super) fn work(&mut self) {
        for id in self.ids() {
            while !self.held_machines.contains(&id) && self.formed().work(id) {}
        }
    }

    pub(super) fn stabilise(&mut self) -> Done {
        self.world()?;
        for _ in 0..ROUNDS_MAX {
            let mut quiet = true;
            for id in self.ids() {
                if !self.held_disks.contains(&id) {
                    quiet &= !self.formed().flush(id, usize::MAX);
                }
            }
            self.work();
            let held = &self.held_links;
            let messages = self.world.iter().flat_map(|world| world.messages());
            let next =
                messages.enumerate().find(|(_, envelope)| !held.contains(&(envelope.from, envelope.to)));
            if let Some(at) = next.map(|(at, _)| at) {
                self.arrive(at, false);
                quiet = false;
            }
            if quiet {
                return Ok(());
            }
        }
        Err(format!("not quiet after {ROUNDS_MAX} rounds"))
    }

    pub(super) fn advance(&mut self, words: &[&str]) -> Done {
        let (time, ids) = match words {
            [time] => (duration(time)?, self.ids()),
            [time, id] => (duration(time)?, vec![self.known(id)?]),
            _ => return Err("say: advance 600ms".to_owned()),
        };
        self.world()?;
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(TIME_STEP);
            for id in &ids {
                self.formed().pass(*id, step);
            }
            left -= step;
        }
        Ok(())
    }

    pub(super) fn sleep(&mut self, words: &[&str]) -> Done {
        let [id, time] = words else { return Err("say: sleep 1 2s".to_owned()) };
        let (id, time) = (self.known(id)?, duration(time)?);
        self.formed().sleep(id, time);
        Ok(())
    }

    pub(super) fn run(&mut self, words: &[&str]) -> Done {
        let [time] = words else { return Err("say: run 600ms".to_owned()) };
        let mut left = duration(time)?;
        self.stabilise()?;
        while !left.is_zero() {
            let step = left.min(TIME_STEP);
            for id in self.ids() {
                self.formed().pass(id, step);
            }
            self.stabilise()?;
            left -= step;
        }
        Ok(())
    }
}

/// `600ms` or `2s`.
fn duration(word: &str) -> Result<Duration, String> {
    let (value, unit) = word.split_at(word.trim_end_matches(char::is_alphabetic).len());
    let value: u64 = number(value)?;
    match unit {
        "ms" => Ok(Duration::from_millis(value)),
        "s" => Ok(Duration::from_secs(value)),
        _ => Err(format!("{word} is no time: say 600ms or 2s")),
    }
}
