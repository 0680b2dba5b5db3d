//! Of a hundred operations, how many are of which kind.

use std::fmt;
use std::str::FromStr;

use rand::Rng;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Put,
    Get,
    Cas,
    Delete,
}

impl Op {
    /// All kinds, in the order in which they are shown.
    pub(crate) const ALL: [Self; 4] = [Self::Put, Self::Get, Self::Cas, Self::Delete];

    /// Its name on the command line, in results and in histories.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Cas => "cas",
            Self::Delete => "delete",
        }
    }
}

/// The share of each kind, in the order of [`Op::ALL`]. They add up to a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    percents: [u32; Op::ALL.len()],
}

/// What is wrong with a mix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MixError {
    #[error("`{0}` is not of the form KIND=PERCENT, as in put=50,get=45,cas=5")]
    NotAPair(String),
    #[error("there is no operation `{0}`; there are put, get, cas and delete")]
    UnknownKind(String),
    #[error("`{0}` is not a whole number from 0 to 100")]
    BadPercent(String),
    #[error("{0} is given twice")]
    Twice(&'static str),
    #[error("the shares add up to {0}, not to 100")]
    Sum(u32),
}

impl Mix {
    /// The share of `op`, of a hundred.
    pub(super) fn percent(&self, op: Op) -> u32 {
        self.percents[op as usize]
    }

    /// The share of the kind with this name.
    pub(super) fn percent_of(&self, name: &str) -> u32 {
        Op::ALL.into_iter().filter(|op| op.name() == name).map(|op| self.percent(op)).sum()
    }

    /// Draws the next operation.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Op {
        let mut left = rng.random_range(0..100);
        for op in Op::ALL {
            match self.percent(op) {
                percent if left < percent => return op,
                percent => left -= percent,
            }
        }
        unreachable!("the shares of {self} add up to a hundred")
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let mut given = [None; Op::ALL.len()];
        for pair in text.split(',').map(str::trim) {
            let (kind, percent) = pair.split_once('=').ok_or_else(|| MixError::NotAPair(pair.to_owned()))?;
            let op = Op::ALL.into_iter().find(|op| op.name() == kind);
            let op = op.ok_or_else(|| MixError::UnknownKind(kind.to_owned()))?;
            let percent: Option<u32> = percent.parse().ok().filter(|percent| *percent <= 100);
            let percent = percent.ok_or_else(|| MixError::BadPercent(pair.to_owned()))?;
            if given[op as usize].replace(percent).is_some() {
                return Err(MixError::Twice(op.name()));
            }
        }
        let percents = given.map(Option::unwrap_or_default);
        match percents.iter().sum() {
            100 => Ok(Self { percents }),
            sum => Err(MixError::Sum(sum)),
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Op::ALL.into_iter().filter(|op| self.percent(*op) > 0);
        let shown: Vec<String> = shown.map(|op| format!("{}={}", op.name(), self.percent(op))).collect();
        f.write_str(&shown.join(","))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn a_mix_is_read_and_shown_in_the_same_form() {
        for text in ["put=50,get=45,cas=5", "get=100", "put=1,delete=99"] {
            assert_eq!(text.parse::<Mix>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_mix_that_makes_no_sense_is_refused_with_the_reason() {
        let table = [
            ("put=50,get=45", MixError::Sum(95)),
            ("put=60,get=60", MixError::Sum(120)),
            ("put=50,put=50", MixError::Twice("put")),
            ("put=50,scan=50", MixError::UnknownKind("scan".to_owned())),
            ("put", MixError::NotAPair("put".to_owned())),
            ("", MixError::NotAPair(String::new())),
            ("put=many", MixError::BadPercent("put=many".to_owned())),
            ("put=4000000000,get=294967396", MixError::BadPercent("put=4000000000".to_owned())),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Mix>(), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_drawn_has_the_shares_of_the_mix() {
        let mix: Mix = "put=50,get=45,cas=5".parse().unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let mut counts = [0_u32; Op::ALL.len()];
        (0..100_000).for_each(|_| counts[mix.draw(&mut rng) as usize] += 1);
        for op in Op::ALL {
            let (found, wanted) = (counts[op as usize], mix.percent(op) * 1_000);
            assert!(found.abs_diff(wanted) < 1_000, "{op:?}: {found} of 100000");
        }
    }
}
