//! What `bench` is told, and what of it makes no sense.

use std::path::PathBuf;

use clap::Args;

use crate::cli::ClusterOptions;
use crate::exit::Failure;
use crate::limits::MAX_VALUE_BYTES;
use crate::wire::Consistency;

use super::history::MIN_VALUE_BYTES;
use super::mix::Mix;

#[derive(Args, Debug)]
pub(crate) struct BenchOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// How many clients there are, each with one operation in flight and a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    pub(crate) clients: usize,
    /// How long new operations are begun, in seconds. Those in flight then are still waited for.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) seconds: u64,
    /// The length of every value, in bytes.
    #[arg(
        long,
        default_value_t = 256,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=MAX_VALUE_BYTES as u64)
    )]
    pub(crate) value_size: usize,
    /// How many keys there are; each operation draws one.
    #[arg(long, default_value_t = 10_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000_000))]
    pub(crate) keys: usize,
    /// Of a hundred operations, how many are put, get, cas and delete. A cas asks for the version of the key that was
    /// last seen.
    #[arg(long, default_value = "put=50,get=45,cas=5")]
    pub(crate) mix: Mix,
    /// How fresh what is got must be.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) consistency: Consistency,
    /// How long each client rests between two operations, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub(crate) rest_ms: u64,
    /// Draws operations and keys as another run with the same seed does; drawn itself if it is not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Write every operation to this file, one JSON object a line, so that a checker can judge what happened. The run
    /// then has keys of its own, which nobody wrote before.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchOptions {
    /// What clap cannot check: that options fit one another.
    pub(super) fn validate(&self) -> Result<(), Failure> {
        if self.history.is_some() && self.value_size < MIN_VALUE_BYTES {
            return Err(Failure::Usage(format!(
                "--history needs values that are told apart: give --value-size {MIN_VALUE_BYTES} or more, not {}",
                self.value_size
            )));
        }
        if self.history.is_some() && self.consistency == Consistency::Stale {
            return Err(Failure::Usage(
                "--consistency stale with --history: a checker would find every old value that is read, as it should; \
                 leave out one of the two"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}
