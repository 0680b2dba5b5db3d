//! Which of the messages under way a command means.

use std::sync::Arc;

use crate::world::{Envelope, KINDS};

/// Words that a message must all fit.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    from: Option<u64>,
    to: Option<u64>,
    kind: Option<String>,
    /// Only the so-manieth of those that fit, from 1.
    which: Option<usize>,
}

impl Selector {
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut selector = Self::default();
        for word in words {
            if let Some((from, to)) = word.split_once("->") {
                selector.from = end(from)?;
                selector.to = end(to)?;
            } else if let Some(which) = word.strip_prefix('#') {
                let which = which.parse().ok().filter(|which| *which > 0);
                selector.which = Some(which.ok_or_else(|| format!("{word} is no number of a message"))?);
            } else if *word == "one" {
                selector.which = Some(1);
            } else if KINDS.contains(word) {
                selector.kind = Some((*word).to_owned());
            } else if *word != "all" {
                return Err(format!("{word} is neither a link nor a kind of message"));
            }
        }
        Ok(selector)
    }

    pub(super) fn fits(&self, from: u64, to: u64, kind: &str) -> bool {
        self.from.is_none_or(|wanted| wanted == from)
            && self.to.is_none_or(|wanted| wanted == to)
            && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
    }

    /// The places of the messages meant, ascending.
    pub(super) fn pick(&self, messages: &[Arc<Envelope>]) -> Vec<usize> {
        let fitting = messages
            .iter()
            .enumerate()
            .filter(|(_, envelope)| self.fits(envelope.from, envelope.to, envelope.message.kind()));
        let all: Vec<usize> = fitting.map(|(at, _)| at).collect();
        match self.which {
            None => all,
            Some(which) => all.get(which - 1).copied().into_iter().collect(),
        }
    }
}

fn end(word: &str) -> Result<Option<u64>, String> {
    if word.is_empty() {
        return Ok(None);
    }
    word.parse().map(Some).map_err(|_| format!("{word} is no node"))
}

/// The two nodes of a link `1->2`.
pub(super) fn link(word: &str) -> Result<(u64, u64), String> {
    let selector = Selector::parse(&[word])?;
    selector.from.zip(selector.to).ok_or_else(|| format!("{word} is no link: say 1->2"))
}
